"""Limits that protect an endpoint and the run: a rate, a budget, and a pause when no answer comes."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from orapo.errors import RunPaused, SettingError
from orapo.remote.semaphore import PrioritySemaphore
from orapo.settings import checked, settings

WINDOW_SECONDS = 60.0
_BURST = 0.1
"""Part of the limit that may be used at once; the rest of it flows in evenly over the window."""
_STEP_SECONDS = 1.0


RateLimit = Annotated[float, Field(ge=1)]
"""Per minute."""


@settings
class LimitSettings:
    """How fast one endpoint may be asked.

    Attributes:
        max_concurrent: calls under way at once, at least 1.
        requests_per_minute: at least 1, None for no limit.
        tokens_per_minute: in and out together, at least 1, None for no limit.
        outages_to_open: outages in a row after which the endpoint is left alone for a while, at least 1.
        probe_delay_seconds: how long, at first; above 0.
        max_probe_delay_seconds: how long at most, after failed probes.

    Raises:
        SettingError: a value out of range.
    """

    max_concurrent: PositiveInt = 16
    requests_per_minute: RateLimit | None = None
    tokens_per_minute: RateLimit | None = None
    outages_to_open: PositiveInt = 8
    probe_delay_seconds: PositiveFloat = 5.0
    max_probe_delay_seconds: PositiveFloat = 120.0

    def __post_init__(self) -> None:
        if self.max_probe_delay_seconds < self.probe_delay_seconds:
            raise SettingError(
                f"max_probe_delay_seconds is {self.max_probe_delay_seconds:g}; it must be at least "
                f"probe_delay_seconds, {self.probe_delay_seconds:g}"
            )


class Limits:
    """The state of one endpoint's limits; each process has its own."""

    def __init__(self, settings: LimitSettings) -> None:
        self.semaphore = PrioritySemaphore(settings.max_concurrent)
        self.requests = TokenBucket(settings.requests_per_minute)
        self.tokens = TokenBucket(settings.tokens_per_minute)
        self.breaker = CircuitBreaker(
            settings.outages_to_open, settings.probe_delay_seconds, settings.max_probe_delay_seconds
        )


class TokenBucket:
    """Lets through at most ``per_window`` (requests, or a model's tokens) in any window of 60 seconds.

    One taker after the other pays and waits until its amount has flowed in, so that a window never holds more than the
    burst plus what flowed in during it. The burst grows to the largest amount taken, up to half of the limit; beyond
    that, a single amount can make a window hold more.

    Args:
        per_window: at least 1; None lets everything through.
        window_seconds: another window, for tests.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        per_window: float | None,
        window_seconds: float = WINDOW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = per_window
        self._window = window_seconds
        self._clock = clock
        self._burst = self._level = max(1.0, (per_window or 0.0) * _BURST)
        self._seen = clock()
        self._queue = asyncio.Lock()  # hands over in the order of arrival

    async def take(self, amount: float = 1.0) -> None:
        """Waits until ``amount`` may be used; a caller cancelled while waiting returns it."""
        if self._limit is None:
            return
        async with self._queue:
            self._flow_in()
            self._burst = max(self._burst, min(amount, self._limit / 2))
            self._level -= amount
            try:
                while self._level < 0:
                    # In steps: what earlier takers didn't use flows back meanwhile.
                    await asyncio.sleep(min(-self._level / self._per_second(), _STEP_SECONDS))
                    self._flow_in()
            except asyncio.CancelledError:
                self.settle(amount, 0.0)
                raise

    def settle(self, taken: float, used: float) -> None:
        """Corrects an estimate: what wasn't used flows back, what exceeded it is paid by later calls."""
        self._flow_in()
        self._level = min(self._burst, self._level + taken - used)

    def _per_second(self) -> float:
        """What the burst leaves of the limit; a limit of 1 would leave nothing to flow."""
        return max((self._limit or 0.0) - self._burst, 0.5) / self._window

    def _flow_in(self) -> None:
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._seen) * self._per_second())
        self._seen = now


