"""The worker processes of a sweep: each takes a slot of its machine, and with it a GPU, for as long as it lives.

On Ctrl-C, or another signal that stops, they finish their step and save, and no new job begins.
"""

import fcntl
import functools
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from orapo.errors import SettingError
from orapo.stopping import SIGNALS, STOP_SIGNALS

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
        """Leaves signals to the jobs: joblib would kill them before they save."""
        listen(_sweep(config))

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Takes a slot once; CUDA looks at the variable once in the life of a process."""
        self._pin(config)
        hear_in_job()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Puts signals off while the slot has no job."""
        hear_no_more()
        if STOP_SIGNALS.first is not None:
            mark_of_stop(_sweep(config)).touch()

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
    folder = mark_of_stop(sweep).parent
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        file = (folder / str(number)).open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            number += 1
            continue
        file.truncate(0)
        print(os.getpid(), file=file, flush=True)
        _held[sweep] = number, file
        return number


def processes(sweep: Path) -> list[int]:
    """The numbers of the living processes that hold a slot."""
    found = []
    for path in mark_of_stop(sweep).parent.glob("[0-9]*"):
        with path.open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found += [int(number) for number in file.read().split()]
    return found


def listen(sweep: Path) -> None:
    """Makes the signals that stop ask this process's jobs to stop, and no more; worker processes hear them in a job.

    A terminal or a scheduler sends them to all processes, ``kill`` to this one. A worker that heard one between two
    jobs would die, and joblib kills all others when one has died, or when this process gives up.
    """
    numbers = {number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    ask = functools.partial(_ask_to_stop, sweep)
    for number in numbers:
        signal.signal(number, ask)
    # Blocked signals stay blocked in the processes that this one starts, handlers don't last.
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    # Threads of libraries that are older than the block would take the signal; where there are none, this one does.
    threading.Thread(target=_wait, args=(numbers, ask), daemon=True).start()


def are_sent_on() -> bool:
    """Whether this process leaves signals to its jobs."""
    return signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def _ask_to_stop(sweep: Path, number: int, frame: FrameType | None = None) -> None:
    STOP_SIGNALS.first = STOP_SIGNALS.first or signal.Signals(number)
    for process in processes(sweep):
        with suppress(ProcessLookupError):
            os.kill(process, number)


def _wait(numbers: Collection[int], ask: Callable[[int], None]) -> None:
    while True:
        ask(signal.sigwait(numbers))


def hear_in_job() -> None:
    """Called when a job begins in this process; a signal that came between two jobs ends it at once."""
    STOP_SIGNALS.listen()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def hear_no_more() -> None:
    """Called when a job ended in this process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def mark_of_stop(sweep: Path) -> Path:
    """A file that a worker whose job was stopped leaves before the job returns.

    A job may return before this process has come to hear the signal itself.
    """
    return sweep / ".slots" / "stopped"


class UntilStopped(list[list[str]]):
    """The overrides of jobs; iteration ends once a stop is requested, here or in a job."""

    def __init__(self, overrides: Iterable[list[str]], sweep: Path) -> None:
        super().__init__(overrides)
        self._mark = mark_of_stop(sweep)

    def __iter__(self) -> Iterator[list[str]]:
        for overrides in super().__iter__():
            if STOP_SIGNALS.first is not None or self._mark.exists():
                return
            yield overrides
