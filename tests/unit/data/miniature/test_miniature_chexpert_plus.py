import csv
import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from orapo.data.miniature import write_miniature_chexpert_plus
from orapo.data.miniature.studies import make_studies
from orapo.errors import DataError
from orapo.records import Split

HEADER = (
    "path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,patient_report_date_order,report,"
    "section_narrative,section_clinical_history,section_history,section_comparison,section_technique,"
    "section_procedure_comments,section_findings,section_impression,section_end_of_impression,section_summary,"
    "section_accession_number,age,sex,race,ethnicity,interpreter_needed,insurance_type,recent_bmi,deceased,split"
)
GOLD_HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("miniature") / "plus"
    write_miniature_chexpert_plus(folder, 20, 3)
    return folder


@pytest.fixture(scope="module")
def rows(root):
    with open(root / "df_chexpert_plus_240401.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digest(folder):
    content = hashlib.sha256()
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        content.update(str(path.relative_to(folder)).encode())
        content.update(path.read_bytes())
    return content.hexdigest()


def test_the_header_is_the_real_one_with_an_unnamed_index(root, rows):
    with open(root / "df_chexpert_plus_240401.csv", encoding="utf-8") as file:
        assert file.readline() == f",{HEADER}\n"
    assert [row[""] for row in rows] == [str(number) for number in range(len(rows))]


def test_rows_are_images_and_the_test_part_is_private(root, rows):
    public = [study for study in make_studies(20, 3) if study.split is not Split.TEST]
    assert len(rows) == sum(len(study.views) for study in public)
    assert {row["split"] for row in rows} == {"train", "valid"}
    for row in rows:
        part, patient, study, view = row["path_to_image"].split("/")
        assert (part, patient) == (row["split"], row["deid_patient_id"])
        assert patient.startswith("patient900")
        assert study == f"study{row['patient_report_date_order']}"
        assert view.endswith("_frontal.jpg" if row["frontal_lateral"] == "Frontal" else "_lateral.jpg")
        assert row["ap_pa"] in (("AP", "PA") if row["frontal_lateral"] == "Frontal" else ("",))
        image = root / "PNG" / row["path_to_image"].replace(".jpg", ".png")
        with Image.open(image) as opened:
            assert (opened.format, opened.size) == ("PNG", (112, 112))


def test_traps_of_the_text(rows):
    findings = [row["section_findings"] for row in rows]
    assert "" in findings
    assert " \n  " in findings
    assert any(text.startswith("\n1.  ") for text in findings)
    assert sum(text.isupper() for text in findings) > len(rows) / 2
    assert all(text.startswith("\n") for text in findings if text.strip())
    assert any(not row["section_impression"] for row in rows)
    assert all(row["section_accession_number"] == "ACCESSION NUMBER: 0" for row in rows)


def test_rows_of_a_study_differ_in_invented_dates(rows):
    of_study = {}
    for row in rows:
        of_study.setdefault(row["path_to_image"].rpartition("/")[0], []).append(row)
    assert max(map(len, of_study.values())) == 3
    for group in of_study.values():
        assert len({row["report"] for row in group}) == len(group)
    three = next(group for group in of_study.values() if len(group) == 3)
    assert len({row["section_findings"] for row in three}) == 3


@pytest.mark.parametrize("section", ["findings", "impression", "report"])
def test_chexbert_labels_are_json_lines_for_every_row(root, rows, section):
    lines = (root / "chexbert_labels" / f"{section}_fixed.json").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["path_to_image"] for record in records] == [row["path_to_image"] for row in rows]
    assert list(records[0])[:3] == ["path_to_image", "Enlarged Cardiomediastinum", "Cardiomegaly"]
    assert list(records[0])[-2:] == ["Support Devices", "No Finding"]
    assert len(records[0]) == 15
    assert {code for record in records for code in list(record.values())[1:]} >= {1.0, None}
    for record, row in zip(records, rows, strict=True):
        text = row["section_findings" if section == "findings" else "section_impression"]
        if section != "report" and not text.strip():
            assert [name for name, code in record.items() if code is not None] == ["path_to_image", "No Finding"]


@pytest.mark.parametrize(
    ("table", "images", "prefix", "split"),
    [
        ("CheXpert-v1.0-small/valid.csv", "", "CheXpert-v1.0-small/valid/", Split.VALIDATE),
        ("CheXpert/val_labels.csv", "CheXpert", "valid/", Split.VALIDATE),
        ("CheXpert/test_labels.csv", "CheXpert", "test/", Split.TEST),
    ],
)
def test_gold_labels_are_what_is_drawn(root, table, images, prefix, split):
    with open(root / table, encoding="utf-8") as file:
        assert file.readline() == f"{GOLD_HEADER}\n"
        file.seek(0)
        gold = list(csv.DictReader(file))
    studies = [study for study in make_studies(20, 3) if study.split is split]
    assert len(gold) == sum(len(study.views) for study in studies)
    drawn = {f"patient{90000 + study.patient}/study{study.number}": study for study in studies}
    for row in gold:
        assert row["Path"].startswith(prefix)
        study = drawn["/".join(row["Path"].split("/")[-3:-1])]
        present = {str(observation) for observation in study.drawn} | (
            {"No Finding"} if study.states_nothing_found else set()
        )
        assert {name for name, value in row.items() if value == "1.0"} == present
        assert {row[name] for name in GOLD_HEADER.split(",")[5:]} <= {"0.0", "1.0"}
        folder = "val" if table.endswith("val_labels.csv") else prefix.rstrip("/")
        name = row["Path"].removeprefix(prefix)
        assert (root / images / folder / name).is_file()


def test_a_seed_gives_the_same_bytes_and_another_one_others(root, tmp_path):
    write_miniature_chexpert_plus(tmp_path / "again", 20, 3)
    write_miniature_chexpert_plus(tmp_path / "other", 20, 4)
    assert digest(tmp_path / "again") == digest(root)
    assert digest(tmp_path / "other") != digest(root)


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty; a miniature goes to a folder of its own"):
        write_miniature_chexpert_plus(tmp_path)
    with pytest.raises(DataError, match=r"notes\.txt can't be made a folder"):
        write_miniature_chexpert_plus(tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
