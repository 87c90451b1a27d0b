"""Evaluations beside runs: read, told with intervals, paired on the same studies, never compared on other ones."""

import csv
import json
import re
import shutil
import time
from pathlib import Path

import pytest
from tests.unit.comparison.evaluation_folders import write_evaluation_folder
from tests.unit.comparison.run_folders import FakeRun, marks, write_run

from orapo.comparison.compare import compare_runs
from orapo.comparison.evaluation_folder import READABLE_FORMAT, read_evaluation
from orapo.comparison.run_folder import find_runs
from orapo.comparison.run_state import RunState
from orapo.comparison.significance import OTHER_STUDIES
from orapo.comparison.table_files import latex_tables
from orapo.comparison.tables import comparison_tables
from orapo.errors import SettingError
from orapo.experiment.compare_command import main
from orapo.experiment.evaluation_files import FORMAT


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "logs" / "orapo" / "time", FakeRun({}, *marks(0, 60, 0.4)))


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """A better system on the run's studies."""
    return write_evaluation_folder(tmp_path / "evaluations" / "openai_gpt-4.1" / "time", *marks(1, 60, 0.8))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The best of all, on fewer studies."""
    folder = tmp_path / "evaluations" / "elsewhere" / "time"
    return write_evaluation_folder(folder, *marks(2, 59, 0.99), name="elsewhere", cost_usd=None)


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return {row["group"]: row for row in csv.DictReader(file) if row["kind"] in ("group", "evaluation")}


def test_an_evaluation_is_read_as_it_was_written(asked: Path) -> None:
    content = json.loads((asked / "evaluation.json").read_text())
    found = read_evaluation(asked)
    assert (found.state, found.title, found.num_studies) == (RunState.FINISHED, "openai_gpt-4.1", 60)
    for key, measure in (
        ("micro_recall", "uncertain_not_positive/all_14/micro/recall"),
        ("macro_f1", "uncertain_not_positive/all_14/macro/f1"),
        ("cost_usd_per_image", "cost_usd_per_image"),
    ):
        told = content["scores"]["system"]["measures"][measure]
        estimate = found.estimates[key]
        assert {"value": estimate.value, "low": estimate.low, "high": estimate.high} == told
        assert found.scores[key] == told["value"]
    floor = content["scores"]["always_positive"]["measures"]["uncertain_not_positive/all_14/macro/f1"]
    assert found.scores["always_positive_macro_f1"] == floor["value"]
    assert "shuffled_macro_f1" not in found.scores, "not computed"
    assert READABLE_FORMAT == FORMAT


def test_the_reading_of_uncertain_labels_is_the_evaluations_own(tmp_path: Path) -> None:
    folder = write_evaluation_folder(tmp_path / "e", *marks(1, 20, 0.8), data__uncertain_is_positive=True)
    content = json.loads((folder / "evaluation.json").read_text())
    content["scores"]["system"]["measures"]["uncertain_positive/all_14/macro/f1"]["value"] = 0.125
    content["scores"]["most_common_report"]["measures"]["uncertain_positive/all_14/macro/f1"]["value"] = 0.0625
    (folder / "evaluation.json").write_text(json.dumps(content))
    scores = read_evaluation(folder).scores
    assert (scores["macro_f1"], scores["most_common_report_macro_f1"]) == (0.125, 0.0625)


def test_where_evaluations_are_looked_for(run: Path, asked: Path, tmp_path: Path) -> None:
    own = write_evaluation_folder(run / "evaluation" / "later", *marks(0, 60, 0.4), run=str(run))
    assert find_runs([run]) == (run,), "a run's own evaluations are named themselves"
    assert find_runs([run, run / "evaluation", own]) == (run, own)
    assert find_runs([tmp_path]) == (asked, run)
    assert read_evaluation(own).title == "evaluation of openai_gpt-4.1"


def test_an_evaluation_is_paired_with_runs_on_the_same_studies(
    run: Path, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = write_evaluation_folder(tmp_path / "same", *marks(0, 60, 0.4), name="same")
    arguments = ["--csv", str(tmp_path / "out.csv"), "--latex", str(tmp_path / "out.tex")]
    assert main([str(run), str(asked), str(same), *arguments]) == 0
    rows = rows_of(tmp_path / "out.csv")
    assert (rows["same"]["macro_f1_difference"], rows["same"]["macro_f1_p_studies"]) == ("0", "1")
    better = rows["openai_gpt-4.1"]
    difference = float(better["macro_f1"]) - float(rows["orapo"]["macro_f1"])
    assert float(better["macro_f1_difference"]) == pytest.approx(difference, abs=1e-7)
    assert float(better["macro_f1_p_studies"]) < 0.01
    assert float(better["macro_f1_low"]) < float(better["macro_f1"]) < float(better["macro_f1_high"])
    assert (better["kind"], better["cost_usd_per_image"], better["num_studies"]) == ("evaluation", "0.002", "60")
    out = capsys.readouterr().out
    assert "1 run in 1 group, 2 evaluations, sorted by macro_f1" in out
    value = rf"{float(better['macro_f1']):.3f}"
    assert re.search(rf"openai_gpt-4\.1 +evaluation +– +{value} .* \+0\.\d+ \[\+0\.\d+, \+0\.\d+\] +<0\.001", out)
    interval = rf"{value} \[0\.\d{{3}}, 0\.\d{{3}}\]"
    assert re.search(rf"openai_gpt-4\.1 +60 .*{interval}", out)
    assert re.search(r"openai_gpt-4\.1 +60 +– .* 0\.5000 \[0\.5000, 0\.5000\] +0\.0020 \[0\.0020, 0\.0020\]", out)
    assert re.search(rf"openai\\_gpt-4\.1 & .*{interval}", (tmp_path / "out.tex").read_text())


@pytest.mark.slow
def test_other_studies_are_not_compared(
    run: Path, asked: Path, elsewhere: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--csv", str(tmp_path / "out.csv"), "--page", str(tmp_path / "page.html"), "--published"]
    assert main([str(run), str(elsewhere.parents[1]), *arguments]) == 0
    out = capsys.readouterr().out
    assert re.search(r"elsewhere +evaluation .* not comparable +– +–", out)
    assert f"No p (studies) for elsewhere: {OTHER_STUDIES}." in out
    row = rows_of(tmp_path / "out.csv")["elsewhere"]
    assert row["note"] == OTHER_STUDIES
    assert (row["macro_f1_difference"], row["macro_f1_p_studies"], row["cost_usd_per_image"]) == ("", "", "")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("not comparable") >= 2
    assert "<h2>2 evaluations: scores</h2>" in page
    assert "Made-up" not in page
    comparison = compare_runs([run, asked, elsewhere])
    first, second, third = [
        line for line in latex_tables(comparison_tables(comparison)).splitlines() if r" \\" in line
    ][1:4]
    assert first.startswith("elsewhere"), "the highest score"
    assert r"\textbf" not in first
    assert r"not comparable" in first
    assert r"\textbf" in second
    assert second.startswith(r"openai\_gpt-4.1")
    assert third.startswith("orapo")


def test_seeds_are_not_compared_over_other_studies(tmp_path: Path) -> None:
    for alpha, studies in ((0.3, 30), (0.7, 29)):
        for seed in (0, 1):
            fake = FakeRun({"objective__alpha": alpha, "seed": seed}, *marks(seed, studies, alpha))
            write_run(tmp_path / f"{alpha}_{seed}", fake)
    comparison = compare_runs([tmp_path])
    found = comparison.significance["alpha=0.7"]
    assert (dict(found.seeds), found.is_of_other_studies) == ({}, True)


def test_evaluations_alone(asked: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = shutil.copytree(asked, asked.parent / "again")
    assert main([str(asked), str(again), str(elsewhere), "--sort", "cost_usd_per_image", "--published"]) == 0
    out = capsys.readouterr().out
    assert "3 evaluations, sorted by cost_usd_per_image" in out
    assert "openai_gpt-4.1 (2)" in out
    assert "NOT COMPARABLE: your runs were tested on PhantomSource" in out
    assert main([str(asked), "--baseline", "gpt-5"]) == 1
    with pytest.raises(SettingError, match="names no group"):
        compare_runs([asked], baseline="gpt-5")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "evaluation.json: not JSON"),
        ('{"format": 2}', "evaluation.json: format is 2, allowed: 1"),
        ("[]", "is no evaluation as evaluate.py writes it"),
        ('{"format": 1, "settings": {}, "scores": {}}', "is no evaluation as evaluate.py writes it"),
    ],
)
def test_a_damaged_evaluation_stops_nobody_else(
    text: str, told: str, run: Path, asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (asked / "evaluation.json").write_text(text)
    assert main([str(run), str(asked)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "evaluation: damaged" in out
    assert told in out


def test_a_control_that_was_computed_has_the_headline(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads((asked / "evaluation.json").read_text())
    content["scores"]["always_positive"]["measures"] = {}
    (asked / "evaluation.json").write_text(json.dumps(content))
    assert main([str(asked)]) == 0
    assert "is no evaluation as evaluate.py writes it" in " ".join(capsys.readouterr().out.split())


def test_an_evaluation_without_its_reports_says_so(run: Path, asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (asked / "reports.jsonl").unlink()
    assert main([str(run), str(asked)]) == 0
    assert "openai_gpt-4.1/time has no reports.jsonl" in capsys.readouterr().out


@pytest.mark.slow
def test_two_hundred_evaluations_take_seconds(asked: Path, tmp_path: Path) -> None:
    for number in range(199):
        shutil.copytree(asked, tmp_path / "many" / str(number))
    start = time.process_time()
    assert len(compare_runs([tmp_path / "many", asked]).evaluations) == 200
    assert time.process_time() - start < 10
