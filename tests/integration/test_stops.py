"""Every signal at every moment of a run: what the command says, what it leaves behind, and how the run continues."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import forks
from tests.forks import Command
from tests.small_runs import SMALL, assert_same_run, num_steps, state, whole

__all__ = ["whole"]

pytestmark = pytest.mark.slow

INTERRUPTED, TERMINATED, PAUSED = (130, "interrupted"), (143, "interrupted"), (75, "paused")
SIGNALS: dict[str, tuple[list[int], tuple[int, str]]] = {
    "INT": ([signal.SIGINT], INTERRUPTED),
    "INT twice": ([signal.SIGINT, signal.SIGINT], INTERRUPTED),
    "TERM": ([signal.SIGTERM], TERMINATED),
    "HUP": ([signal.SIGHUP], TERMINATED),
    "USR1": ([signal.SIGUSR1], PAUSED),
    "USR2": ([signal.SIGUSR2], PAUSED),
}
MOMENTS: dict[str, Callable[[Command, Path], bool]] = {
    "before it begins": lambda run, folder: (folder / "run_state.json").exists(),
    "set-up": lambda run, folder: (folder / "config.yaml").exists(),
    "base test": lambda run, folder: "testing the base policy" in run.text(),
    "first validation": lambda run, folder: (folder / "base_test_reports.jsonl").exists(),
    "training": lambda run, folder: num_steps(folder) == 1,
    "checkpoint": lambda run, folder: any((folder / "checkpoints").glob("*.unfinished")),
    "validation": lambda run, folder: num_steps(folder) == 2,
    "last validation": lambda run, folder: num_steps(folder) == 4,
    "final test": lambda run, folder: "testing the trained policy" in run.text(),
    "pictures": lambda run, folder: "writing results" in run.text(),
    "end": lambda run, folder: (folder / "test_studies.png").exists(),
}


def signals_at(moment: str) -> list[tuple[str, tuple[list[int], tuple[int, str]]]]:
    """TERM, which is resumed below, and one other in turn; all with ORAPO_ALL_SIGNALS=1, in minutes."""
    if os.environ.get("ORAPO_ALL_SIGNALS"):
        return list(SIGNALS.items())
    others = [name for name in SIGNALS if name != "TERM"]
    return [(name, SIGNALS[name]) for name in ("TERM", others[list(MOMENTS).index(moment) % len(others)])]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_at_any_moment(moment: str, whole: Path, tmp_path: Path) -> None:
    for name, (numbers, (code, told)) in signals_at(moment):
        folder = tmp_path / name.replace(" ", "_")
        run = forks.start(["train", *SMALL, f"hydra.run.dir={folder}"], tmp_path / f"{folder.name}.log", tmp_path)
        assert run.until(lambda run=run, folder=folder: MOMENTS[moment](run, folder)), run.text()  # type: ignore[misc]
        for place, number in enumerate(numbers):
            time.sleep(0.6 if place else 0)
            run.send(number)
        ended = (run.wait(), state(folder) if folder.exists() else None)
        assert "Traceback" not in run.text(), run.text()
        if ended[1] is None:
            assert ended[0] == code, (name, run.text())
            assert moment == "before it begins", name
            continue
        # What it was doing may have ended before the signal was heard.
        assert ended in ((code, told), (0, "finished")), (name, run.text())
        assert ended[0] or (folder / "summary.json").exists()
        if ended[0]:
            assert f"orapo train resume={folder}" in run.text(), name
    resumed = forks.run(["train", f"resume={tmp_path}/TERM"], tmp_path / "resumed.log", tmp_path)
    if moment == "before it begins":
        assert resumed.wait() == 1
        assert f"resume={tmp_path}/TERM can't go on: there is no such folder" in resumed.text()
        assert not (tmp_path / "TERM").exists()
        return
    assert resumed.wait() == 0, resumed.text()
    assert state(tmp_path / "TERM") == "finished"
    assert_same_run(tmp_path / "TERM", whole)


def test_a_second_signal_does_not_wait_for_the_step(tmp_path: Path) -> None:
    """A step that hangs, as on a judge: the first signal waits for it, the second one ends it."""
    slow = ["training.num_steps=2", "training.batch_size=2000", "training.validate_every_steps=null"]
    run = forks.start(["train", *SMALL, *slow, f"hydra.run.dir={tmp_path}/run"], tmp_path / "log", tmp_path)
    run.until(lambda: "training: step 1 of 2 begins" in run.text())
    time.sleep(0.5)
    run.send(signal.SIGINT)
    run.until(lambda: "finishing this step" in run.text())
    time.sleep(0.6)
    run.send(signal.SIGINT)
    began = time.monotonic()
    assert (run.wait(), state(tmp_path / "run")) == INTERRUPTED, run.text()
    assert time.monotonic() - began < 20
    assert num_steps(tmp_path / "run") == 0
