"""Signals to this very process: at once, at the end of a step, and not at all."""

import asyncio
import os
import pickle
import signal
import time
from contextlib import suppress

import pytest

from orapo.errors import RunInterrupted, RunPaused, RunTerminated
from orapo.experiment.command_line import exit_code
from orapo.remote.background import Pending
from orapo.stopping import REPEATED_SECONDS, STOP_SIGNALS, Stopped


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0)  # handlers run between two instructions


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (signal.SIGINT, RunInterrupted, 130),
        (signal.SIGTERM, RunTerminated, 143),
        (signal.SIGHUP, RunTerminated, 143),
        (signal.SIGUSR1, RunPaused, 75),
        (signal.SIGUSR2, RunPaused, 75),
    ],
)
def test_what_each_signal_makes_of_a_run(number: signal.Signals, kind: type[Exception], code: int) -> None:
    def work() -> None:
        with STOP_SIGNALS.heard(), suppress(Exception):  # what a library might do
            send(number)

    with pytest.raises(Stopped) as stop:
        work()
    error = stop.value.error("; go on")
    assert type(error) is kind
    assert str(error) == f"stopped by {number.name}; go on"
    assert exit_code(error) == code


def test_a_signal_waits_for_the_end_of_a_step_and_a_second_one_does_not(capfd: pytest.CaptureFixture[str]) -> None:
    with STOP_SIGNALS.heard():
        STOP_SIGNALS.defer()
        send(signal.SIGTERM)
        send(signal.SIGINT)  # the same stop, passed on twice
        assert STOP_SIGNALS.first is signal.SIGTERM
        assert capfd.readouterr().out.count("finishing this step") == 1
        time.sleep(REPEATED_SECONDS + 0.05)
        with pytest.raises(Stopped, match="SIGTERM"):
            send(signal.SIGINT)


def test_a_signal_while_an_object_is_deleted_is_heard_after_that() -> None:
    class Deleted:
        def __del__(self) -> None:
            send(signal.SIGTERM)

    def work() -> None:
        with STOP_SIGNALS.heard():
            Deleted()
            time.sleep(1)

    with pytest.raises(Stopped, match="SIGTERM"):
        work()


def test_a_signal_that_came_before_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STOP_SIGNALS, "first", signal.SIGUSR1)
    with pytest.raises(Stopped, match="SIGUSR1"), STOP_SIGNALS.heard():
        pytest.fail("the command began")


def test_what_was_ignored_or_taken_stays_so() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGUSR2)}
    taken: list[int] = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, lambda number, _: taken.append(number))
    try:
        with STOP_SIGNALS.heard():
            send(signal.SIGHUP)
            send(signal.SIGUSR2)
        assert taken == [signal.SIGUSR2]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_copy_for_another_process_is_that_processs_own() -> None:
    assert pickle.loads(pickle.dumps(STOP_SIGNALS)) is STOP_SIGNALS


def test_a_trainer_that_nobody_listens_for_leaves_the_signals_alone() -> None:
    STOP_SIGNALS.listen_again()
    STOP_SIGNALS.defer()
    STOP_SIGNALS.defer_no_more()
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


def test_a_step_waits_some_seconds_for_an_answer_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orapo.stopping.PATIENCE_SECONDS", 1.0)
    waits: list[float] = []
    with STOP_SIGNALS.heard():
        STOP_SIGNALS.defer()
        send(signal.SIGTERM)
        Pending(asyncio.sleep(0.1), waits.append).result()  # what comes in time is heard
        began = time.monotonic()
        with pytest.raises(RunTerminated, match=r"^stopped by SIGTERM while waiting for an answer$"):
            Pending(asyncio.sleep(60), waits.append).result()
        assert time.monotonic() - began < 5
    assert len(waits) == 2
