"""Slots: who has which, and which GPUs there are."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from orapo.errors import DataError, SettingError
from orapo.experiment.sweeps.slots import PinnedSlot, UntilStopped, processes, take_slot, visible_gpus
from orapo.stopping import STOP_SIGNALS


def test_a_slot_is_free_again_when_its_process_has_died(tmp_path: Path) -> None:
    holder = "import sys, pathlib; from orapo.experiment.sweeps.slots import take_slot;"
    holder += f"print(take_slot(pathlib.Path({str(tmp_path)!r})), flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    assert take_slot(tmp_path) == 1
    process.kill()
    process.communicate()
    assert take_slot(tmp_path) == 0


def test_the_gpus_that_the_command_may_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-8f1a")
    assert visible_gpus() == ["2", "GPU-8f1a"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


@pytest.mark.parametrize("gpus", ["all", [], [1, 1]])
def test_a_bad_list_of_gpus(gpus: list[int] | str) -> None:
    with pytest.raises(SettingError, match=r"hydra\.callbacks\.slot\.gpus is .* such as \[0,2\]"):
        PinnedSlot(gpus)


@pytest.fixture
def own_mask() -> Iterator[None]:
    """What is blocked here would be blocked in every process that a later test starts."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.mark.usefixtures("own_mask")
@pytest.mark.parametrize(("number", "left"), [(signal.SIGTERM, 0), (signal.SIGUSR1, 0), (None, 2)])
def test_no_job_begins_once_one_has_returned_stopped(
    number: signal.Signals | None, left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    take_slot(tmp_path)
    monkeypatch.setattr(STOP_SIGNALS, "first", number)  # heard in the job's process
    PinnedSlot("auto").on_job_end(config, JobReturn(status=JobStatus.FAILED, _return_value=DataError("no file")))
    # The sweep's own process has not come to hear it, as on a busy machine.
    monkeypatch.setattr(STOP_SIGNALS, "first", None)
    assert len(list(UntilStopped([["seed=1"], ["seed=2"]], tmp_path))) == left


def test_only_the_living_holders_of_a_slot_are_sent_signals(tmp_path: Path) -> None:
    take_slot(tmp_path)
    (tmp_path / ".slots" / "7").write_text("1\n")  # of a process that is gone: nobody holds its lock
    assert processes(tmp_path) == [os.getpid()]
