"""Questions from tables of every kind, what is refused in them, and the generated ones."""

import csv
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import noise_image

from orapo.chexpert import Observation
from orapo.data.arithmetic import HIGHEST_SUM, Arithmetic
from orapo.data.balanced_subset import BalancedSubset, SubsetManifest
from orapo.data.phantom_questions import ANSWERS, PhantomQuestions
from orapo.data.phantoms.source import PhantomSource
from orapo.data.questions import Questions, QuestionSource
from orapo.data.source import StudySource
from orapo.errors import DataError, SettingError
from orapo.measures.answers import given_answer
from orapo.records import DEFAULT_PATTERN, Split

ROWS: list[dict[str, Any]] = [
    {"id": "q1", "question": "2+3=?", "answer": "5", "solution": "2 and 3 make 5", "split": "train"},
    {"id": "q2", "question": "Which?", "answer": "B", "choices": ["left", "right"], "split": "validation"},
    {"id": "q3", "question": "Name it.", "answer": "heart", "solution": "It beats.\nAnswer: Heart", "split": "test"},
]

REXVQA = {
    "choices": "options",
    "answer": "correct_answer",
    "solution": "correct_answer_explanation",
    "images": "ImagePath",
    "patient_id": "PatientID",
    "group": "task_name",
}


def opened(path: Path | Mapping[str, str], **settings: Any) -> QuestionSource:
    return Questions(path=str(path) if isinstance(path, Path) else dict(path), **settings).open()  # type: ignore[arg-type]


def write_rows(folder: Path, kind: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / f"questions.{kind}"
    if kind == "csv":
        with path.open("w", newline="") as file:
            columns = list(dict.fromkeys(name for row in rows for name in row))
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            lists = [{n: "|".join(v) if isinstance(v, list) else v for n, v in row.items()} for row in rows]
            writer.writerows(lists)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "json":
        path.write_text(json.dumps({row["id"]: {n: v for n, v in row.items() if n != "id"} for row in rows}))
    else:
        import pyarrow as pa
        from pyarrow import parquet

        names = dict.fromkeys(name for row in rows for name in row)
        parquet.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet"])
def test_all_kinds_of_tables_hold_the_same_questions(tmp_path: Path, kind: str) -> None:
    source = opened(write_rows(tmp_path, kind, ROWS), instruction="Answer it.")
    assert isinstance(source, StudySource)
    (first,), (second,), (third,) = (source.entries(split) for split in Split)
    assert first.question is not None
    assert second.question is not None
    assert third.question is not None
    assert (first.question.kind, second.question.kind, third.question.kind) == ("numeric", "choice", "exact")
    assert first.oracle_report == "2 and 3 make 5\nAnswer: 5"
    assert second.question.text == "Which?\nA. left\nB. right\nAnswer it."
    assert (second.question.answer, second.question.group, second.oracle_report) == ("right", "B", "Answer: B")
    assert third.oracle_report == "It beats.\nAnswer: Heart"
    assert first.labels == {}
    assert source.load_images(source.read("q1")) == ()


def refused(tmp_path: Path, changed: dict[str, Any], match: str, **settings: Any) -> None:
    path = write_rows(tmp_path, "jsonl", [ROWS[0], {**ROWS[1], **changed}, ROWS[2]])
    with pytest.raises(DataError, match=match):
        opened(path, **settings)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"answer": None}, "line 2: no 'answer'; its columns are 'id', 'question', 'answer', 'choices', 'split'"),
        ({"question": "  "}, "line 2: no 'question'"),
        ({"answer": "C"}, "the answer is none of the 2 choices, nor the letter of one"),
        ({"answer": "centre"}, "the answer is none of the 2 choices"),
        ({"choices": ["left"]}, "it has 1 choices; 2 to 26 different ones are needed"),
        ({"choices": ["left", "Left"]}, "it has 2 choices; 2 to 26 different ones"),
        ({"choices": ["left.", "left"]}, "it has 2 choices; 2 to 26 different ones"),
        ({"choices": 7}, "choices must be a list of texts"),
        ({"choices": "[left"}, "choices: not JSON"),
        ({"choices": "[" * 5000}, "choices: more than 64 lists"),
        ({"answer": ["left", "right"]}, "line 2: 'answer' must be one text or number"),
        ({"question": {"text": "Which?"}}, "line 2: 'question' must be one text or number"),
        ({"images": {"bytes": "x"}}, "images must be a list of texts"),
        ({"solution": "Surely.\nAnswer: A"}, "its worked solution ends in another answer than the right one"),
        ({"id": "q1"}, "id q1 stands there twice"),
        ({"id": "=1+1"}, "line 2: an id must be printable, and not begin with ="),
        ({"patient_id": "p\x1b[2J"}, "line 2: an id must be printable"),
        ({"split": None}, "1 of 3 rows have no split"),
        ({"split": "some"}, r"line 2: .*is none of train"),
        ({"images": ["a.png"]}, "it has images; set data.root"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, changed: dict[str, Any], match: str) -> None:
    refused(tmp_path, changed, match)


