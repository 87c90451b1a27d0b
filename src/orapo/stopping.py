"""Signals that ask a command to stop, heard at every moment of it.

Ctrl-C and SIGTERM interrupt, and so does SIGHUP, a terminal that closes. SIGUSR1 and SIGUSR2, by which SLURM can be
asked to say that a job's time is nearly up, pause: the run continues when it has its next turn.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from types import FrameType
from typing import Any

from orapo.errors import OrapoError, RunInterrupted, RunPaused, RunTerminated

SIGNALS: dict[signal.Signals, type[OrapoError]] = {
    signal.SIGINT: RunInterrupted,
    signal.SIGTERM: RunTerminated,
    signal.SIGHUP: RunTerminated,
    signal.SIGUSR1: RunPaused,
    signal.SIGUSR2: RunPaused,
}
"""The outcome of a run that each signal stops."""

REPEATED_SECONDS = 0.5
"""Within this time a signal says what the one before has said: a terminal and a launcher may both pass Ctrl-C on."""

PATIENCE_SECONDS = 10.0
"""So long after a signal a step still waits for an answer; schedulers kill 30 seconds after theirs."""

AGAIN_SECONDS = 0.05


class Stopped(BaseException):
    """A signal asks to stop; no ``Exception``, so that nothing on the way out takes it for its own."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"stopped by {number.name}")
        self.number = number

    def error(self, told: str = "") -> OrapoError:
        """The same for who started the command: interrupted, or paused.

        Args:
            told: follows what happened.
        """
        return SIGNALS[self.number](f"{self}{told}")


class _Mode(Enum):
    NOTE = "a signal is noted for later"
    RAISE = "a signal raises Stopped"
    DEFER = "a signal is noted for the end of the step, a second one raises Stopped"


class StopSignals:
    """The signals of this process.

    Attributes:
        first: the signal that came; None while none has.
        is_told: whether a signal that waits for the end of a step is said to the user; one process of several says it.
    """

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self.is_told = True
        self._since = 0.0
        self._mode = _Mode.NOTE

    def __reduce__(self) -> str:
        # A sweep's worker has its own.
        return "STOP_SIGNALS"

    def listen(self, numbers: Collection[signal.Signals] = tuple(SIGNALS)) -> None:
        """Takes over the signals from now on; outside ``heard`` they are only noted.

        What the process was told to ignore (nohup) and what a launcher has taken (submitit requeues by SIGUSR2) stays.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for number in numbers:
            if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, self._hear)

    @contextmanager
    def heard(self, numbers: Collection[signal.Signals] = tuple(SIGNALS)) -> Iterator[None]:
        """Within the block, these signals raise.

        Raises:
            Stopped: a signal came, maybe before.
        """
        before, mode = {number: signal.getsignal(number) for number in SIGNALS}, self._mode
        self.listen(numbers)
        hook = sys.unraisablehook
        sys.unraisablehook = partial(self._hear_again, hook)
        try:
            self._mode = _Mode.RAISE
            self.check()
            yield
        finally:
            self._mode = mode
            sys.unraisablehook = hook
            if before[signal.SIGTERM] != self._hear and threading.current_thread() is threading.main_thread():
                # A caller that has signals of its own, as a sweep or a test.
                self.first = None
                for number, handler in before.items():
                    signal.signal(number, handler)

    def listen_again(self) -> None:
        """Takes the signals back from a library that has put handlers of its own; only within ``heard``."""
        if self._mode is not _Mode.NOTE:
            self.listen()

    def defer(self) -> None:
        """Makes the first signal only set ``first``; a second one raises ``Stopped``. Only within ``heard``."""
        if self._mode is not _Mode.NOTE:
            self._mode = _Mode.DEFER

    def defer_no_more(self) -> None:
        """Makes signals raise ``Stopped`` again. Only within ``heard``."""
        if self._mode is not _Mode.NOTE:
            self._mode = _Mode.RAISE

    def check(self) -> None:
        """Raises ``Stopped`` if a signal has arrived."""
        if self.first is not None:
            raise Stopped(self.first)

    def end_wait(self, waited_for: str) -> None:
        """Called again and again while a step waits for what may never come, in any thread.

        Raises:
            OrapoError: a signal came ``PATIENCE_SECONDS`` ago.
        """
        if self.first is not None and time.monotonic() - self._since >= PATIENCE_SECONDS:
            raise Stopped(self.first).error(f" while waiting for {waited_for}")

    def _hear_again(self, hook: Callable[[Any], object], lost: Any) -> None:
        """Sends a signal once more that came while an object was being deleted: Python drops what is raised there."""
        if not isinstance(lost.exc_value, Stopped):
            hook(lost)
            return
        number, self.first = lost.exc_value.number, None
        threading.Timer(AGAIN_SECONDS, self._send_again, (number,)).start()

    def _send_again(self, number: signal.Signals) -> None:
        if self._mode is not _Mode.NOTE:
            os.kill(os.getpid(), number)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first, self._since = signal.Signals(number), now
            if self._mode is _Mode.DEFER and self.is_told:
                # A handler may have come in the middle of a print.
                told = f"\n{self.first.name}: finishing this step and saving a checkpoint; once more to stop at once\n"
                os.write(1, told.encode())
        elif now - self._since < REPEATED_SECONDS:
            return
        elif self._mode is _Mode.DEFER:
            self._mode = _Mode.RAISE
        if self._mode is _Mode.RAISE:
            raise Stopped(self.first)


STOP_SIGNALS = StopSignals()
