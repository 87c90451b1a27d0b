"""Accuracy of answers with worked numbers, its controls, its file and its table."""

from dataclasses import replace
from pathlib import Path

import pytest

from orapo.data.arithmetic import Arithmetic
from orapo.data.phantom_questions import PhantomQuestions
from orapo.data.phantoms.source import PhantomSource
from orapo.errors import DataError
from orapo.evaluation.answers import majority_measures, random_measures
from orapo.evaluation.evaluation_table import EvaluationTables, tables_text
from orapo.evaluation.examiner import Examiner, system_measures
from orapo.evaluation.report_pairs import ReportPair, Written, read_report_pairs, write_report_pairs
from orapo.evaluation.resampling import Bootstrap
from orapo.experiment.evaluation_controls import TrainingStudies, controls, make_examiner, why_not_shuffled
from orapo.labeler import Labeler
from orapo.records import Question, Split, Study

SOURCE = Arithmetic(num_train=30, num_test=6, least_numbers=2, most_numbers=3)
STUDIES = SOURCE.entries(Split.TEST)
RIGHT = tuple(study.oracle_report for study in STUDIES)
MIXED = Written((*RIGHT[:3], "Answer: 0", "no idea", RIGHT[5]), counts={"cut_off_reports": 1})
EXAMINER = Examiner(Labeler(), Bootstrap(200))


def question(answer: str, choices: tuple[str, ...] = (), group: str = "g") -> Question:
    return Question("?", answer, group, "choice" if choices else "exact", choices)


def test_worked_accuracies() -> None:
    pairs = EXAMINER.read(STUDIES, MIXED)
    values = system_measures(pairs).values()
    assert values["accuracy"] == pytest.approx(4 / 6)
    assert values["answered_fraction"] == pytest.approx(5 / 6)
    # Questions 0, 2, 4 add two numbers, 1, 3, 5 three.
    assert values["accuracy/2 numbers"] == pytest.approx(2 / 3)
    assert values["accuracy/3 numbers"] == pytest.approx(2 / 3)
    assert values["mean_words"] > 0
    assert not any(name.startswith("uncertain") for name in values), "observations are looked for in answers"


def test_the_interval_holds_the_value_and_a_perfect_system_differs() -> None:
    mixed = EXAMINER.scored("mixed", EXAMINER.read(STUDIES, MIXED), MIXED.counts)
    perfect = EXAMINER.scored("perfect", EXAMINER.read(STUDIES, Written(RIGHT)))
    found = mixed.estimates["accuracy"]
    assert found.low < found.value < found.high
    assert perfect.estimates["accuracy"].value == 1
    assert EXAMINER.differences(perfect, mixed)["accuracy"].value == pytest.approx(1 / 3)
    assert mixed.counts["2 numbers/support"] == 3
    assert mixed.note == "cut off reports 1"


def test_pairs_come_back_from_their_file(tmp_path: Path) -> None:
    pairs = EXAMINER.read(STUDIES, MIXED)
    write_report_pairs(tmp_path / "reports.jsonl", pairs)
    assert read_report_pairs(tmp_path / "reports.jsonl") == pairs
    row = {**pairs[0].to_row(), "answer": {"expected": "5"}}
    with pytest.raises(DataError, match="answer must have expected, given, is_correct and group"):
        ReportPair.from_row(row)


def test_the_majority_answer() -> None:
    training = [question("a"), question("b"), question("b"), question("c")]
    answer, measures = majority_measures(training, [question("b"), question("a", group="h")])
    assert answer == "b"
    assert measures.values() == {"accuracy": 0.5, "accuracy/g": 1.0, "accuracy/h": 0.0}
    # Choices differ from question to question: there the commonest letter.
    lettered = [question("x", ("w", "x")), question("z", ("y", "z")), question("y", ("y", "z"))]
    answer, measures = majority_measures(lettered, [question("p", ("o", "p")), question("q", ("q", "r"))])
    assert (answer, measures.values()["accuracy"]) == ("B", 0.5)
    with pytest.raises(DataError, match="no training question"):
        majority_measures([], training)


def test_a_random_answer() -> None:
    training = [question("a"), question("b"), question("b"), question("c")]
    assert random_measures(training, [question("b"), question("d")]).values()["accuracy"] == pytest.approx(0.25)
    choices = [question("x", ("w", "x")), question("z", ("x", "y", "z", "w"))]
    assert random_measures(training, choices).values()["accuracy"] == pytest.approx((1 / 2 + 1 / 4) / 2)
    with pytest.raises(DataError, match="no training question"):
        random_measures([], training)


def test_controls_of_questions_are_their_own() -> None:
    training = TrainingStudies(tuple(SOURCE.entries(Split.TRAIN)), "")
    rows = controls(EXAMINER, training, STUDIES, 0)
    assert list(rows) == ["majority_answer", "random_answer"]
    unread = controls(EXAMINER, TrainingStudies((), "no table"), STUDIES, 0)
    assert all(row.not_computed == "no table" for row in unread.values())


def test_images_are_shuffled_only_where_there_are_some() -> None:
    seen = PhantomQuestions(phantoms=PhantomSource(num_test=200)).entries(Split.TEST)
    assert why_not_shuffled(STUDIES) == "the questions have no images"
    assert why_not_shuffled(seen) == ""
    assert why_not_shuffled(seen[:1]) == "there is only one study"


def test_an_examiner_with_readers_of_reports_has_nothing_for_answers() -> None:
    source = PhantomSource(num_test=200)
    studies = PhantomQuestions(phantoms=source).entries(Split.TEST)[:4]
    examiner = make_examiner(source, Labeler(), Bootstrap(100), None, uncertain_is_positive=False)
    pairs = examiner.read(studies, Written(tuple(study.oracle_report for study in studies)))
    assert all(not pair.readings and not pair.scores for pair in pairs)
    assert system_measures(pairs).values()["accuracy"] == 1


def test_the_table_says_what_was_measured() -> None:
    pairs = EXAMINER.read(STUDIES, MIXED)
    rows = {"system": EXAMINER.scored("trained policy", pairs)}
    rows |= controls(EXAMINER, TrainingStudies(tuple(SOURCE.entries(Split.TRAIN)), ""), STUDIES, 0)
    differences = EXAMINER.differences(rows["system"], rows["majority_answer"])
    tables = EvaluationTables("sums", rows, "the majority", differences, "uncertain_not_positive", 0.95)
    text = tables_text(tables, everything=True)
    assert "trained policy   0.667 [" in text
    assert "2 numbers 3" in text
    assert "bootstrap over questions" in text
    assert "observations" not in text


def test_many_groups_are_left_to_the_files() -> None:
    studies = [
        _in_group(study, f"group {place}") for place, study in enumerate(Arithmetic(num_test=9).entries(Split.TEST))
    ]
    row = EXAMINER.scored("all", EXAMINER.read(studies, Written(tuple(study.oracle_report for study in studies))))
    assert row.estimates["accuracy/group 8"].value == 1
    text = tables_text(EvaluationTables("", {"system": row}, "", {}, "uncertain_not_positive", 0.95), everything=False)
    assert "3 more groups in the files" in text


def _in_group(study: Study, group: str) -> Study:
    assert study.question is not None
    return replace(study, question=replace(study.question, group=group))