def test_none_may_be_an_answer(tmp_path: Path) -> None:
    row = {"id": "q", "question": "Which finding?", "answer": "None", "split": "train"}
    (study,) = opened(write_rows(tmp_path, "csv", [row])).entries(Split.TRAIN)
    assert study.oracle_report == "Answer: None"


def test_a_patient_stays_in_one_split(tmp_path: Path) -> None:
    rows = [{**row, "patient_id": "p1"} for row in ROWS]
    with pytest.raises(DataError, match="questions q1 and q2 are of one patient and in several splits") as caught:
        opened(write_rows(tmp_path, "jsonl", rows))
    assert "p1" not in str(caught.value)


def test_a_pattern_that_does_not_read_the_answer_line_is_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path, "jsonl", ROWS)
    with pytest.raises(DataError, match="pattern doesn't read the right answer in answer_line"):
        opened(path, pattern=r"\\boxed\{(?P<answer>[^}]*)\}")
    boxed = opened(path, pattern=r"\\boxed\{(?P<answer>[^}]*)\}", answer_line=r"\boxed{{answer}}")
    assert boxed.read("q2").oracle_report == r"\boxed{B}"


def test_settings_are_checked() -> None:
    for wrong, match in (
        ({"pattern": "Answer: (.*)"}, "pattern is 'Answer: "),
        ({"columns": {"text": "q"}}, "columns names 'text'"),
        ({"answer_line": "Answer"}, "answer_line is 'Answer'"),
        ({"tolerance": -1.0}, "tolerance"),
    ):
        with pytest.raises(SettingError, match=match):
            Questions(path="table.csv", **wrong)  # type: ignore[arg-type]


def test_images_are_found_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    noise_image(0, (56, 56)).save(tmp_path / "images" / "a.png")
    path = write_rows(tmp_path, "jsonl", [{**row, "images": ["../images/a.png"]} for row in ROWS])
    source = opened(path, root=str(tmp_path))
    assert source.load_images(source.read("q1"))[0].size == (56, 56)
    with pytest.raises(DataError, match=r"there is no image .*b\.png"):
        opened(write_rows(tmp_path, "jsonl", [{**ROWS[0], "images": ["b.png"]}]), root=str(tmp_path))
    noise_image(0, (56, 56)).save(tmp_path / "a.png")
    for odd in (str(tmp_path / "a.png"), "images/../../a.png", "../sub/../../a.png"):
        with pytest.raises(DataError, match=r"study q1: image .* is outside of root"):
            opened(write_rows(tmp_path, "jsonl", [{**ROWS[0], "images": [odd]}]), root=str(tmp_path / "images"))


