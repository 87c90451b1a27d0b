"""How many calls are under way at once, and who comes next."""

import asyncio
import heapq
from itertools import count


class Slots:
    """A semaphore with a queue in which questions that failed come first, the most often failed one before all.

    A batch ends with its last report: one that has failed and still waits behind fresh ones would make everybody wait.

    Args:
        number: of calls at once, at least 1.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._order = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    async def acquire(self, failures: int = 0) -> None:
        """Waits for a free slot."""
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
        """Hands the slot on."""
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