class CircuitBreaker:
    """Stops asking an endpoint that gives no answer, and tries it with single calls after growing delays.

    Closed, everything passes. After ``outages_to_open`` outages in a row it opens: nothing passes until the delay is
    over, then one call does, the probe. Its success closes the breaker; its failure opens it for twice the delay.

    Args:
        outages_to_open: at least 1.
        first_delay_seconds: above 0.
        max_delay_seconds: at least ``first_delay_seconds``.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        outages_to_open: int,
        first_delay_seconds: float,
        max_delay_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outages_to_open = outages_to_open
        self._first_delay, self._max_delay = first_delay_seconds, max_delay_seconds
        self._clock = clock
        self._outages = 0
        self._delay = first_delay_seconds
        self._opened_at: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """True from the last outage in a row until a call succeeds again, the probes between included."""
        return self._opened_at is not None

    def admit(self) -> float:
        """0 where a call may go now (it then has to report back), else the seconds until asking again makes sense."""
        if self._opened_at is None:
            return 0.0
        remaining = self._opened_at + self._delay - self._clock()
        if remaining > 0:
            return remaining
        if self._probing:
            return self._first_delay
        self._probing = True
        return 0.0

    def succeeded(self) -> None:
        """The endpoint answered, with whatever: an error that it sends on purpose is an answer too."""
        self._outages = 0
        self._delay = self._first_delay
        self._opened_at = None
        self._probing = False

    def failed(self) -> None:
        """An outage: a server error, a broken connection, a timeout."""
        self._outages += 1
        if self._opened_at is not None:
            if not self._probing:
                return  # sent before it opened
            self._delay = min(self._max_delay, self._delay * 2)
        elif self._outages < self._outages_to_open:
            return
        self._probing = False
        self._opened_at = self._clock()

    def abandoned(self) -> None:
        """The call was given up before the endpoint could answer; it says nothing, and a probe may be sent again."""
        self._probing = False


class BudgetSpent(RunPaused):
    """The next call could exceed the budget."""


class Budget:
    """US dollars that may be spent; every call reserves its estimate first and pays its real cost afterwards.

    Where only calls under way stand between the next call and the limit, it waits for them: they usually cost less than
    was set aside.

    Args:
        max_cost_usd: above 0; None is no limit, and then it only adds up.

    Raises:
        SettingError: ``max_cost_usd`` out of range.
    """

    @checked
    def __init__(self, max_cost_usd: PositiveFloat | None = None) -> None:
        self.max_cost_usd = max_cost_usd
        self.spent_usd = 0.0
        self._reserved_usd = 0.0
        self._calls_under_way = 0
        self._settled = asyncio.Event()

    async def reserve(self, estimate_usd: float) -> float:
        """Sets ``estimate_usd`` aside for one call, and gives it back for ``settle``.

        Raises:
            BudgetSpent: there's too little left.
        """
        while not self._fits(estimate_usd):
            if not self._calls_under_way:
                raise BudgetSpent(
                    f"judge: spent {self.spent_usd:.4f} US dollars, the next call may cost {estimate_usd:.4f} and "
                    f"max_cost is {self.max_cost_usd:g}; to go on, resume the run with a higher reward.max_cost"
                )
            await self._settled.wait()
        self._reserved_usd += estimate_usd
        self._calls_under_way += 1
        return estimate_usd

    def settle(self, reserved_usd: float, cost_usd: float) -> None:
        """Pays what the call cost in the end; what else was set aside is free again."""
        self.spent_usd += cost_usd
        self._calls_under_way -= 1
        # Sums of floats drift: with nothing under way, nothing is set aside.
        self._reserved_usd = self._reserved_usd - reserved_usd if self._calls_under_way else 0.0
        self._settled.set()
        self._settled = asyncio.Event()

    def state_dict(self) -> dict[str, float]:
        return {"spent_usd": self.spent_usd}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.spent_usd = float(state["spent_usd"])

    def _fits(self, estimate_usd: float) -> bool:
        if self.max_cost_usd is None:
            return True
        return self.spent_usd + self._reserved_usd + estimate_usd <= self.max_cost_usd + 1e-12