def test_without_splits_they_are_drawn_by_patient(tmp_path: Path) -> None:
    rows = [{"id": i, "question": f"{i}+1=?", "answer": i + 1, "patient_id": i // 2} for i in range(40)]
    source = opened(write_rows(tmp_path, "jsonl", rows))
    sizes = {split: len(source.entries(split)) for split in Split}
    assert sizes == {Split.TRAIN: 28, Split.VALIDATE: 4, Split.TEST: 8}
    groups = {study.question.group for study in source.entries(Split.TRAIN) if study.question}
    assert groups == {"all"}, "40 answers are too many to be groups"


def test_rexvqa_loads_by_its_own_names(tmp_path: Path) -> None:
    row = {
        "question": "Where is the opacity?",
        "options": ["A. Left base", "B. Right base", "C. Nowhere", "D. Everywhere"],
        "correct_answer": "B",
        "correct_answer_explanation": "The right base is opaque.",
        "ImagePath": ["../deid_png/a.png"],
        "task_name": "location",
    }
    (tmp_path / "deid_png").mkdir()
    noise_image(0, (56, 56)).save(tmp_path / "deid_png" / "a.png")
    path = {}
    for number, split in enumerate(("train", "validate", "test")):
        path[split] = str(tmp_path / f"{split}.json")
        Path(path[split]).write_text(json.dumps({f"id{number}": {**row, "PatientID": f"p{number}"}}))
    study = opened(path, root=str(tmp_path), columns=REXVQA).read("id1")
    assert study.question is not None
    assert study.split is Split.VALIDATE
    assert study.question.choices == ("Left base", "Right base", "Nowhere", "Everywhere")
    assert (study.question.answer, study.question.group) == ("Right base", "location")
    assert study.oracle_report == "The right base is opaque.\nAnswer: B"


def test_the_config_has_the_default_pattern_and_rexvqas_names() -> None:
    conf = Path(__file__).parents[3] / "conf" / "data"
    assert yaml.safe_load((conf / "questions.yaml").read_text())["source"]["pattern"] == DEFAULT_PATTERN
    assert yaml.safe_load((conf / "rexvqa.yaml").read_text())["source"]["columns"] == REXVQA


def test_the_digest_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    digests = [opened(write_rows(tmp_path / name, "jsonl", ROWS)).digest() for name in ("a", "b")]
    changed = opened(write_rows(tmp_path, "jsonl", [{**ROWS[0], "answer": "6"}, *ROWS[1:]])).digest()
    assert digests[0] == digests[1] != changed


def test_sums_are_right_graded_and_of_their_split() -> None:
    source = Arithmetic(num_train=50, num_validate=50, num_test=50)
    asked = {split: [study.question for study in source.entries(split)] for split in Split}
    assert len({question.text for split in Split for question in asked[split] if question}) > 130
    for study in source.entries(Split.TRAIN):
        assert study.question is not None
        numbers = [int(number) for number in study.question.text.removesuffix("=?").split("+")]
        assert str(sum(numbers)) == study.question.answer
        assert sum(numbers) <= HIGHEST_SUM
        assert study.question.group == f"{len(numbers)} numbers"
        assert given_answer(study.oracle_report, study.question).is_correct
        assert source.read(study.study_id) == study
    assert source.study(Split.TRAIN, 3).oracle_report.count("\n") == 4
    with pytest.raises(SettingError, match="least_numbers is 6"):
        Arithmetic(least_numbers=6, most_numbers=3)
    with pytest.raises(DataError, match="allowed: sum-<split>-<number>"):
        source.read("phantom-train-000001")


def test_a_worked_sum() -> None:
    source = Arithmetic(least_numbers=3, most_numbers=3)
    first, second, third = source.numbers(Split.TRAIN, 0)
    total = first + second
    assert source.study(Split.TRAIN, 0).oracle_report == (
        f"{first}+{second}={total}\n{total}+{third}={total + third}\nAnswer: {total + third}"
    )


def test_phantom_questions_have_all_answers_equally_often_and_the_right_ones() -> None:
    drawn = PhantomSource(num_train=600, train_prevalence="balanced")
    source = PhantomQuestions(phantoms=drawn)
    studies = source.entries(Split.TRAIN)
    counts = Counter(study.question.answer for study in studies if study.question)
    assert set(counts) == set(ANSWERS)
    assert len(set(counts.values())) == 1
    for study in studies:
        assert study.question is not None
        finding = drawn.findings(Split.TRAIN, int(study.study_id[-6:])).get(Observation.PLEURAL_EFFUSION)
        side = "no" if finding is None else finding.side
        assert study.question.answer == {"both": "bilateral"}.get(side, side)
        assert given_answer(study.oracle_report, study.question).is_correct
    with pytest.raises(DataError, match="no train phantom has the answer"):
        PhantomQuestions(phantoms=PhantomSource(num_train=2)).entries(Split.TRAIN)


def test_a_subset_is_balanced_over_the_groups(tmp_path: Path) -> None:
    pool = Arithmetic(num_train=40, least_numbers=2, most_numbers=2).entries(Split.TRAIN)
    rare = Arithmetic(num_train=4, least_numbers=9, most_numbers=9, seed=1).entries(Split.TRAIN)
    rare = [replace(study, study_id=f"rare-{study.study_id}") for study in rare]
    manifest = BalancedSubset(num_studies=8, seed=0).choose([*pool, *rare])
    assert manifest.positives_before == {"2 numbers": 40, "9 numbers": 4}
    assert manifest.positives_after == {"2 numbers": 4, "9 numbers": 4}
    assert set(manifest.reasons.values()) == {
        "2 numbers had the fewest positives",
        "9 numbers had the fewest positives",
    }
    manifest.write(tmp_path / "subset.json")
    assert SubsetManifest.read(tmp_path / "subset.json") == manifest
