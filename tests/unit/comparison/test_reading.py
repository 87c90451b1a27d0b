"""Run folders of every state, found and read."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.unit.comparison.run_folders import FakeRun, marks, write_run

from orapo.comparison.run_folder import find_runs, read_run
from orapo.comparison.run_state import RUN_STATE, RunState
from orapo.comparison.significance import _measured
from orapo.errors import DataError

CALLED, TRUE = marks(1, 6, 0.5)


def finished(**settings: object) -> FakeRun:
    return FakeRun(settings, CALLED, TRUE)


def test_runs_are_found_in_the_order_of_their_jobs_and_once(tmp_path: Path) -> None:
    sweep = tmp_path / "sweeps" / "orapo" / "2026-01-31_12-00-00"
    for number in (0, 2, 10):
        write_run(sweep / f"{number}_seed={number}", finished(seed=number))
    nested = write_run(sweep / "11_objective" / "average=batch", finished())
    (sweep / "0_seed=0" / "checkpoints").mkdir()
    found = find_runs([sweep, sweep / "2_seed=2", tmp_path])
    assert [folder.name for folder in found] == ["0_seed=0", "2_seed=2", "10_seed=10", "average=batch"]
    assert found[-1] == nested
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no run"):
        find_runs([tmp_path / "empty"])
    with pytest.raises(DataError, match="nowhere is not a folder"):
        find_runs([tmp_path / "nowhere"])


def test_folders_that_lead_back_to_themselves_or_are_deep(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a" / "run", finished())
    for name in ("one", "two", "three"):
        (tmp_path / "a" / name).symlink_to(tmp_path, target_is_directory=True)
    assert [folder.resolve() for folder in find_runs([tmp_path])] == [run]
    inner = os.open(tmp_path / "a", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=inner)
        outer, inner = inner, os.open("d", os.O_RDONLY, dir_fd=inner)
        os.close(outer)
    os.close(inner)
    found = find_runs([tmp_path])
    subprocess.run(["rm", "-r", tmp_path / "a" / "d"], check=True)  # shutil would go too deep
    assert len(found) == 1


def test_a_finished_run(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", finished(seed=3, objective__alpha=0.3)))
    assert (run.state, run.reason, run.seed, run.last_step, run.num_steps) == (RunState.FINISHED, "", 3, 60, 60)
    assert run.settings["objective.alpha"] == 0.3
    steps, rewards = run.curves["reward"]
    assert (steps[0], rewards[0], steps[-1], rewards[-1]) == pytest.approx((1, 0.1, 60, 0.218))
    steps, own = run.curves["macro_f1"]
    assert list(steps) == [0, 30, 60]
    assert list(own) == [0.05, 0.1, 0.2]
    # By hand from the matrices: F1 of each observation, 0 where nothing is there and nothing called.
    hits, both = (CALLED & TRUE).sum(0), CALLED.sum(0) + TRUE.sum(0)
    expected = np.mean([2 * h / b if b else 0.0 for h, b in zip(hits, both, strict=True)])
    assert run.scores["macro_f1"] == pytest.approx(expected)
    assert "shuffled_macro_f1" not in run.scores, "there were no shuffled images"


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (RunState.PAUSED, "no judge answers"),
        (RunState.FAILED, "SettingError: w_max"),
        (RunState.INTERRUPTED, "stopped"),
        (RunState.RUNNING, ""),
    ],
)
def test_a_run_without_summary_keeps_its_state_and_last_step(tmp_path: Path, state: RunState, reason: str) -> None:
    run = read_run(write_run(tmp_path / "run", FakeRun(steps=17, state=state, reason=reason)))
    assert (run.state, run.reason, run.last_step, run.num_steps, dict(run.scores)) == (state, reason, 17, 60, {})


def test_a_run_without_record(tmp_path: Path) -> None:
    unfinished = read_run(write_run(tmp_path / "3_objective.alpha=0.3,seed=1", FakeRun(steps=5, state=None)))
    assert unfinished.state is RunState.UNFINISHED
    assert unfinished.overrides == ("objective.alpha=0.3", "seed=1")
    assert read_run(write_run(tmp_path / "old", FakeRun({}, CALLED, TRUE, state=None))).state is RunState.FINISHED


def test_a_run_refused_before_its_config(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", FakeRun(state=RunState.FAILED, reason="seed is -1"))
    for name in ("config.yaml", "metrics.csv", "validation.csv"):
        (folder / name).unlink()
    (found,) = find_runs([tmp_path])
    run = read_run(found)
    assert (run.state, run.last_step, run.seed) == (RunState.FAILED, 0, None)


def test_a_line_that_is_being_written_does_not_count(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", FakeRun(steps=17, state=RunState.RUNNING))
    with (folder / "metrics.csv").open("a") as file:
        file.write("18,0.1,0.")
    assert read_run(folder).last_step == 17


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("metrics.csv", "step,reward,zero_reward_rate,mixing_weight\n1,0.1,0.2,0.1\n2,x,0.2,0.1\n", "line 3"),
        ("metrics.csv", "step,reward\n1,0.1\n", "lacks the column zero_reward_rate, mixing_weight"),
        ("summary.json", "{", "summary.json: not JSON"),
        ("summary.json", "{}", "trained.clinical.macro.f1 is missing"),
        ("summary.json", '{"trained": {"clinical": {"macro": {"f1": Infinity}}}}', "is inf, a number is needed"),
        ("metrics.csv", "step,reward,zero_reward_rate,mixing_weight\n1,-inf,0.2,0.1\n", "infinite or too large"),
        ("config.yaml", "a: [", "not YAML"),
        (RUN_STATE, "[]", "is no record"),
    ],
)
def test_a_damaged_file_marks_its_run_alone(tmp_path: Path, name: str, text: str, told: str) -> None:
    folder = write_run(tmp_path / "run", finished())
    (folder / name).write_text(text)
    run = read_run(folder)
    assert run.state is RunState.DAMAGED
    assert told in run.reason
    assert name in run.reason


def test_marks_are_what_the_labels_say_in_the_runs_own_reading(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", finished())
    path = folder / "test_reports.jsonl"
    path.write_text(path.read_text().replace('"unmentioned"', '"uncertain"'))
    strict, values = _measured(read_run(folder))
    assert values.values()["micro_f1"] == pytest.approx(2 * (CALLED & TRUE).sum() / (CALLED.sum() + TRUE.sum()))
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("uncertain_is_positive: false", "uncertain_is_positive: true"))
    lenient, values = _measured(read_run(folder))
    assert values.values()["micro_f1"] == 1, "everything is there, and called"
    assert lenient != strict, "other truths"


def test_a_damaged_report_is_told_without_its_words(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", finished())
    path = folder / "test_reports.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1].replace('"Edema"', '"Made-up"'), ""]))
    with pytest.raises(DataError, match="line 2") as error:
        _measured(read_run(folder))
    assert "Made-up" not in str(error.value)
    path.write_text("\n".join([lines[0], lines[0], ""]))
    with pytest.raises(DataError, match="study 's0' stands there twice"):
        _measured(read_run(folder))
