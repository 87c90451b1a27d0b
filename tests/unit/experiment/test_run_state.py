"""run_state.json by real Hydra commands with tasks that end in every way, and the name of a sweep."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from orapo.comparison.run_state import RUN_STATE, RunState, StateRecord, process_start, read_state
from orapo.errors import DataError, OrapoError, RunInterrupted, RunPaused, SettingError
from orapo.experiment.command_line import run_command
from orapo.experiment.loggers import MAX_NAME, shown_name
from orapo.experiment.sweeps.folders import sweep_name

CONF = Path(__file__).parents[3] / "conf"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Runs a task as train.py would, in a folder of its own; gives the folder."""
    for name in ("RANK", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)

    def run(task: Callable[[DictConfig], object], *overrides: str) -> Path:
        folder = tmp_path / "run"
        # Of a folder that the command itself makes nothing stays where it is refused before it begins.
        folder.mkdir(exist_ok=True)
        monkeypatch.setattr(sys, "argv", ["train.py", f"hydra.run.dir={folder}", *overrides])
        with contextlib.suppress(SystemExit, ZeroDivisionError):
            run_command(task)
        return folder

    return run


def raising(error: Exception) -> Callable[[DictConfig], object]:
    def task(config: DictConfig) -> None:
        raise error

    return task


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried ..."),
        MemoryError(),
        RuntimeError("x: can't allocate memory: you tried"),
    ],
)
def test_too_little_memory_is_one_line_that_says_what_to_lower(
    error: Exception, run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run(raising(error))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert line.startswith("error: out of memory; lower training.studies_per_micro_batch, ")


def test_another_error_of_the_programs_keeps_its_traceback(run: Callable[..., Path]) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        run(raising(RuntimeError("a bug")))


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (RunPaused("no judge answers"), RunState.PAUSED, "no judge answers"),
        (RunInterrupted("stopped at step 3"), RunState.INTERRUPTED, "stopped at step 3"),
        (DataError("studies.csv: no such file"), RunState.FAILED, "studies.csv: no such file"),
        (ZeroDivisionError("words of a foreign error"), RunState.FAILED, "ZeroDivisionError, told on the terminal"),
    ],
)
def test_how_a_run_ended(run: Callable[..., Path], error: Exception, state: RunState, reason: str) -> None:
    record = read_state(run(raising(error), "objective.alpha=0.3", "seed=4"))
    assert record is not None
    assert (record.state, record.reason) == (state, reason)
    assert record.overrides == ("objective.alpha=0.3", "seed=4")


def test_a_run_says_that_it_runs_and_that_it_ended(run: Callable[..., Path], tmp_path: Path) -> None:
    seen: list[RunState] = []

    def task(config: DictConfig) -> None:
        record = read_state(tmp_path / "run")
        assert record is not None
        seen.append(record.seen_from_here().state)

    record = read_state(run(task))
    assert seen == [RunState.RUNNING]
    assert record is not None
    assert record.state is RunState.FINISHED
    assert not list((tmp_path / "run").glob("*.draft"))


@pytest.mark.slow
def test_a_refused_resume_leaves_the_record_and_a_real_one_keeps_the_overrides(run: Callable[..., Path]) -> None:
    folder = run(raising(RunPaused("no judge answers")), "objective.alpha=0.3")
    before = (folder / RUN_STATE).read_text()
    run(raising(SettingError("leave out seed=3")), "seed=3")
    assert (folder / RUN_STATE).read_text() == before
    run(lambda config: None, f"resume={folder}")
    record = read_state(folder)
    assert record is not None
    assert (record.state, record.overrides) == (RunState.FINISHED, ("objective.alpha=0.3",))


