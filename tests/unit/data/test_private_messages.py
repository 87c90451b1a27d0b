"""No message quotes a report or names a patient, however a table or an image is damaged."""

import csv
import json
from pathlib import Path

import pytest

from orapo.chexpert import label_state_from_code
from orapo.data.annotation import Annotation
from orapo.data.check import check_data_set, check_questions
from orapo.data.hf_dataset import HfDataset
from orapo.data.mimic_cxr import MimicCxr
from orapo.data.miniature.mimic_cxr import write_miniature_mimic_cxr
from orapo.data.miniature.study_table import write_miniature_study_table
from orapo.data.questions import Questions
from orapo.data.study_table import StudyTable
from orapo.errors import DataError

REPORT = "A canary perches upon the sternum."
PATIENT = "p7770003"


def test_a_report_is_named_without_the_folder_of_its_patient(tmp_path: Path) -> None:
    root = write_miniature_mimic_cxr(tmp_path / "mimic", 10)
    text = min(root.glob("files/*/*/*.txt"))
    text.write_bytes(b"\xff canary")
    (problem,) = check_data_set(MimicCxr(str(root))).problems
    assert f"report {text.name} in {root}" in problem
    assert text.parent.name not in problem


@pytest.mark.parametrize("content", [None, b"", b"\xff\xd8 canary", b"GIF89a"])
def test_an_image_is_named_without_the_folder_of_its_patient(tmp_path: Path, content: bytes | None) -> None:
    root = write_miniature_mimic_cxr(tmp_path / "mimic", 10)
    image = min(root.glob("files/*/*/*/*.jpg"))
    image.unlink()
    if content is not None:
        image.write_bytes(content)
    (problem,) = check_data_set(MimicCxr(str(root))).problems
    patient, study = image.parts[-3:-1]
    assert f"study {study}: " in problem
    assert image.stem in problem
    assert patient not in problem


def test_a_sample_without_its_image_too(tmp_path: Path) -> None:
    content = {}
    for number, part in enumerate(("train", "val", "test"), start=1):
        patient = 7770000 + number
        path = f"p77/p{patient}/s{number}/x{number}.jpg"
        sample = {"id": f"x{number}", "study_id": number, "subject_id": patient, "image_path": [path]}
        content[part] = [{**sample, "report": "Clear lungs."}]
    (tmp_path / "a.json").write_text(json.dumps(content))
    told = "\n".join(check_data_set(Annotation(str(tmp_path / "a.json"), str(tmp_path))).problems)
    assert "there is no image x1.jpg" in told
    assert "777000" not in told


@pytest.mark.parametrize("cell", [REPORT, PATIENT])
@pytest.mark.parametrize("column", ["view", "split", "age", "study_date", "image_path"])
def test_a_cell_that_is_out_of_place_is_not_quoted(
    tmp_path: Path, column: str, cell: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_miniature_study_table(tmp_path / "table", 10)
    rows = list(csv.DictReader(path.open()))
    rows[2][column] = cell
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    report = check_data_set(StudyTable(str(path), str(path.parent)))
    told = "\n".join((*report.problems, *report.notes, *report.counts, caplog.text)).lower()
    assert "canary" not in told
    assert PATIENT not in told


def test_questions_without_a_header_or_with_a_patient_in_two_splits(tmp_path: Path) -> None:
    row = f"q1,Where does it perch?,{REPORT},train,{PATIENT}\n"
    (tmp_path / "headless.csv").write_text(row + row.replace("q1", "q2"))
    other = row.replace("q1", "q2").replace("train", "test")
    (tmp_path / "shared.csv").write_text(f"id,question,answer,split,patient_id\n{row}{other}")
    for name, expected in (("headless", "is its first line a header?"), ("shared", "q1 and q2 are of one patient")):
        (problem,) = check_questions(Questions(str(tmp_path / f"{name}.csv"))).problems
        assert expected in problem
        assert "canary" not in problem
        assert PATIENT not in problem


@pytest.mark.parametrize("code", [REPORT, PATIENT])
def test_a_code_that_is_none_is_not_quoted(code: str) -> None:
    with pytest.raises(DataError, match=r"^label code of \d+ characters is none of 1 "):
        label_state_from_code(code)


def test_a_file_of_a_hugging_face_data_set_without_a_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.csv").write_text("image,report,patient_id\nx.png,Clear lungs.,p1\n")
    (folder / "b.csv").write_text(f"y.png,{REPORT},{PATIENT}\nz.png,{REPORT},{PATIENT}\n")
    (problem,) = check_data_set(HfDataset(str(folder))).problems
    assert "do all of its files have the same columns" in problem
    assert "canary" not in problem
    assert PATIENT not in problem
