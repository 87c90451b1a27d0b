"""When a question is asked again: tries and seconds are bounded."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from orapo.errors import SettingError
from orapo.remote.call_errors import CallError, CallErrorKind, InvalidAnswer
from orapo.settings import settings

T = TypeVar("T")

INVALID_ANSWER = "invalid answer"
"""The name of the retries that a wrong answer caused, beside those of ``CallErrorKind``."""

_jitter = random.Random()
"""Own generator: the training's is left alone."""


class ActiveTimer:
    """Seconds since it was made, without those in which a question waited in the queue."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._queued = 0.0

    def __call__(self) -> float:
        return time.monotonic() - self._started - self._queued

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Doesn't count what happens inside."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._queued += time.monotonic() - began


class GaveUp(Exception):
    """No valid answer within the tries and seconds allowed.

    Attributes:
        reason: of the last failure, one line.
        failure: the last one; None where nobody was asked.
    """

    def __init__(self, reason: str, failure: CallError | InvalidAnswer | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.failure = failure


@settings
class RetryPolicy:
    """How often and for how long one question is asked of one endpoint.

    The delay before try n + 1 is drawn evenly from 0 to ``first_delay_seconds`` * 2^(n-1), at most
    ``max_delay_seconds`` (full jitter); where the provider names a time to wait, that comes first and is never
    shortened. A wrong or refused answer is asked again at once.

    Attributes:
        max_tries: at least 1, the first included.
        first_delay_seconds: at least 0.
        max_delay_seconds: at least ``first_delay_seconds``.
        deadline_seconds: no further try where calls and delays would have taken this long; waiting in the queue for a
            free slot, the rate or the budget doesn't count.

    Raises:
        SettingError: a value out of range.
    """

    max_tries: PositiveInt = 8
    first_delay_seconds: NonNegativeFloat = 0.5
    max_delay_seconds: NonNegativeFloat = 30.0
    deadline_seconds: PositiveFloat = 300.0

    def __post_init__(self) -> None:
        if self.max_delay_seconds < self.first_delay_seconds:
            raise SettingError(
                f"max_delay_seconds is {self.max_delay_seconds:g}; it must be at least first_delay_seconds, "
                f"{self.first_delay_seconds:g}"
            )

    def delay(self, tries: int, failure: CallError | InvalidAnswer) -> float:
        """Seconds to wait after ``tries`` tries, the last of which ended in ``failure``."""
        if isinstance(failure, InvalidAnswer) or failure.kind is CallErrorKind.REFUSED:
            return 0.0
        ceiling = min(self.max_delay_seconds, self.first_delay_seconds * 2.0 ** min(tries - 1, 60))
        named = failure.retry_after_seconds
        # After a time that the provider named, only enough jitter to keep calls from coming back all at once.
        return (
            _jitter.uniform(0.0, ceiling) if named is None else named + _jitter.uniform(0.0, self.first_delay_seconds)
        )

    async def run(
        self,
        attempt: Callable[[str | None], Awaitable[T]],
        on_retry: Callable[[str], None],
        timer: Callable[[], float] = time.monotonic,
    ) -> T:
        """Tries until an answer is valid.

        Args:
            attempt: asks once; gets what was wrong with the answer before, None after anything else.
            on_retry: called with the kind of failure before each further try.
            timer: seconds towards the deadline.

        Raises:
            GaveUp: out of tries or time.
            CallError: a rejected call, at once.
        """
        started = timer()
        correction: str | None = None
        for tries in range(1, self.max_tries + 1):
            try:
                return await attempt(correction)
            except (CallError, InvalidAnswer) as error:
                failure = error
            kind = failure.kind.value if isinstance(failure, CallError) else INVALID_ANSWER
            if isinstance(failure, CallError) and failure.kind is CallErrorKind.REJECTED:
                raise failure
            delay = self.delay(tries, failure)
            if tries == self.max_tries or timer() - started + delay >= self.deadline_seconds:
                break
            correction = failure.reason if isinstance(failure, InvalidAnswer) else correction
            on_retry(kind)
            await asyncio.sleep(delay)
        what = "" if isinstance(failure, CallError) else f"{INVALID_ANSWER}: "
        raise GaveUp(f"{what}{failure.reason}, at try {tries}", failure)