def test_other_processes_of_a_run_write_nothing(run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert read_state(run(lambda config: None)) is None


@pytest.mark.slow
def test_a_single_run_has_no_group_and_a_sweep_its_name_and_time(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[tuple[str | None, float]] = []

    def task(config: DictConfig) -> None:
        groups.append((config.logger.wandb.group, config.objective.alpha))

    run(task, "logger=wandb")
    assert groups == [(None, 0.5)]
    sweep = tmp_path / "sweeps" / "orapo" / "2026-01-31_12-00-00"
    # objective/average opens a folder in the job's name: the group is the same all the same.
    for extra in ((), ("objective/average=batch",)):
        groups.clear()
        monkeypatch.setattr(
            sys,
            "argv",
            ["train.py", "-m", f"hydra.sweep.dir={sweep}", "logger=wandb", "objective.alpha=0.3,0.7", *extra],
        )
        run_command(task)
        assert groups == [("orapo/2026-01-31_12-00-00", 0.3), ("orapo/2026-01-31_12-00-00", 0.7)]
    assert sweep_name() is None, "outside of a Hydra command"


def test_the_name_in_wandb_holds_what_the_command_line_set(tmp_path: Path) -> None:
    assert shown_name("orapo", tmp_path) == "orapo"
    told = ("run_name=orapo", "logger=wandb", "data.csv=/private/list.csv", "+row=sft", "seed=2")
    StateRecord.of_this_process(RunState.RUNNING, told).write(tmp_path)
    assert shown_name("orapo", tmp_path) == "orapo +row=sft seed=2"
    StateRecord.of_this_process(RunState.RUNNING, ("model.instruction=" + "x" * 200,)).write(tmp_path)
    assert len(shown_name("orapo", tmp_path)) == MAX_NAME


def test_a_dead_process_is_killed_and_a_damaged_record_is_told(tmp_path: Path) -> None:
    record = StateRecord.of_this_process(RunState.RUNNING, ())
    assert record.seen_from_here().state is RunState.RUNNING
    record.write(tmp_path)
    content = json.loads((tmp_path / RUN_STATE).read_text())
    # The number was given out again: the process that has it now started at another time.
    (tmp_path / RUN_STATE).write_text(json.dumps({**content, "process_start": "1"}))
    again = read_state(tmp_path)
    assert again is not None
    assert again.seen_from_here().state is RunState.KILLED
    (tmp_path / RUN_STATE).write_text(json.dumps({**content, "host": "another-machine", "process_id": 2**22 + 1}))
    elsewhere = read_state(tmp_path)
    assert elsewhere is not None
    assert elsewhere.seen_from_here().state is RunState.RUNNING, "of another machine nothing is known"
    (tmp_path / RUN_STATE).write_text("{}")
    with pytest.raises(OrapoError, match=r"run_state\.json is no record"):
        read_state(tmp_path)


def test_a_record_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = StateRecord.of_this_process(RunState.RUNNING, ("seed=1",))
    record.write(tmp_path)

    def half(path: Path, text: str, **options: str) -> None:
        path.write_bytes(text.encode()[:9])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(KeyboardInterrupt):
        StateRecord.of_this_process(RunState.FINISHED, ("seed=1",)).write(tmp_path)
    assert read_state(tmp_path) == record


def test_on_a_full_disk_a_record_takes_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StateRecord.of_this_process(RunState.RUNNING, ()).write(tmp_path)
    write = Path.write_text

    def full(path: Path, text: str, **options: str) -> None:
        if not path.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    failed = StateRecord.of_this_process(RunState.FAILED, (), "a full disk")
    failed.write(tmp_path)
    assert read_state(tmp_path) == failed


def test_a_log_on_a_full_disk_is_no_traceback(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "train.log").symlink_to("/dev/full")
    run(lambda config: logging.getLogger("orapo").warning("a line"))
    out, err = capfd.readouterr()
    assert "a line" in out
    assert "Traceback" not in err


def test_what_a_killed_run_leaves_at_work_is_waited_for(run: Callable[..., Path], tmp_path: Path) -> None:
    """Its processes that open images hold its lock for some seconds."""
    (tmp_path / "run").mkdir()
    replace(StateRecord.of_this_process(RunState.RUNNING, ()), process_start="1").write(tmp_path / "run")
    lock = (tmp_path / "run" / ".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    threading.Timer(1.0, lock.close).start()
    record = read_state(run(lambda config: None))
    assert record is not None
    assert record.state is RunState.FINISHED


def test_a_process_of_another_user_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(number: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refused)
    assert StateRecord.of_this_process(RunState.RUNNING, ()).seen_from_here().state is RunState.RUNNING


def test_after_another_boot_a_process_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number and its ticks since the boot may be the same."""
    record, read = StateRecord.of_this_process(RunState.RUNNING, ()), Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **how: "other" if path.name == "boot_id" else read(path, **how))
    assert record.seen_from_here().state is RunState.KILLED


def test_without_locks_the_record_decides(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(file: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    other = os.getppid()
    here = StateRecord.of_this_process(RunState.RUNNING, ())
    at_work = replace(here, process_id=other, process_start=process_start(other))
    (tmp_path / "run").mkdir()
    at_work.write(tmp_path / "run")
    run(lambda config: None)
    assert f"is being trained by process {other}" in capsys.readouterr().err
    assert read_state(tmp_path / "run") == at_work
    replace(at_work, state=RunState.PAUSED).write(tmp_path / "run")
    record = read_state(run(lambda config: None))
    assert record is not None
    assert record.state is RunState.FINISHED
