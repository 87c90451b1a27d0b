import pytest
from tests.unit.data.mimic_cxr_folder import Mimic, image, report, stem

from orapo.data.mimic_cxr.check import PUBLISHED, check_mimic_cxr
from orapo.records import Split

ROWS = (
    image(1, 1, "PA"),
    image(1, 2, "LATERAL"),
    image(2, 1, "AP"),
    image(3, 1, "LL"),
    image(4, 1, "", split="validate"),
    image(5, 1, "AP", split="test"),
    image(6, 1, "PA", split="test"),
)


@pytest.fixture
def mimic(tmp_path):
    made = Mimic(tmp_path, ROWS)
    made.radiologist = {90000005: {"Edema": "1"}, 90000002: {}}
    made.reports[90000002] = report(None)
    made.reports[90000003] = report("F", None)
    made.reports[90000004] = "Nothing to see."
    del made.labels[90000003]
    return made


def test_all_is_counted_and_compared_with_the_published_set(mimic):
    checked = check_mimic_cxr(str(mimic.write().root))
    assert checked.data_set == "mimic_cxr"
    assert checked.problems == ()
    assert checked.counts == {
        "train images": 4,
        "train studies": 3,
        "train patients": 3,
        "validate images": 1,
        "validate studies": 1,
        "validate patients": 1,
        "test images": 2,
        "test studies": 2,
        "test patients": 2,
        "view PA": 2,
        "view AP": 2,
        "view LATERAL": 1,
        "view LL": 1,
        "view (blank)": 1,
        "studies without a frontal image": 2,
        "studies in chexpert labels": 5,
        "studies in negbio labels": 5,
        "studies in radiologist labels": 2,
        "image files": 7,
        "reports read": 6,
        "reports with findings": 4,
        "reports with impression": 4,
        "reports with findings_and_impression": 3,
    }
    assert [line.split(":")[0] for line in checked.found] == [
        "the table of images",
        "the table of splits",
        "the CheXpert labels",
        "the NegBio labels",
        "the radiologist's labels (new in version 2.1.0)",
        "the images",
        "the reports",
    ]
    assert checked.notes[:2] == (
        "train has 4 images, the published set 368,960",
        "train has 3 studies, the published set 222,758",
    )
    assert checked.notes[9:] == (
        "1 studies have no chexpert labels: s90000003",
        "1 studies have no negbio labels: s90000003",
        "1 test studies have no radiologist labels: s90000006",
        f"{mimic.root}/mimic-cxr-2.1.0-test-set-labeled.csv: 1 studies are not in the tables or the split: s90000002",
    )


def test_the_published_counts_add_up():
    assert sum(counts["images"] for counts in PUBLISHED.values()) == 377_110
    assert sum(counts["studies"] for counts in PUBLISHED.values()) == 227_835
    assert sum(counts["patients"] for counts in PUBLISHED.values()) == 65_379
    assert list(PUBLISHED) == list(Split)


def test_every_kind_of_missing_file_is_named(mimic):
    mimic.write(leave=("split", "negbio", "reports"), version="2.0.0")
    checked = check_mimic_cxr(str(mimic.root))
    assert [line.split(" (looked")[0] for line in checked.problems] == [
        "missing: the table of splits",
        "missing: the reports",
    ]
    assert [line.split(" (looked")[0] for line in checked.notes] == [
        "missing: the NegBio labels",
        "missing: the radiologist's labels (new in version 2.1.0)",
    ]
    assert checked.counts == {}


@pytest.mark.parametrize("root", [None, "/nowhere/at/all"])
def test_a_missing_folder_is_a_problem(root):
    (problem,) = check_mimic_cxr(root).problems
    assert "ORAPO_MIMIC_ROOT" in problem


def test_missing_and_damaged_images_and_reports_are_counted(mimic):
    del mimic.reports[90000006]
    mimic.write(zipped=False)
    folder = mimic.root / stem(90000001, 90000001)
    (folder / "00000001-00000002.jpg").unlink()
    (folder / "00000001-00000001.jpg").write_bytes(b"")
    (mimic.root / f"{stem(90000005, 90000005)}.txt").write_bytes(b"\xff")
    checked = check_mimic_cxr(str(mimic.root))
    assert checked.counts["image files"] == 6
    assert checked.counts["reports read"] == 4
    missing, empty, no_text, no_file = checked.problems
    assert missing == (
        "1 image files are missing: s90000001/00000001-00000002; "
        "get them from https://physionet.org/content/mimic-cxr-jpg/2.1.0/"
    )
    assert empty.startswith("study s90000001: image ")
    assert no_text.startswith("study s90000005: report ")
    assert no_file.startswith("study s90000006: there is no report ")


def test_a_broken_zip_or_table_is_one_problem_and_the_rest_goes_on(mimic):
    mimic.write()
    (mimic.root / "mimic-cxr-reports.zip").write_bytes(b"half")
    (mimic.root / "mimic-cxr-2.0.0-negbio.csv.gz").write_bytes(b"half")
    checked = check_mimic_cxr(str(mimic.root))
    negbio, archive, more = checked.problems
    assert "negbio.csv.gz can't be read as CSV" in negbio
    assert "can't be read as zip" in archive
    assert more == "at least 4 more reports are missing or damaged"
    assert checked.counts["image files"] == 7


def test_a_wrong_reports_setting_is_a_problem(mimic):
    checked = check_mimic_cxr(str(mimic.write().root), "nowhere")
    assert checked.problems[0].startswith("MIMIC-CXR: there is no reports nowhere; ")
    assert checked.counts["train images"] == 4


def test_only_a_few_images_are_opened(mimic):
    mimic.write()
    for row in ROWS[1:]:
        (mimic.root / stem(row["subject_id"], row["study_id"]) / f"{row['dicom_id']}.jpg").write_bytes(b"")
    assert check_mimic_cxr(str(mimic.root), num_opened=1).problems == ()
