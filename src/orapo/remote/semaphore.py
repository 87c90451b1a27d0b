"""A limit on concurrent calls, with priorities."""

import asyncio
import heapq
from itertools import count


class PrioritySemaphore:
    """A semaphore whose queue lets questions that failed go first, the most often failed one before all.

    A batch ends with its last report: one that has failed and still waits after fresh ones would make everybody wait.

    Args:
        number: of calls under way at once, at least 1.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._order = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    async def acquire(self, failures: int = 0) -> None:
        """Waits until one call fewer is under way."""
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-failures, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # it was given to us in the same moment
            raise

    def release(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
