"""A run's pause while a service gives no answer: growing delays, up to a limit."""

import asyncio
import logging
import time

log = logging.getLogger(__name__)


class Pause:
    """One pause, from the first failure on.

    Args:
        who: begins each warning, such as "judge".
        first_seconds: the first delay, above 0; each further one is twice as long.
        limit_seconds: of all delays and what is tried between them.
    """

    def __init__(self, who: str, first_seconds: float, limit_seconds: float) -> None:
        self._who = who
        self._delay = first_seconds
        self._ends = time.monotonic() + limit_seconds

    async def wait(self, why: str) -> bool:
        """Says so and waits; False, at once, where the limit is reached."""
        remaining = self._ends - time.monotonic()
        if remaining <= 0:
            return False
        delay, self._delay = min(self._delay, remaining), self._delay * 2
        log.warning("%s: pausing %.0f s (%.0f s left) for %s", self._who, delay, remaining, why)
        await asyncio.sleep(delay)
        return True
