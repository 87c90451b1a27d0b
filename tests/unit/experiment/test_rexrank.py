"""The leaderboard's file: read, continued after an interruption, and given back with a prediction in each study."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from orapo.data.json_studies import RexRank
from orapo.errors import DataError
from orapo.experiment.rexrank import RexrankFile, prediction
from orapo.records import Context

CONTENT: dict[str, Any] = {
    "50414267": {
        "image_path": ["/p10/a.jpg", "p10/b.jpg"],
        "key_image_path": "p10/a.jpg",
        "context": "Age:50-60.Gender:M.Indication: made up.",
        "frontal_lateral": ["Frontal", "Lateral"],
        "section_findings": "ä",
        "section_impression": None,
        "report": "x",
        "split": "test",
        "subject_id": 10000032,
    },
    "b": {"image_path": ["c.png"], "key_image_path": "c.png", "odd": {"kept": [1]}},
}


def opened(folder: Path, images: str = "all") -> RexrankFile:
    (folder / "in.json").write_text(json.dumps(CONTENT))
    return RexrankFile(folder / "in.json", folder / "root", images, folder / "out.json")


def test_all_images_or_the_key_image(tmp_path: Path) -> None:
    root = tmp_path / "root"
    first, second = opened(tmp_path).studies
    assert (first.study_id, first.patient_id) == ("50414267", "10000032")
    assert first.image_paths == (str(root / "p10/a.jpg"), str(root / "p10/b.jpg")), "a leading slash stays below it"
    assert second.image_paths == (str(root / "c.png"),)
    assert opened(tmp_path, "key").studies[0].image_paths == (str(root / "p10/a.jpg"),)


def test_every_key_comes_back_and_an_interrupted_command_continues(tmp_path: Path) -> None:
    opened(tmp_path).add("50414267", "Clear lungs.\n")
    again = opened(tmp_path)
    assert [study.study_id for study in again.waiting] == ["b"]
    assert not (tmp_path / "out.json").exists()
    again.add("b", "IMPRESSION: Normal.")
    again.finish()
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert list(written) == list(CONTENT)
    assert written["50414267"] == {**CONTENT["50414267"], "model_prediction": "Findings: Clear lungs.\n"}
    assert written["b"] == {**CONTENT["b"], "model_prediction": "IMPRESSION: Normal."}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.json", "out.json"]


def test_the_context_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    first, second = (study.context for study in opened(tmp_path).studies)
    assert (first.age_years, first.sex, first.indication) == (None, "M", "made up")
    assert second == Context()


@pytest.mark.parametrize(
    "context",
    [
        "<context>Age:61.Gender:F.Indication: ___-year-old, made up.\nComparison: None.</context>",
        "Age:50-60.Gender:Male.Indication:.History: made up, no indication: none.Technique: AP.",
    ],
)
def test_an_evaluation_of_the_same_file_shows_the_same_context(tmp_path: Path, context: str) -> None:
    study = {"image_path": ["a.png"], "context": context, "section_findings": "Clear.", "split": "test"}
    (tmp_path / "in.json").write_text(json.dumps({"a": study}))
    Image.new("L", (32, 32)).save(tmp_path / "a.png")
    (written,) = RexrankFile(tmp_path / "in.json", tmp_path, "all", tmp_path / "out.json").studies
    evaluated = RexRank(str(tmp_path / "in.json"), str(tmp_path)).open().read("a")
    assert written.context == evaluated.context != Context()


def test_headings() -> None:
    assert prediction("") == ""
    assert prediction("Findings:Clear.Impression:Normal.") == "Findings:Clear.Impression:Normal."


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not JSON"),
        ("[]", "must map each study's id"),
        ('{"a": 1}', "study 'a' is no object"),
        ('{"a": {"image_path": []}}', "study 'a': image_path must name its images"),
        ('{"a": {"image_path": ["b.txt"]}}', "ends in '.txt'"),
    ],
)
def test_what_is_no_such_file_is_refused(content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(content)
    with pytest.raises(DataError, match=told):
        RexrankFile(tmp_path / "in.json", tmp_path, "all", tmp_path / "out.json")
