import asyncio
import time

import pytest

from orapo.errors import SettingError
from orapo.remote.semaphore import PrioritySemaphore
from orapo.reward.llm.limits import CircuitBreaker, LimitSettings, TokenBucket


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def most_in_a_window(times: list[tuple[float, float]], window: float) -> float:
    return max(sum(amount for at, amount in times if start <= at < start + window) for start, _ in times)


async def _take_all(bucket: TokenBucket, amounts: list[float]) -> list[tuple[float, float]]:
    times: list[tuple[float, float]] = []

    async def one(amount: float) -> None:
        await bucket.take(amount)
        times.append((time.monotonic(), amount))

    await asyncio.gather(*(one(amount) for amount in amounts))
    return times


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "amounts"), [(20, [1.0] * 50), (1000, [150.0, 40.0, 350.0] * 5)])
def test_no_window_holds_more_than_the_limit(limit: int, amounts: list[float]) -> None:
    times = asyncio.run(_take_all(TokenBucket(limit, window_seconds=0.5), amounts))
    assert [amount for _, amount in times] == amounts  # in the order of arrival
    # A sleep may end a moment late, and the next one then early beside it.
    assert most_in_a_window(times, 0.49) <= limit
    assert times[-1][0] - times[0][0] < 2 * sum(amounts) / limit * 0.5  # and the limit is used


def test_no_limit_never_waits() -> None:
    times = asyncio.run(_take_all(TokenBucket(None), [1e9] * 100))
    assert times[-1][0] - times[0][0] < 0.1


@pytest.mark.slow
def test_what_was_not_used_lets_others_go_earlier() -> None:
    async def seconds(used: float) -> float:
        bucket = TokenBucket(1000, window_seconds=10.0)  # burst 100, 90 a second
        await bucket.take(100)
        bucket.settle(100, used)
        start = time.monotonic()
        await bucket.take(50)
        return time.monotonic() - start

    assert asyncio.run(seconds(10)) < 0.05
    assert 0.5 < asyncio.run(seconds(100)) < 0.8  # 50 / 90
    assert asyncio.run(seconds(120)) > 0.7  # and what was used beyond the estimate is paid later


def test_a_cancelled_taker_gives_back() -> None:
    async def run() -> float:
        bucket = TokenBucket(100, window_seconds=1.0)
        await bucket.take(10)
        waiting = asyncio.create_task(bucket.take(500))
        await asyncio.sleep(0.15)
        waiting.cancel()
        start = time.monotonic()
        await bucket.take(5)
        return time.monotonic() - start

    assert asyncio.run(run()) < 0.1


def test_breaker_opens_after_outages_in_a_row_and_recovers_by_a_probe() -> None:
    clock = Clock()
    breaker = CircuitBreaker(3, first_delay_seconds=5.0, max_delay_seconds=12.0, clock=clock)
    breaker.failed()
    breaker.failed()
    breaker.succeeded()  # not in a row
    breaker.failed()
    breaker.failed()
    assert breaker.admit() == 0.0
    breaker.failed()
    assert breaker.is_open
    assert breaker.admit() == 5.0
    clock.now += 5.0
    assert breaker.admit() == 0.0  # the probe
    assert breaker.admit() > 0.0  # only one
    breaker.failed()
    assert breaker.admit() == 10.0
    clock.now += 10.0
    assert breaker.admit() == 0.0
    breaker.failed()
    assert breaker.admit() == 12.0  # never longer
    clock.now += 12.0
    assert breaker.admit() == 0.0
    breaker.succeeded()
    assert not breaker.is_open
    assert breaker.admit() == breaker.admit() == 0.0


def test_late_outages_do_not_lengthen_the_delay_and_an_abandoned_probe_is_replaced() -> None:
    clock = Clock()
    breaker = CircuitBreaker(1, first_delay_seconds=5.0, max_delay_seconds=60.0, clock=clock)
    breaker.failed()
    breaker.failed()  # was under way when it opened
    assert breaker.admit() == 5.0
    clock.now += 5.0
    assert breaker.admit() == 0.0
    breaker.abandoned()
    assert breaker.admit() == 0.0


def test_the_semaphore_prefers_what_failed_and_survives_cancelling() -> None:
    async def run() -> list[str]:
        semaphore, order = PrioritySemaphore(1), []
        await semaphore.acquire()

        async def one(name: str, failures: int) -> None:
            await semaphore.acquire(failures)
            order.append(name)
            semaphore.release()

        tasks = [
            asyncio.create_task(one(name, failures)) for name, failures in [("a", 0), ("b", 0), ("c", 2), ("d", 1)]
        ]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        semaphore.release()
        await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait_for(semaphore.acquire(), 1.0)  # none is lost
        return order

    assert asyncio.run(run()) == ["c", "d", "a"]


def test_a_turn_handed_to_a_cancelled_task_is_not_lost() -> None:
    async def run() -> None:
        semaphore = PrioritySemaphore(1)
        await semaphore.acquire()
        task = asyncio.create_task(semaphore.acquire())
        await asyncio.sleep(0)
        semaphore.release()  # hands it to the task ...
        task.cancel()  # ... which is cancelled before it runs
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.wait_for(semaphore.acquire(), 1.0)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_concurrent", 0),
        ("requests_per_minute", 0.5),
        ("tokens_per_minute", 0),
        ("outages_to_open", 0),
        ("probe_delay_seconds", 0),
        ("max_probe_delay_seconds", 1),
    ],
)
def test_settings_out_of_range(name: str, value: float) -> None:
    with pytest.raises(SettingError, match=rf"^{name} is {value}; "):
        LimitSettings(**{name: value})  # type: ignore[arg-type]
