"""Trained on A, examined by B: differences by hand, the diagonal, what has no row; every form of the table."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.unit.comparison.run_folders import FakeRun, marks, pairs, write_run

from orapo.comparison.compare import compare_runs
from orapo.comparison.cross import cross_table, rewarded
from orapo.comparison.run_folder import read_run
from orapo.comparison.run_state import RunState
from orapo.errors import DataError
from orapo.evaluation.report_pairs import write_report_pairs
from orapo.experiment.compare_command import main

CALLED, TRUE = marks(0, 30, 0.9)
BASE, _ = marks(1, 30, 0.3)


def run(folder: Path, terms: dict[str, float], seed: int = 0, called: np.ndarray = CALLED, **settings: object) -> Path:
    own = {"reward": {"_target_": "orapo.reward.weighted.WeightedReward", "terms": terms}, "seed": seed, **settings}
    write_run(folder, FakeRun(own, called, TRUE))
    write_report_pairs(folder / "base_test_reports.jsonl", pairs(BASE, TRUE))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Paid for facts, two seeds; paid for ROUGE and, half as much, for length."""
    other, _ = marks(2, 30, 0.6)
    return [
        str(run(tmp_path / "facts0", {"facts": 1.0, "length": 0.0})),
        str(run(tmp_path / "facts1", {"facts": 1.0, "length": 0.0}, seed=1, called=other)),
        str(run(tmp_path / "rouge", {"rouge_l": 1.0, "length": 0.5}, called=BASE)),
    ]


def f1(called: np.ndarray) -> float:
    return 2 * (called & TRUE).sum() / (called.sum() + TRUE.sum())


def test_differences_from_the_base_over_runs_and_seeds(runs: list[str]) -> None:
    crossed = cross_table(compare_runs([Path(folder) for folder in runs]))
    facts, rouge = sorted(crossed.rows, key=lambda row: row.rewarded != "facts")
    assert (facts.rewarded, facts.measured_as) == ("facts", {"score/reward_facts"})
    assert (rouge.rewarded, rouge.measured_as) == ("1 rouge_l + 0.5 length", {"rouge_l", "score/reward_length"})
    own = [f1(called) - f1(BASE) for called in (CALLED, marks(2, 30, 0.6)[0])]
    found = facts.differences["micro_f1"]
    assert found.value == pytest.approx(np.mean(own))
    assert found.low < found.value < found.high
    assert facts.seeds["micro_f1"].sd == pytest.approx(np.std(own, ddof=1))
    assert facts.num_studies == 30
    same = rouge.differences["micro_f1"]
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1), "it says what its base says"
    assert {"macro_f1", "rouge_l", "mean_words"} <= set(crossed.columns)


def test_every_form(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"--csv": "cross.csv", "--latex": "cross.tex", "--plots": "plots", "--page": "page.html"}
    files = {flag: tmp_path / name for flag, name in names.items()}
    assert main([*runs, "--cross", *(str(part) for pair in files.items() for part in pair)]) == 0
    told = capsys.readouterr().out
    assert "Rewarded (rows), measured (columns)" in told
    assert "◆ +0.000 [+0.000, +0.000]" in told, "ROUGE, which was rewarded and has not moved"
    with files["--csv"].open() as file:
        rows = {(row["rewarded"], row["measured"]): row for row in csv.DictReader(file)}
    assert rows["facts", "micro_f1"]["num_runs"] == "2"
    assert rows["1 rouge_l + 0.5 length", "rouge_l"]["is_rewarded"] == "True"
    assert not rows["1 rouge_l + 0.5 length", "rouge_l"]["sd_seeds"], "one run has no spread"
    assert r"\textbf{$\diamond$ +0.000" in files["--latex"].read_text()
    with Image.open(files["--plots"] / "cross.png") as picture:
        assert picture.width > 900
    page = files["--page"].read_text()
    assert 'class="sortable heat"' in page
    assert "Made-up" not in page


def test_what_has_no_row_is_told(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rouge" / "base_test_reports.jsonl").unlink()
    assert main([*runs, "--cross"]) == 0
    assert "rouge has no base_test_reports.jsonl" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(DataError, match="--cross needs a finished run with its base policy's reports"):
        cross_table(compare_runs([tmp_path / "rouge"]))


def test_a_run_that_ended_before_its_first_step_does_not_name_its_group(tmp_path: Path) -> None:
    reward = {"_target_": "orapo.reward.weighted.WeightedReward", "terms": {"facts": 1.0}}
    write_run(tmp_path / "0", FakeRun({"reward": reward, "seed": 5}, steps=0, state=RunState.FAILED))
    run(tmp_path / "1", {"facts": 1.0})
    (row,) = cross_table(compare_runs([tmp_path])).rows
    assert (row.rewarded, row.measured_as) == ("facts", {"score/reward_facts"})


def test_other_studies_than_the_base_are_refused(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", {"facts": 1.0})
    write_report_pairs(folder / "base_test_reports.jsonl", pairs(BASE[:29], TRUE[:29]))
    with pytest.raises(DataError, match="tested on different studies"):
        cross_table(compare_runs([folder]))


def test_what_was_rewarded(tmp_path: Path) -> None:
    served = {"terms": {"served": 1.0}, "term_settings": {"served": {"metrics": {"radgraph": {"low": 0.0}}}}}
    found = rewarded(read_run(write_run(tmp_path / "served", FakeRun({"reward": served}, CALLED, TRUE))))
    assert found == ("served", {"score/reward_served", "score/radgraph"})
    found = rewarded(read_run(write_run(tmp_path / "old", FakeRun({"reward": {"_target_": "o.FactScoreReward"}}))))
    assert found[0] == "facts"
    sft = FakeRun({"reward": {"terms": {"facts": 1.0}}}, CALLED, TRUE, rewards=[float("nan")] * 60)
    assert rewarded(read_run(write_run(tmp_path / "sft", sft))) == ("nothing", frozenset())
