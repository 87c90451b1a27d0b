"""``orapo data check``: files, counts, images, reports and labels of every data set, by one check."""

import io
import json

import pytest
from PIL import Image
from tests.conftest import noise_image
from tests.unit.data.chexpert_folder import ChexpertFolder, label, row
from tests.unit.data.mimic_cxr_folder import Mimic, image, report, stem

from orapo.data.annotation import Annotation
from orapo.data.check import check_data_set
from orapo.data.chexpert_plus import ChexpertPlus, PlusReader
from orapo.data.mimic_cxr import MimicCxr, MimicReader
from orapo.data.study_table import StudyTable

ROWS = (
    image(1, 1, "PA"),
    image(1, 2, "LATERAL"),
    image(2, 1, "AP"),
    image(3, 1, "LL"),
    image(4, 1, "", split="validate"),
    image(5, 1, "AP", split="test"),
    image(6, 1, "PA", split="test"),
)
PATHS = (
    "train/patient00001/study1/view1_frontal.jpg",
    "train/patient00001/study1/view2_lateral.jpg",
    "train/patient00001/study2/view1_frontal.jpg",
    "train/patient00002/study1/view1_frontal.jpg",
    "valid/patient64541/study1/view1_frontal.jpg",
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


@pytest.fixture
def plus(tmp_path):
    return ChexpertFolder(tmp_path)


def complete(folder, rows=None):
    rows = rows or [row(path) for path in PATHS]
    folder.write_table(rows).write_images(dict.fromkeys(cells["path_to_image"] for cells in rows))
    for name in ("findings", "impression", "report"):
        records = [label(cells["path_to_image"], Edema=1.0) for cells in rows]
        folder.write_labels(records, f"chexbert_labels/{name}_fixed.json")
    return folder


def check_mimic(mimic, **options):
    return check_data_set(MimicCxr(str(mimic.root)), **options)


def check_plus(folder, **options):
    return check_data_set(ChexpertPlus(str(folder.root)), **options)


def starts(lines):
    return [line.split(" (looked")[0] for line in lines]


def test_mimic_cxr_is_counted_and_compared_with_the_published_set(mimic):
    checked = check_mimic(mimic.write())
    assert checked.data_set == "mimic_cxr"
    assert checked.problems == ()
    expected = {
        **{"images": 7, "studies": 6, "patients": 6, "train images": 4, "train studies": 3, "train patients": 3},
        **{"validate images": 1, "validate studies": 1, "test images": 2, "test studies": 2, "test patients": 2},
        **{"frontal images": 4, "view PA": 2, "view AP": 2, "view LATERAL": 1, "view LL": 1, "view (blank)": 1},
        **{"studies without a frontal image": 2, "image files": 7, "reports read": 6, "reports with findings": 4},
        **{"reports with impression": 4, "reports with both": 3, "chexpert: studies with labels": 5},
        **{"negbio: studies with labels": 5, "radiologist: studies with labels": 2, "radiologist: Edema positive": 1},
    }
    assert {key: checked.counts[key] for key in expected} == expected
    assert [line.split(":")[0] for line in checked.found] == [
        "the table of images",
        "the table of splits",
        "the images",
        "the reports",
        "the CheXpert labels",
        "the NegBio labels",
        "the radiologist's labels (new in version 2.1.0)",
    ]
    assert "train images: 4 here, 368,960 in the published set" in checked.notes
    table = f"{mimic.root}/mimic-cxr-2.0.0-chexpert.csv.gz"
    assert f"{table}: 1 studies have no labels: s90000003" in checked.notes


def test_the_published_counts_of_mimic_cxr_add_up():
    published = MimicReader.published
    assert [
        sum(published[f"{split} {what}"] for split in ("train", "validate", "test"))
        for what in ("images", "studies", "patients")
    ] == [377_110, 227_835, 65_379]


def test_every_kind_of_missing_file_is_named(mimic, plus):
    mimic.write(leave=("split", "negbio", "reports"), version="2.0.0")
    checked = check_mimic(mimic)
    assert starts(checked.problems) == ["missing: the table of splits", "missing: the reports"]
    assert starts(checked.notes) == [
        "missing: the NegBio labels",
        "missing: the radiologist's labels (new in version 2.1.0)",
    ]
    assert checked.counts == {}


def test_every_missing_file_of_chexpert_plus_is_a_problem(plus):
    problems = check_plus(plus).problems
    assert starts(problems) == [
        "missing: the table of reports",
        "missing: the images",
        "missing: CheXbert's labels for target 'findings'",
        "missing: CheXbert's labels for target 'impression'",
        "missing: CheXbert's labels for target 'both'",
    ]
    assert all("get it from https://aimi.stanford.edu/datasets/chexpert-plus" in problem for problem in problems)


def test_one_file_of_labels_is_enough(plus):
    complete(plus)
    (plus.root / "chexbert_labels" / "findings_fixed.json").unlink()
    checked = check_plus(plus)
    assert checked.problems == ()
    assert starts(checked.notes)[0] == "missing: CheXbert's labels for target 'findings'"


@pytest.mark.parametrize(
    ("settings", "variable"), [(MimicCxr, "ORAPO_MIMIC_ROOT"), (ChexpertPlus, "ORAPO_CHEXPERT_PLUS_ROOT")]
)
@pytest.mark.parametrize("root", [None, "/nowhere/at/all"])
def test_a_missing_folder_is_a_problem(settings, variable, root):
    (problem,) = check_data_set(settings(root)).problems
    assert variable in problem


def test_missing_and_damaged_images_and_reports_are_told(mimic):
    del mimic.reports[90000006]
    mimic.write(zipped=False)
    folder = mimic.root / stem(90000001, 90000001)
    (folder / "00000001-00000002.jpg").unlink()
    (folder / "00000001-00000001.jpg").write_bytes(b"")
    (mimic.root / f"{stem(90000003, 90000003)}/00000003-00000001.jpg").unlink()
    (mimic.root / f"{stem(90000002, 90000002)}/00000002-00000001.jpg").unlink()
    (mimic.root / f"{stem(90000005, 90000005)}.txt").write_bytes(b"\xff")
    checked = check_mimic(mimic)
    assert checked.counts["image files"] == 4
    assert checked.counts["reports read"] == 4
    no_text, no_file, missing, empty = checked.problems
    assert missing.startswith("study s90000002: there is no image ")
    assert empty.startswith("study s90000001: image ")
    assert no_text.startswith("study s90000005: report ")
    assert no_file.startswith("study s90000006: there is no report ")
    assert any(
        note.startswith("2 images of other views are missing (views 'all' needs them): ") for note in checked.notes
    )


def test_a_broken_zip_or_table_is_one_problem_and_the_rest_goes_on(mimic):
    mimic.write()
    (mimic.root / "mimic-cxr-reports.zip").write_bytes(b"half")
    (mimic.root / "mimic-cxr-2.0.0-negbio.csv.gz").write_bytes(b"half")
    archive, negbio = check_mimic(mimic).problems
    assert "can't be read as zip" in archive
    assert "negbio.csv.gz has no rows" in negbio
    assert check_mimic(mimic).counts["image files"] == 7


def test_every_bad_row_of_a_large_table_is_told(mimic, plus):
    mimic.rows = [*ROWS, image(7, 1, time="noon"), image(8, 1) | {"dicom_id": ""}, image(1, 1)]
    checked = check_mimic(mimic.write(version="2.0.0", leave=("images",)))
    assert [problem.partition(" line ")[2] for problem in checked.problems if " line " in problem] == [
        "9: StudyTime is 'noon'; it must be HHMMSS.fff or blank",
        "10: dicom_id is blank, or study_id or subject_id is no whole number",
        "11: image 00000001-00000001 of study s90000001 is there twice",
    ]
    rows = [row(path) for path in PATHS] + [row(PATHS[2], split="test"), row(PATHS[3], frontal_lateral="")]
    problems = check_plus(complete(plus, rows)).problems
    assert [problem.partition(": ")[2] for problem in problems] == [
        "split is 'test' but path_to_image starts with train",
        "frontal_lateral is ''; it must be Frontal or Lateral",
    ]


def test_a_wrong_reports_setting_is_a_problem(mimic):
    checked = check_data_set(MimicCxr(str(mimic.write().root), reports="nowhere"))
    assert checked.problems[0].startswith("MIMIC-CXR: there is no reports nowhere; ")


def test_only_a_few_images_are_opened_unless_all_are_asked_for(mimic):
    mimic.write()
    file = io.BytesIO()
    noise_image(0, (64, 64)).save(file, "PNG")
    damaged = file.getvalue()[:2000] + b"damage" + file.getvalue()[2006:]  # header and end are as they should be
    for cells in ROWS[1:]:
        (mimic.root / stem(cells["subject_id"], cells["study_id"]) / f"{cells['dicom_id']}.jpg").write_bytes(damaged)
    assert check_mimic(mimic, num_opened=1).problems == ()
    problems = check_mimic(mimic, num_opened=None).problems
    assert len(problems) == 6
    assert problems[-1] == "at least 1 more images can't be opened"


def test_chexpert_plus_is_counted_by_section_and_label(plus):
    rows = [row(path) for path in PATHS]
    rows[2]["section_findings"] = "N/A"
    rows[3]["section_impression"] = ""
    checked = check_plus(complete(plus, rows))
    assert checked.problems == ()
    expected = {
        **{"images": 5, "studies": 4, "patients": 3, "test images": 1, "test studies": 1, "frontal images": 4},
        **{"view AP": 4, "view LATERAL": 1, "reports with findings": 3, "reports with impression": 3},
        **{"reports with both": 2, "chexbert (findings): studies with labels": 4},
        **{"chexbert (findings): Edema positive": 3, "chexbert (findings): Fracture positive": 0},
        **{"chexbert (both): Edema positive": 2, "image files": 5},
    }
    assert {key: checked.counts[key] for key in expected} == expected
    assert "patients: 3 here, 64,725 in the published set" in checked.notes


def test_a_set_without_laterals_is_counted(plus):
    checked = check_plus(complete(plus, [row(path) for path in PATHS if "frontal" in path]))
    assert checked.problems == ()
    assert "view LATERAL: 0 here, 32,391 in the published set" in checked.notes


def test_counts_as_published_need_no_note(plus, monkeypatch):
    counts = check_plus(complete(plus)).counts
    monkeypatch.setattr(PlusReader, "published", {key: counts[key] for key in PlusReader.published})
    assert not any("published" in note for note in check_plus(plus).notes)


def test_studies_without_labels_are_noted(plus):
    complete(plus)
    plus.write_labels([label(path) for path in PATHS[3:]])
    path = plus.root / "chexbert_labels" / "findings_fixed.json"
    assert f"{path}: 2 studies have no labels: patient00001/study1, patient00001/study2" in check_plus(plus).notes


def test_odd_rows_are_noted_and_a_patient_in_both_parts_is_a_problem(plus):
    rows = [row(path) for path in PATHS]
    rows += [row(PATHS[0]), row(PATHS[3].replace("view1", "view2"), deid_patient_id="p", section_findings="")]
    rows.append(row("valid/patient00001/study9/view1_frontal.jpg"))
    checked = check_plus(complete(plus, rows))
    (problem,) = checked.problems
    assert problem.startswith("CheXpert Plus: 1 patients have studies in several splits, for example that of")
    assert sum("1 rows " in note for note in checked.notes) == 3


def test_broken_labels_are_problems_not_exceptions(plus):
    complete(plus)
    (plus.root / "chexbert_labels" / "report_fixed.json").write_text("{")
    (problem,) = check_plus(plus).problems
    assert problem.endswith("report_fixed.json, line 1: not JSON; is it complete?")


def write_own(folder, *rows):
    (folder / "t.csv").write_text(
        "study_id,patient_id,image_path,view,report,split\n" + "".join(f"{r}\n" for r in rows)
    )
    return StudyTable(str(folder / "t.csv"), str(folder))


def test_the_same_picture_under_two_names_is_found_where_contents_are_compared(tmp_path):
    Image.new("L", (40, 40), 7).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    settings = write_own(tmp_path, "s1,p1,a.png,PA,Clear lungs.,train", "s2,p2,b.png,PA,Clear lungs.,test")
    assert check_data_set(settings).problems == ()
    (problem,) = check_data_set(settings, compare_images=True).problems
    assert problem.endswith("image b.png is the same as a.png of study s1 (train and test)")


def test_columns_that_are_passed_over_are_noted(tmp_path):
    Image.new("L", (40, 40)).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("study_id,patient_id,image_path,view,report,scanner\ns1,p1,a.png,,Clear.,x\n")
    notes = check_data_set(
        StudyTable(str(tmp_path / "t.csv"), str(tmp_path), validate_fraction=0.0, test_fraction=0.0)
    ).notes
    assert "columns passed over: scanner" in notes


def test_an_annotation_is_counted_and_its_missing_images_are_told(tmp_path):
    def sample(patient, study):
        folder = f"train/patient9000{patient}/study{study}"
        return {"id": f"{patient}-{study}", "report": "Cardiomegaly.", "image_path": [f"{folder}/view1_frontal.png"]}

    content = {"train": [sample(1, 1), sample(2, 1)], "val": [sample(2, 2)], "test": [sample(3, 1)]}
    for samples in content.values():
        for each in samples:
            path = tmp_path / "PNG" / each["image_path"][0]
            path.parent.mkdir(parents=True)
            Image.new("L", (40, 40)).save(path)
    (tmp_path / "annotation.json").write_text(json.dumps(content))
    settings = Annotation(str(tmp_path / "annotation.json"), str(tmp_path))
    checked = check_data_set(settings)
    assert checked.problems == ()
    assert "1 studies are left out (patient is in test or validate: 1)" in checked.notes
    assert [checked.counts[key] for key in ("studies", "train studies", "image files", "reports with text")] == [
        4,
        2,
        4,
        4,
    ]
    path.unlink()
    (problem,) = check_data_set(settings).problems
    assert problem.startswith("study patient90003/study1: there is no image view1_frontal.png")
    assert check_data_set(Annotation(None, "x")).problems[0].startswith("annotation: no file given")
