import pytest
from tests.unit.data.chexpert_folder import ChexpertFolder, label, row

from orapo.data.chexpert_plus import check as module
from orapo.data.chexpert_plus.check import check_chexpert_plus
from orapo.errors import SettingError

PATHS = (
    "train/patient00001/study1/view1_frontal.jpg",
    "train/patient00001/study1/view2_lateral.jpg",
    "train/patient00001/study2/view1_frontal.jpg",
    "train/patient00002/study1/view1_frontal.jpg",
    "valid/patient64541/study1/view1_frontal.jpg",
)


@pytest.fixture
def folder(tmp_path):
    return ChexpertFolder(tmp_path)


def complete(folder, rows=None):
    rows = rows or [row(path) for path in PATHS]
    folder.write_table(rows).write_images(dict.fromkeys(cells["path_to_image"] for cells in rows))
    for name in ("findings", "impression", "report"):
        records = [label(cells["path_to_image"], Edema=1.0) for cells in rows]
        folder.write_labels(records, f"chexbert_labels/{name}_fixed.json")
    return folder


def check(folder, **options):
    return check_chexpert_plus(str(folder.root), **options)


def test_a_complete_folder_has_no_problem_and_is_counted(folder):
    rows = [row(path) for path in PATHS]
    rows[2]["section_findings"] = " "
    rows[3]["section_impression"] = ""
    report = check(complete(folder, rows))
    assert report.data_set == "chexpert_plus"
    assert report.problems == ()
    root = folder.root
    assert report.found == (
        f"PNG images in {root}/PNG/train, {root}/PNG/valid",
        f"{root}/df_chexpert_plus_240401.csv: 5 rows",
        f"{root}/chexbert_labels/findings_fixed.json: labels of 5 images",
        f"{root}/chexbert_labels/impression_fixed.json: labels of 5 images",
        f"{root}/chexbert_labels/report_fixed.json: labels of 5 images",
    )
    expected = {
        "rows": 5,
        "images": 5,
        "studies": 4,
        "patients": 3,
        "images in train": 4,
        "studies in train": 3,
        "patients in train": 2,
        "images in valid": 1,
        "studies in valid": 1,
        "patients in valid": 1,
        "frontal images": 4,
        "lateral images": 1,
        "view AP": 4,
        "view LATERAL": 1,
        "studies with findings": 3,
        "studies with impression": 3,
        "studies with findings and impression": 2,
        "studies with findings and labels": 3,
        "findings: Edema positive": 3,
        "findings: Fracture positive": 0,
        "studies with impression and labels": 3,
        "studies with findings_and_impression and labels": 2,
        "findings_and_impression: Edema positive": 2,
    }
    assert {key: report.counts[key] for key in expected} == expected
    assert "patients: 3 here, 64,725 in the published set" in report.notes


def test_counts_as_published_need_no_note(folder, monkeypatch):
    complete(folder)
    counts = check(folder).counts
    monkeypatch.setattr(module, "PUBLISHED", {key: counts[key] for key in module.PUBLISHED})
    assert check(folder).notes == ()


def test_every_missing_file_is_a_problem(folder):
    problems = check(folder).problems
    assert [problem.split(" (")[0] for problem in problems] == [
        "missing: the table of reports",
        "missing: the images",
        "missing: CheXbert's labels for sections 'findings'",
        "missing: CheXbert's labels for sections 'impression'",
        "missing: CheXbert's labels for sections 'findings_and_impression'",
    ]
    assert all("get it from https://aimi.stanford.edu/datasets/chexpert-plus" in problem for problem in problems)


def test_one_file_of_labels_is_enough(folder):
    complete(folder)
    (folder.root / "chexbert_labels" / "report_fixed.json").unlink()
    report = check(folder)
    assert report.problems == ()
    assert any(note.startswith("missing: CheXbert's labels for sections 'findings_and_imp") for note in report.notes)


def test_missing_and_damaged_images_are_told(folder):
    complete(folder)
    images = folder.root / "PNG"
    (images / PATHS[1].replace(".jpg", ".png")).unlink()
    (images / PATHS[2].replace(".jpg", ".png")).unlink()
    (images / PATHS[3].replace(".jpg", ".png")).write_bytes(b"no image")
    report = check(folder)
    assert report.problems[0] == "1 frontal images are missing: train/patient00001/study2/view1_frontal"
    assert report.problems[1].startswith("study patient00002/study1: image ")
    assert len(report.problems) == 2
    assert any(
        note.startswith("1 lateral images are missing (views 'all'): train/patient00001/") for note in report.notes
    )
    assert len(check(folder, num_opened=0).problems) == 1


def test_rows_without_labels_and_labels_without_rows_are_noted(folder):
    complete(folder)
    other = label("train/patient00007/study1/view1_frontal.jpg")
    folder.write_labels([*(label(path) for path in PATHS[1:]), other])
    path = folder.root / "chexbert_labels" / "findings_fixed.json"
    notes = check(folder).notes
    assert (
        f"{path}: 1 labelled images have no row in the table, for example train/patient00007/study1/view1_frontal"
        in notes
    )
    assert (
        f"{path}: 1 images of the table have no labels; studies without labels are left out, "
        "for example train/patient00001/study1/view1_frontal" in notes
    )


def test_odd_rows_are_noted_and_a_patient_in_both_parts_is_a_problem(folder):
    rows = [row(path) for path in PATHS]
    rows += [row(PATHS[0]), row(PATHS[3].replace("view1", "view2"), deid_patient_id="p", section_findings="")]
    rows.append(row("valid/patient00001/study9/view1_frontal.jpg"))
    report = check(complete(folder, rows))
    table = folder.root / "df_chexpert_plus_240401.csv"
    assert report.problems == (f"{table}: 1 patients are in train and in valid: patient00001, ...",)
    odd = [note.removeprefix(f"{table}: ") for note in report.notes if note.startswith(str(table))]
    assert odd == [
        "1 rows repeat the image of an earlier row and are passed over; the first is row 6 (the header is row 0)",
        "1 rows have another deid_patient_id than the patient's folder, which counts; the first is row 7 "
        "(the header is row 0)",
        "1 rows have other sections than the first row of their study, which counts; the first is row 7 "
        "(the header is row 0)",
    ]


def test_broken_tables_are_problems_not_exceptions(folder):
    complete(folder, [row(path) for path in PATHS[:1]] + [row(PATHS[2], split="test")])
    (folder.root / "chexbert_labels" / "report_fixed.json").write_text("{")
    problems = check(folder).problems
    assert problems[0].endswith("row 2 (the header is row 0): split is 'test' but path_to_image starts with train")
    (folder.root / "df_chexpert_plus_240401.csv").unlink()
    problems = check(folder).problems
    assert [problem.split(" (")[0] for problem in problems[:1]] == ["missing: the table of reports"]
    assert problems[1].endswith("report_fixed.json line 1 is no JSON object; is the download complete?")
    assert "no folder given" in check_chexpert_plus(None).problems[0]
    with pytest.raises(SettingError, match="images is 'gif'"):
        check_chexpert_plus(None, images="gif")
