"""Ctrl-C in a sweep whose jobs run in worker processes: those finish their step and save, and no new job begins."""

import signal
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType

SIGNALS = {signal.SIGINT}

REQUESTED = threading.Event()
"""Set once the user has asked the sweep to stop."""

_in_job = threading.Event()


def listen() -> None:
    """Makes Ctrl-C only set ``REQUESTED`` in this process; worker processes react to it only within a job.

    A terminal sends it to all of them. A worker that hears it between two jobs would die, and joblib kills all others
    when one has died.
    """
    signal.signal(signal.SIGINT, _note)
    # Blocked signals stay blocked in the processes that this one starts, handlers don't last.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    # Threads of libraries that are older than the block would take the signal; where there are none, this one does.
    threading.Thread(target=_wait, daemon=True).start()


def _note(number: int, frame: FrameType | None) -> None:
    REQUESTED.set()
    if _in_job.is_set():
        raise KeyboardInterrupt


def _wait() -> None:
    while True:
        signal.sigwait(SIGNALS)
        REQUESTED.set()


def hear_in_job() -> None:
    """Called when a job begins in this process."""
    _in_job.set()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def hear_no_more() -> None:
    """Called when a job ended in this process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    _in_job.clear()


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
            if REQUESTED.is_set() or self._mark.exists():
                return
            yield overrides
