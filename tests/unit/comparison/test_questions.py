"""Runs that answered questions side by side: accuracy in the place of F1, paired over the same questions."""

import json
from pathlib import Path

import pytest
import yaml
from tests.unit.comparison.run_folders import config

from orapo.comparison.cases import Cases, CaseSystem
from orapo.comparison.compare import compare_runs
from orapo.comparison.tables import comparison_tables
from orapo.data.arithmetic import Arithmetic
from orapo.errors import DataError
from orapo.evaluation.examiner import Examiner
from orapo.evaluation.report_pairs import Written, read_report_pairs, write_report_pairs
from orapo.evaluation.resampling import Bootstrap
from orapo.labeler import Labeler
from orapo.records import Split

STUDIES = Arithmetic(num_test=20).entries(Split.TEST)
EXAMINER = Examiner(Labeler(), Bootstrap(100))


def write_run(folder: Path, seed: int, gamma: float, num_right: int) -> None:
    """A finished run that answers the first so many of 20 questions rightly."""
    folder.mkdir(parents=True)
    settings = {**config(seed=seed, objective__gamma=gamma), "reward": {"terms": {"facts": 0.0, "answer": 1.0}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    texts = [study.oracle_report if i < num_right else "Answer: 0" for i, study in enumerate(STUDIES)]
    row = EXAMINER.scored("trained", EXAMINER.read(STUDIES, Written(tuple(texts))))
    write_report_pairs(folder / "test_reports.jsonl", row.pairs)
    reading = "uncertain_not_positive"
    summary = {"trained": row.summary(reading), "base": row.summary(reading), "shuffled_images": None}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "validation.csv").write_text(
        f"step,accuracy,answered_fraction,shuffled_accuracy\n5,{num_right / 20},1,\n"
    )


def test_groups_are_compared_by_accuracy(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / f"low{seed}", seed, 1.0, 4 + seed)
        write_run(tmp_path / f"high{seed}", seed, 2.0, 12 + seed)
    found = compare_runs([tmp_path], baseline="gamma=1")
    assert (found.sort, found.headline) == ("accuracy", "accuracy")
    best, base = found.groups
    assert best.spread("accuracy").mean == pytest.approx(13 / 20)
    assert base.spread("accuracy").mean == pytest.approx(5 / 20)
    significance = found.significance[best.label]
    assert list(significance.studies) == ["accuracy"]
    difference = significance.studies["accuracy"]
    assert difference.value == pytest.approx(8 / 20)
    assert difference.low < 8 / 20 < difference.high
    assert significance.seeds["accuracy"].difference == pytest.approx(8 / 20)
    assert found.runs[0].curves["accuracy"][1].tolist() == [found.runs[0].scores["accuracy"]]
    table = next(comparison_tables(found))
    assert "Δ accuracy [95 %]" in table.rows[0]
    assert table.rows[0]["accuracy"].startswith("0.650")


def test_other_questions_are_not_comparable(tmp_path: Path) -> None:
    for name, gamma in (("a", 1.0), ("b", 2.0)):
        write_run(tmp_path / name, 0, gamma, 4)
    lines = (tmp_path / "b" / "test_reports.jsonl").read_text()
    (tmp_path / "b" / "test_reports.jsonl").write_text(lines.replace("sum-test", "sum-other"))
    found = compare_runs([tmp_path], baseline="gamma=1")
    assert found.significance[next(one.label for one in found.groups if "2" in one.label)].is_of_other_studies


def test_the_case_page_is_for_reports(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0, 1.0, 4)
    pairs = read_report_pairs(tmp_path / "a" / "test_reports.jsonl")
    with pytest.raises(DataError, match="these are answers to questions"):
        Cases((CaseSystem("a", pairs),), is_private=False, shows_private=False, uncertain_is_positive=False)
