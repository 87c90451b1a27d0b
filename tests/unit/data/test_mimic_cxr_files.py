import os
import pickle
import re
import zipfile

import pytest
from tests.unit.data.mimic_cxr_folder import Mimic, image, report

from orapo.data.mimic_cxr import REPORTS_URL, MimicCxr, images_file, reports_file, table_file
from orapo.data.text_files import TextFiles
from orapo.errors import DataError
from orapo.records import Split

WGET_JPG, WGET_REPORTS = "physionet.org/files/mimic-cxr-jpg/2.1.0", "physionet.org/files/mimic-cxr/2.1.0"


def reports_in(path):
    return TextFiles(path, REPORTS_URL)


PATIENT, STUDY = "p90000001", "s90000001"


@pytest.mark.parametrize(
    ("jpg", "reports", "root"),
    [
        ("", "", ""),
        (WGET_JPG, WGET_REPORTS, ""),
        (WGET_JPG, WGET_REPORTS, "physionet.org"),
        (WGET_JPG, WGET_REPORTS, WGET_JPG),
        (WGET_JPG, WGET_JPG, ""),
        (WGET_JPG.replace("1.0", "0.0"), WGET_REPORTS.replace("1.0", "0.0"), ""),
        ("mimic-cxr-jpg", "mimic-cxr", ""),
        ("mimic-cxr-jpg", "mimic-cxr", "mimic-cxr-jpg"),
        ("mimic-cxr-jpg", "", "mimic-cxr-jpg"),
        ("mimic-cxr-jpg/2.1.0", "mimic-cxr/2.0.0", "mimic-cxr-jpg/2.1.0"),
        ("jpg", "jpg/mimic-cxr-reports", "jpg"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_the_layouts_that_downloads_leave_are_found(tmp_path, jpg, reports, root, zipped):
    Mimic(tmp_path, [image(1, 1)]).write(jpg=jpg, reports=reports, zipped=zipped)
    source = MimicCxr(str(tmp_path / root)).open()
    study = source.read(source.entries(Split.TRAIN)[0].study_id)
    assert study.image_paths == (str(tmp_path / jpg / "files/p90/p90000001/s90000001/00000001-00000001.jpg"),)
    assert study.oracle_report == "Small effusion on the left."


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("named", ["", "files", "mimic-cxr-reports.zip"])
def test_reports_may_lie_anywhere_when_named(tmp_path, zipped, named):
    if zipped == (named == "files"):
        named = ""
    Mimic(tmp_path, [image(1, 1)]).write(jpg="here/and/now", reports="there", zipped=zipped)
    root = str(tmp_path / "here/and/now")
    named = str(tmp_path / "there" / (named if zipped or named == "files" else ""))
    assert MimicCxr(root, reports=named).open().read(STUDY).oracle_report == "Small effusion on the left."
    with pytest.raises(DataError, match=r"1 of 5 needed are missing: the reports \(looked for "):
        MimicCxr(root).open()


def test_every_missing_file_is_listed_with_places_and_address(tmp_path):
    with pytest.raises(DataError) as caught:
        MimicCxr(str(tmp_path), radiologist_test_labels=True).open()
    jpg, texts = (
        "https://physionet.org/content/mimic-cxr-jpg/2.1.0/",
        "https://physionet.org/content/mimic-cxr/2.1.0/",
    )

    def missing(what, name, address=jpg):
        places = (
            tmp_path / f"{name}.gz",
            tmp_path / name,
            tmp_path / WGET_JPG / f"{name}.gz",
            tmp_path / WGET_JPG / name,
        )
        return f"{what} (looked for {' and '.join(map(str, places))}; get it from {address})"

    study = "files/pNN/pNNNNNNNN/sNNNNNNNN"
    above = tmp_path.parent / "mimic-cxr-reports.zip"
    assert str(caught.value) == "MIMIC-CXR: 6 of 6 needed are missing: " + "; ".join(
        [
            missing("the table of images", "mimic-cxr-2.0.0-metadata.csv"),
            missing("the table of splits", "mimic-cxr-2.0.0-split.csv"),
            missing("the CheXpert labels", "mimic-cxr-2.0.0-chexpert.csv"),
            missing("the radiologist's labels (new in version 2.1.0)", "mimic-cxr-2.1.0-test-set-labeled.csv"),
            f"the images (looked for {tmp_path}/{study}/*.jpg; get it from {jpg})",
            f"the reports (looked for {tmp_path}/mimic-cxr-reports.zip and {tmp_path}/{study}.txt and {above}; "
            f"get it from {texts})",
        ]
    )


def test_a_folder_of_reports_is_no_folder_of_images(tmp_path):
    mimic = Mimic(tmp_path, [image(1, 1)]).write(leave=("images",), zipped=False)
    assert images_file(mimic.root).find() is None
    assert reports_file(mimic.root, None).find() == mimic.root / "files"
    with pytest.raises(DataError, match="1 of 5 needed are missing: the images"):
        MimicCxr(str(mimic.root)).open()


def test_a_folder_of_images_is_no_folder_of_reports(tmp_path):
    mimic = Mimic(tmp_path, [image(1, 1)]).write(jpg="jpg", leave=("reports",))
    with pytest.raises(DataError, match=r"1 of 5 needed are missing: the reports .*mimic-cxr/2\.1\.0/\)$"):
        MimicCxr(str(mimic.root)).open()
    with pytest.raises(DataError, match=r"^MIMIC-CXR: there is no reports nowhere\.zip; name the folder or"):
        MimicCxr(str(mimic.root), reports="nowhere.zip").open()


def test_the_tables_of_one_folder_belong_together(tmp_path):
    mimic = Mimic(tmp_path, [image(1, 1)]).write(jpg=WGET_JPG, leave=("split",))
    split = table_file(tmp_path, "split")
    assert split.places == tuple(mimic.root / f"mimic-cxr-2.0.0-split.csv{gz}" for gz in (".gz", ""))


@pytest.fixture
def archive(tmp_path):
    mimic = Mimic(tmp_path, [image(1, 1), image(2, 1)])
    mimic.reports[90000001] = report("First. " * 50)
    return mimic.write(leave=("images",)).root / "mimic-cxr-reports.zip"


def test_a_zip_is_not_opened_before_a_report_is_read(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no zip")
    reports = reports_in(tmp_path / "a.zip")
    with pytest.raises(
        DataError, match=r"a\.zip can't be read as zip \(File is not a zip file\); is the download comp"
    ):
        reports.read(f"{STUDY}.txt", study_id=STUDY)


def test_a_stored_zip_with_other_folders_is_read_too(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("__MACOSX/._s90000001.txt", "nothing")
        archive.writestr("mimic/files/p90/p90000001/s90000001.txt", "FINDINGS: été")
    reports = reports_in(tmp_path / "a.zip")
    assert reports.read(f"{STUDY}.txt", study_id=STUDY) == "FINDINGS: été"
    assert pickle.loads(pickle.dumps(reports)).read(f"{STUDY}.txt", study_id=STUDY) == "FINDINGS: été"
    with pytest.raises(DataError, match=r"^study s90000002: there is no report s90000002.txt in .*; get the reports"):
        reports.read("s90000002.txt", study_id="s90000002")


def test_a_damaged_report_in_the_zip_is_named_and_not_quoted(archive):
    reports = reports_in(archive)
    assert reports.read(f"{STUDY}.txt", study_id=STUDY).count("First. ") == 50
    content = bytearray(archive.read_bytes())
    start = content.index(b"s90000001.txt") + len("s90000001.txt")
    content[start + 5] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"^study s90000001: report s90000001\.txt in .* is damaged; get the zip again"):
        reports.read(f"{STUDY}.txt", study_id=STUDY)
    assert "FINAL REPORT" in reports.read("s90000002.txt", study_id="s90000002")
    archive.write_bytes(content[: start + 10])
    with pytest.raises(DataError, match="is damaged"):
        reports.read("s90000002.txt", study_id="s90000002")


def test_a_pipe_that_is_called_as_the_zip_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.zip")
    with pytest.raises(DataError, match=r"a\.zip is no regular file"):
        reports_in(tmp_path / "a.zip").read(f"{STUDY}.txt", study_id=STUDY)


def test_a_zip_of_something_else_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("image.png", b"")
    with pytest.raises(DataError, match=r"has no \.txt file; it must be the zip of reports from"):
        reports_in(tmp_path / "a.zip").read(f"{STUDY}.txt", study_id=STUDY)


def test_a_report_that_is_no_text_is_named(tmp_path):
    mimic = Mimic(tmp_path, [image(1, 1)]).write(zipped=False)
    path = mimic.root / "files/p90/p90000001/s90000001.txt"
    path.write_bytes(b"hush \xff")
    message = f"study s90000001: report {path.name} in {mimic.root}/files is not UTF-8; is the file complete?"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        reports_in(mimic.root / "files").read(f"p90/{PATIENT}/{STUDY}.txt", study_id=STUDY)
