import csv
import gzip
import re
import zipfile

import pytest
from PIL import Image

from orapo.data.miniature import write_miniature_mimic_cxr
from orapo.data.miniature.mimic_cxr import table_labels
from orapo.data.miniature.studies import Trait, make_studies
from orapo.errors import SettingError

LABELS = (
    "Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,Lung Opacity,"
    "No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
)
HEADERS = {
    "mimic-cxr-2.0.0-split.csv.gz": "dicom_id,study_id,subject_id,split",
    "mimic-cxr-2.0.0-chexpert.csv.gz": f"subject_id,study_id,{LABELS}",
    "mimic-cxr-2.0.0-negbio.csv.gz": f"subject_id,study_id,{LABELS}",
    "mimic-cxr-2.0.0-metadata.csv.gz": (
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
        "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
    ),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("miniature") / "mimic"
    write_miniature_mimic_cxr(folder, 20, 3)
    return folder


def read(path):
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text(encoding="utf-8")
    return text.split("\n", 1)[0], list(csv.DictReader(text.splitlines()))


def test_tables_have_the_real_headers(root):
    for name, header in HEADERS.items():
        assert read(root / name)[0] == header


def test_images_lie_where_the_tables_say(root):
    _, splits = read(root / "mimic-cxr-2.0.0-split.csv.gz")
    _, metadata = read(root / "mimic-cxr-2.0.0-metadata.csv.gz")
    paths = [
        f"files/p{row['subject_id'][:2]}/p{row['subject_id']}/s{row['study_id']}/{row['dicom_id']}.jpg"
        for row in splits
    ]
    assert paths[0].startswith("files/p90/p90000001/s90000001/90000001-0")
    assert paths == (root / "IMAGE_FILENAMES").read_text().splitlines()
    assert sorted(paths) == sorted(str(path.relative_to(root)) for path in root.rglob("*.jpg"))
    assert [row["dicom_id"] for row in metadata] == [row["dicom_id"] for row in splits]
    assert {row["split"] for row in splits} == {"train", "validate", "test"}
    assert {row["ViewPosition"] for row in metadata} == {"AP", "PA", "LATERAL"}
    with Image.open(root / paths[0]) as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (112, 112), "L")


def test_labels_of_the_tables_are_the_impression_s_or_else_the_findings_s(root):
    _, rows = read(root / "mimic-cxr-2.0.0-chexpert.csv.gz")
    by_id = {row["study_id"]: row for row in rows}
    code = {"positive": "1.0", "negative": "0.0", "uncertain": "-1.0", "unmentioned": ""}
    for study in make_studies(20, 3):
        row = by_id.get(str(90_000_000 + study.serial))
        assert (row is None) is (study.trait is Trait.NO_LABELS)
        if row is not None:
            assert row["subject_id"] == str(90_000_000 + study.patient)
            expected = study.impression_labels if study.impression else study.findings_labels
            assert {name: row[name] for name in LABELS.split(",")} == {
                str(observation): code[state.value] for observation, state in expected.items()
            }
    assert read(root / "mimic-cxr-2.0.0-negbio.csv.gz")[1] == rows


def test_version_2_1_0_has_the_radiologist_s_labels_with_airspace_opacity(root, tmp_path):
    header, rows = read(root / "mimic-cxr-2.1.0-test-set-labeled.csv")
    assert header == f"study_id,{LABELS.replace('Lung Opacity', 'Airspace Opacity')}"
    test = [study for study in make_studies(20, 3) if study.split == "test"]
    assert [row["study_id"] for row in rows] == [str(90_000_000 + study.serial) for study in test]
    assert [row["Airspace Opacity"] == "1.0" for row in rows] == [
        table_labels(study)["Lung Opacity"].value == "positive" for study in test
    ]
    write_miniature_mimic_cxr(tmp_path / "old", 20, 3, version="2.0.0")
    assert not list((tmp_path / "old").glob("*2.1.0*"))
    assert (tmp_path / "old" / "mimic-cxr-2.0.0-split.csv.gz").is_file()


def test_reports_have_heads_blanks_addenda_and_empty_sections(root):
    for study in make_studies(20, 3):
        text = next(root.glob(f"files/p90/*/s{90_000_000 + study.serial}.txt")).read_text()
        assert text.count("FINAL REPORT\n EXAMINATION:") == 1
        assert "___" in text
        assert ("ADDENDUM" in text) is (study.trait is Trait.ADDENDUM)
        assert ("\n FINDINGS: \n" in text) is (study.trait is not Trait.NO_FINDINGS)
        assert ("\n IMPRESSION: \n" in text) is (study.trait is not Trait.NO_IMPRESSION)
        findings = re.split(r" [A-Z]+: \n", text)[1] if study.trait is not Trait.NO_FINDINGS else ""
        expected = study.findings
        if study.trait is Trait.NUMBERED:
            findings = re.sub(r"\b\d+\. ", "", findings)
        assert " ".join(findings.split()) == expected
        assert all(line.startswith(" ") or not line for line in text.split("\n") if "____" not in line)


def test_reports_can_be_zipped_as_they_are_downloaded(root, tmp_path):
    write_miniature_mimic_cxr(tmp_path / "zipped", 20, 3, zip_reports=True)
    assert not list((tmp_path / "zipped").rglob("s*.txt"))
    plain = {str(path.relative_to(root)): path.read_text() for path in root.rglob("s*.txt")}
    with zipfile.ZipFile(tmp_path / "zipped" / "mimic-cxr-reports.zip") as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == plain
    first = (tmp_path / "zipped" / "mimic-cxr-reports.zip").read_bytes()
    write_miniature_mimic_cxr(tmp_path / "again", 20, 3, zip_reports=True)
    assert (tmp_path / "again" / "mimic-cxr-reports.zip").read_bytes() == first


def test_a_seed_gives_the_same_bytes(root, tmp_path):
    write_miniature_mimic_cxr(tmp_path / "again", 20, 3)
    paths = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    assert paths == sorted(
        path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*") if path.is_file()
    )
    for path in paths:
        assert (root / path).read_bytes() == (tmp_path / "again" / path).read_bytes()


def test_an_unknown_version_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"version is '3'; it must be one of 2\.0\.0, 2\.1\.0"):
        write_miniature_mimic_cxr(tmp_path / "a", version="3")
    assert not (tmp_path / "a").exists()
