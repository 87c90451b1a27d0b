"""Slots of a machine: each worker process of a sweep takes one, and with it a GPU, for as long as it lives."""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from orapo.errors import RunInterrupted, SettingError
from orapo.experiment.sweeps import stopping

VISIBLE = "CUDA_VISIBLE_DEVICES"

_held: dict[Path, tuple[int, TextIO]] = {}
"""Sweep to this process's slot there, with the file whose lock keeps it."""


class PinnedSlot(Callback):
    """Gives each slot one of the GPUs, in turn, before its first job looks for them."""

    def __init__(self, gpus: str | Sequence[int | str]) -> None:
        """Stores the settings.

        Args:
            gpus: "auto" for all that the command may see, or their numbers or names.

        Raises:
            SettingError: ``gpus`` is neither.
        """
        listed = None if gpus == "auto" else [str(gpu) for gpu in gpus] if not isinstance(gpus, str) else []
        if listed is not None and (not listed or len(set(listed)) < len(listed)):
            raise SettingError(
                f"hydra.callbacks.slot.gpus is {gpus!r}; it must be auto or a list of different GPUs, such as [0,2]"
            )
        self._listed = listed

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Leaves Ctrl-C to the jobs: joblib would kill them before they save."""
        stopping.listen()

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Takes a slot once; CUDA looks at the variable once in the life of a process."""
        self._pin(config)
        stopping.hear_in_job()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Ignores Ctrl-C while the slot has no job."""
        stopping.hear_no_more()
        if job_return.status is JobStatus.FAILED and isinstance(job_return._return_value, RunInterrupted):
            stopping.mark_of_stop(_sweep(config)).touch()

    def _pin(self, config: DictConfig) -> None:
        folder = _sweep(config)
        if folder in _held:
            return
        gpus = visible_gpus() if self._listed is None else self._listed
        slot = take_slot(folder)
        if gpus:
            os.environ[VISIBLE] = gpus[slot % len(gpus)]


def _sweep(config: DictConfig) -> Path:
    return Path(config.hydra.sweep.dir).resolve()


def visible_gpus() -> list[str]:
    """The GPUs that this process may use; none on a machine without."""
    if (told := os.environ.get(VISIBLE)) is not None:
        return [name.strip() for name in told.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def take_slot(sweep: Path) -> int:
    """The lowest number that no other living process holds; a process that dies releases its own."""
    folder = stopping.mark_of_stop(sweep).parent
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        file = (folder / str(number)).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            number += 1
            continue
        _held[sweep] = number, file
        return number
