"""Sweeps as a user runs them, with training stood in for: failures, Ctrl-C, SIGKILL, slots, submitit, search."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.integration.sweep_app import FOREIGN, OWN, PAUSED, STARTED

from orapo.comparison.run_state import RunState, read_state
from orapo.experiment.compare_command import main as compare

APP = Path(__file__).with_name("sweep_app.py")
SPACE = "objective.alpha=interval(0.0,0.9)"


def environment(seconds: float) -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if key not in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}
    return {**env, "SECONDS_OF_A_JOB": str(seconds)}


def sweep(*arguments: str, cwd: Path, seconds: float = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(APP), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment(seconds), capture_output=True, text=True, timeout=500)


def begin(*arguments: str, cwd: Path, seconds: float) -> subprocess.Popen[str]:
    # In a group of its own, so that a signal can reach all its processes, as from a terminal.
    return subprocess.Popen(
        [sys.executable, str(APP), *arguments],
        cwd=cwd,
        env=environment(seconds),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def started(cwd: Path) -> list[list[str]]:
    path = cwd / STARTED
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_jobs(count: int, process: subprocess.Popen[str], cwd: Path) -> None:
    deadline = time.monotonic() + 300
    while len(started(cwd)) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def folder_of(cwd: Path) -> Path:
    (folder,) = cwd.glob("sweeps/*/*")
    return folder.relative_to(cwd)


def states(folder: Path) -> dict[str, RunState]:
    jobs = sorted(path.parent for path in folder.glob("*/run_state.json"))
    records = {job.name.partition("=")[2]: read_state(job) for job in jobs}
    return {name: record.seen_from_here().state for name, record in records.items() if record is not None}


@pytest.mark.slow
def test_failed_jobs_are_told_and_run_again_finished_ones_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = sweep("-m", f"objective.alpha={FOREIGN},0.3,{OWN},0.95,{PAUSED},0.6", cwd=tmp_path)
    folder = folder_of(tmp_path)
    assert done.returncode == 1
    told = done.stderr.splitlines()
    assert f"failed: 0_objective.alpha={FOREIGN}: ZeroDivisionError, told on the terminal" in told
    assert "ZeroDivisionError: words of a foreign error" in told, "the traceback of what nobody foresaw"
    assert f"failed: 2_objective.alpha={OWN}: studies.csv: no such file" in told
    assert any(line.startswith(f"paused: 4_objective.alpha={PAUSED}: no judge answers") for line in told)
    assert told[-1] == f"error: 2 of 6 jobs failed; mend them and go on with: orapo train resume={folder}"
    assert [float(job[0]) for job in started(tmp_path)] == [FOREIGN, 0.3, OWN, 0.95, PAUSED, 0.6]

    assert compare([str(tmp_path / folder), "--csv", str(tmp_path / "out.csv")]) == 0
    assert "6 runs in 6 groups" in capsys.readouterr().out
    # 0.95 ended without a summary: it is no finished run.
    (tmp_path / "mended").touch()
    again = sweep(f"resume={folder}", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert [float(job[0]) for job in started(tmp_path)[6:]] == [FOREIGN, OWN, 0.95, PAUSED]
    assert again.stdout.count("is finished and not run again") == 2
    assert folder_of(tmp_path) == folder

    # A value more in the middle: jobs are known by their settings, not by their numbers.
    path = next((tmp_path / folder).glob("*alpha=0.6")) / "config.yaml"
    path.write_text(path.read_text().replace("learning_rate: 0.0007", "learning_rate: 0.0008"))
    changed = sweep("-m", "objective.alpha=0.3,0.5,0.6", f"hydra.sweep.dir={folder}", cwd=tmp_path)
    assert changed.returncode == 1
    assert [float(job[0]) for job in started(tmp_path)[10:]] == [0.5]
    assert "holds a run of another config: training.learning_rate is 0.0007, was 0.0008; start a new" in changed.stderr
    assert states(tmp_path / folder)["0.6"] is RunState.FINISHED, "a refused job leaves the record"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "number", "send"),
    [
        ("basic", signal.SIGINT, os.killpg),
        ("slots", signal.SIGINT, os.killpg),
        ("slots", signal.SIGTERM, os.kill),  # to the command alone, which sends it on
        ("slots", signal.SIGUSR1, os.killpg),
    ],
)
def test_a_signal_ends_the_sweep(
    launcher: str, number: signal.Signals, send: Callable[[int, int], None], tmp_path: Path
) -> None:
    arguments = ["-m", "objective.alpha=0.1,0.2,0.3,0.5", f"hydra/launcher={launcher}"]
    process = begin(*arguments, cwd=tmp_path, seconds=60)
    running = 2 if launcher == "slots" else 1
    wait_for_jobs(running, process, tmp_path)
    send(process.pid, number)
    _, errors = process.communicate(timeout=300)
    folder = folder_of(tmp_path)
    paused = number is signal.SIGUSR1
    assert process.returncode == (75 if paused else 128 + number), errors
    assert f"the sweep ends here, go on with: orapo train resume={folder}" in errors
    assert "Traceback" not in errors
    assert len(started(tmp_path)) == running, "no other job begins"
    state = RunState.PAUSED if paused else RunState.INTERRUPTED
    assert list(states(tmp_path / folder).values()) == [state] * running
    again = sweep(f"resume={folder}", "hydra/launcher=basic", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert list(states(tmp_path / folder).values()) == [RunState.FINISHED] * 4


@pytest.mark.slow
def test_a_slot_keeps_its_gpu_and_its_share_of_the_threads(tmp_path: Path) -> None:
    done = sweep(
        "-m",
        f"objective.alpha=0.1,0.2,{OWN},0.5,0.6",
        "hydra/launcher=slots",
        "hydra.callbacks.slot.gpus=[3,5]",
        "hydra.launcher.inner_max_num_threads=1",
        cwd=tmp_path,
        seconds=1,
    )
    assert done.returncode == 1
    assert "1 of 5 jobs failed" in done.stderr
    gpu_of = {process: gpu for _, process, gpu, _ in started(tmp_path)}
    assert len(started(tmp_path)) == 5
    assert sorted(gpu_of.values()) == ["3", "5"], "two processes, a GPU each"
    assert len({(process, gpu) for _, process, gpu, _ in started(tmp_path)}) == 2, "a slot keeps its GPU"
    assert {threads for *_, threads in started(tmp_path)} == {"1"}


@pytest.mark.slow
def test_submitit_on_this_machine(tmp_path: Path) -> None:
    done = sweep("-m", f"objective.alpha=0.1,{OWN},0.3", "hydra/launcher=local", cwd=tmp_path)
    folder = folder_of(tmp_path)
    assert done.returncode == 1
    assert f"failed: 1_objective.alpha={OWN}: studies.csv: no such file" in done.stderr
    assert len({process for _, process, *_ in started(tmp_path)}) == 3, "a process each"
    (tmp_path / "mended").touch()
    again = sweep(f"resume={folder}", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert [float(job[0]) for job in started(tmp_path)[3:]] == [OWN]
    assert set(states(tmp_path / folder).values()) == {RunState.FINISHED}


def trials(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def search_survives(cwd: Path, *storage: str) -> None:
    """Kills a search of eight trials in its fourth, restarts it, and looks at what there is."""
    search = [
        "-m",
        "hydra/sweeper=tpe",
        SPACE,
        "hydra.sweeper.n_trials=8",
        "hydra.sweeper.n_startup_trials=3",
        *storage,
    ]
    process = begin(*search, cwd=cwd, seconds=1.5)
    wait_for_jobs(4, process, cwd)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    folder = folder_of(cwd)
    assert [row["state"] for row in trials(cwd / folder)] == ["finished"] * 3
    done = sweep(f"resume={folder}", cwd=cwd)
    assert done.returncode == 0, done.stderr
    rows = trials(cwd / folder)
    assert [row["trial"] for row in rows] == [str(number) for number in range(8)]
    assert {row["state"] for row in rows} == {"finished"}
    points = [float(job[0]) for job in started(cwd)]
    assert len(points) == 9
    assert points[3] == points[4], "the trial that was killed is run again, with the same settings"
    assert len(set(points)) == 8, "no point is repeated"
    assert [float(row["objective.alpha"]) for row in rows] == list(dict.fromkeys(points))
    for row in rows:
        assert float(row["value"]) == pytest.approx(1 - abs(float(row["objective.alpha"]) - 0.25)), "of the validation"
    best = json.loads((cwd / folder / "search.json").read_text())["best"]
    assert best["value"] == max(float(row["value"]) for row in rows)
    assert "Best: macro_f1" in done.stdout
    assert set(states(cwd / folder).values()) == {RunState.FINISHED}
    again = sweep(f"resume={folder}", cwd=cwd)
    assert again.returncode == 0
    assert len(started(cwd)) == 9, "all trials are made"


@pytest.mark.slow
def test_a_killed_search_goes_on_with_sqlite(tmp_path: Path) -> None:
    search_survives(tmp_path)
    folder = folder_of(tmp_path)
    more = sweep(f"resume={folder}", "hydra.sweeper.n_trials=9", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert len(trials(tmp_path / folder)) == 9
    other = sweep(f"resume={folder}", "hydra.sweeper.seed=1", cwd=tmp_path)
    assert other.returncode == 1
    assert "was begun with seed = 0, now it is 1; start a new sweep" in other.stderr


@pytest.mark.slow
def test_a_search_goes_on_after_failures_and_runs_trials_side_by_side(tmp_path: Path) -> None:
    done = sweep(
        "-m",
        "hydra/sweeper=tpe",
        f"objective.alpha=0.1,{OWN},0.95",
        "objective.w_max=interval(0.1,0.5)",
        "hydra.sweeper.n_trials=7",
        "hydra/launcher=slots",
        cwd=tmp_path,
    )
    folder = folder_of(tmp_path)
    rows = trials(tmp_path / folder)
    assert len(rows) == 7
    assert len({process for _, process, *_ in started(tmp_path)}) == 2, "as many at a time as the launcher has slots"
    expected = {"0.1": ("finished", ""), str(OWN): ("failed", "studies.csv: no such file")}
    expected["0.95"] = ("failed", "the job returned None, a finite number is needed")
    assert {row["objective.alpha"] for row in rows} == set(expected)
    for row in rows:
        assert (row["state"], row["reason"]) == expected[row["objective.alpha"]]
    failed = sum(row["state"] == "failed" for row in rows)
    assert done.returncode == 1
    assert f"error: {failed} of 7 jobs failed" in done.stderr
    assert f"{7 - failed} of 7 trials finished, {failed} failed" in done.stdout


@pytest.mark.slow
def test_a_misspelt_key_of_the_space_is_one_line(tmp_path: Path) -> None:
    done = sweep("-m", "hydra/sweeper=tpe", "objective.alpa=interval(0,1)", cwd=tmp_path)
    assert done.returncode == 1
    (told,) = done.stderr.splitlines()
    assert told.startswith("error: ")
    assert "objective.alpa" in told
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.slow
def test_a_second_command_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    process = begin("-m", "objective.alpha=0.1", "hydra.sweep.dir=sweeps/a/b", cwd=tmp_path, seconds=60)
    try:
        wait_for_jobs(1, process, tmp_path)
        other = sweep("resume=sweeps/a/b", cwd=tmp_path)
        assert other.returncode == 1
        assert "error: sweeps/a/b is at work in another command" in other.stderr
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
def test_the_record_of_a_sweep_holds_the_command(tmp_path: Path) -> None:
    assert sweep("+sweep=seeds", "seed=3,4", "hydra.sweep.dir=s/t", cwd=tmp_path).returncode == 0
    saved = yaml.safe_load((tmp_path / "s/t/multirun.yaml").read_text())["hydra"]["overrides"]
    assert saved["task"] == ["+sweep=seeds", "seed=3,4"]
    assert sorted(path.name for path in (tmp_path / "s/t").glob("[0-9]*")) == ["0_seed=3", "1_seed=4"]
