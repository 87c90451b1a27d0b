import asyncio
import random
import time

import pytest

from orapo.errors import SettingError
from orapo.remote.call_errors import CallError, CallErrorKind, InvalidAnswer
from orapo.remote.retry import ActiveTimer, GaveUp, RetryPolicy

QUICK = RetryPolicy(max_tries=5, first_delay_seconds=0.01, max_delay_seconds=0.02, deadline_seconds=10.0)
DOWN = CallError("not available (status 503)", CallErrorKind.UNAVAILABLE)


class Attempts:
    """Fails as told, then answers."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.corrections: list[str | None] = []
        self.times: list[float] = []

    async def __call__(self, correction: str | None) -> str:
        self.corrections.append(correction)
        self.times.append(time.monotonic())
        if self.failures:
            raise self.failures.pop(0)
        return "answer"


def run(policy: RetryPolicy, attempts: Attempts) -> tuple[str, list[str]]:
    kinds: list[str] = []
    return asyncio.run(policy.run(attempts, kinds.append)), kinds


def test_tries_again_until_an_answer_is_valid() -> None:
    attempts = Attempts(DOWN, InvalidAnswer("verdicts.edema is missing"), DOWN)
    answer, kinds = run(QUICK, attempts)
    assert answer == "answer"
    assert kinds == ["unavailable", "invalid answer", "unavailable"]
    # What was wrong is told, also when an outage comes between.
    assert attempts.corrections == [None, None, "verdicts.edema is missing", "verdicts.edema is missing"]


def test_gives_up_after_the_tries() -> None:
    attempts = Attempts(*[DOWN] * 9)
    with pytest.raises(GaveUp, match=r"^not available \(status 503\), at try 5$"):
        run(QUICK, attempts)
    assert len(attempts.times) == 5


def test_gives_up_before_the_deadline_would_pass() -> None:
    late = CallError("rate limited (status 429)", CallErrorKind.RATE_LIMITED, retry_after_seconds=60.0)
    start = time.monotonic()
    with pytest.raises(GaveUp, match="at try 1"):
        run(QUICK, Attempts(late))
    assert time.monotonic() - start < 1.0  # it doesn't wait for what would be too late


def test_rejected_is_never_tried_again() -> None:
    attempts = Attempts(CallError("status 401", CallErrorKind.REJECTED))
    with pytest.raises(CallError, match="status 401"):
        run(QUICK, attempts)
    assert len(attempts.times) == 1


def test_the_named_time_is_never_shortened() -> None:
    limited = CallError("rate limited", CallErrorKind.RATE_LIMITED, retry_after_seconds=0.3)
    attempts = Attempts(limited, limited)
    run(QUICK, attempts)
    gaps = [after - before for before, after in zip(attempts.times, attempts.times[1:], strict=False)]
    assert all(0.3 <= gap < 0.4 for gap in gaps)


def test_delays_are_drawn_below_a_growing_ceiling() -> None:
    policy = RetryPolicy(max_tries=20, first_delay_seconds=1.0, max_delay_seconds=8.0)
    for tries, ceiling in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (2000, 8.0)]:
        delays = [policy.delay(tries, DOWN) for _ in range(500)]
        assert 0 <= min(delays) < 0.1 * ceiling
        assert 0.9 * ceiling < max(delays) <= ceiling
    assert policy.delay(3, InvalidAnswer("x")) == 0.0
    assert policy.delay(3, CallError("x", CallErrorKind.REFUSED)) == 0.0


def test_the_global_generator_is_left_alone() -> None:
    state = random.getstate()
    QUICK.delay(3, DOWN)
    assert random.getstate() == state


def test_time_in_the_queue_does_not_count() -> None:
    timer = ActiveTimer()
    with timer.paused():
        time.sleep(0.2)
    time.sleep(0.05)
    assert 0.05 <= timer() < 0.15


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_tries", 0), ("first_delay_seconds", -1), ("max_delay_seconds", 0.1), ("deadline_seconds", 0)],
)
def test_settings_out_of_range(name: str, value: float) -> None:
    with pytest.raises(SettingError, match=rf"^{name} is {value}; "):
        RetryPolicy(**{name: value})  # type: ignore[arg-type]
