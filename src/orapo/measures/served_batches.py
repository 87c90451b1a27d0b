"""Groups single questions, each a pair and a metric, into calls of many pairs and several metrics."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType

Pair = tuple[str, str]
"""A reference and what is scored beside it."""
Send = Callable[[Sequence[Pair], tuple[str, ...]], Awaitable[dict[str, list[float]]]]
"""One call: pairs and metrics in, the values of each pair by metric out."""

_QUIET_SECONDS = 0.2
"""What waits goes out when no question came for so long: the others may be waiting for another process's call."""


class Batches:
    """Collects questions into calls, in an ``async with`` statement whose end cancels the calls under way.

    A call goes out when it is full, and when every question has come or needs no call.

    Args:
        send: makes one call.
        batch_size: pairs in one call, at least 1.
        expected: questions that come or turn out to need no call.
    """

    def __init__(self, send: Send, batch_size: int, expected: int) -> None:
        self._send = send
        self._batch_size = batch_size
        self._expected = expected
        self._waiting: defaultdict[Pair, dict[str, asyncio.Future[float]]] = defaultdict(dict)
        self._timer: asyncio.TimerHandle | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Batches":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def ask(self, pair: Pair, metric: str) -> float:
        """The value of one question; raises what its call raises."""
        if pair not in self._waiting and len(self._waiting) >= self._batch_size:
            self._call_all()
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[pair][metric] = future
        self.one_less()
        return await future

    def one_less(self) -> None:
        """Counts one expected question as arrived, or as needing no call."""
        self._expected -= 1
        if self._timer is not None:
            self._timer.cancel()
        if self._expected <= 0:
            self._call_all()
        else:
            self._timer = asyncio.get_running_loop().call_later(_QUIET_SECONDS, self._call_all)

    def _call_all(self) -> None:
        """Sends what waits, a call for each set of metrics: some pairs lack fewer than others."""
        by_metrics: defaultdict[tuple[str, ...], dict[Pair, dict[str, asyncio.Future[float]]]] = defaultdict(dict)
        for pair, futures in self._waiting.items():
            by_metrics[tuple(futures)][pair] = futures
        self._waiting.clear()
        for metrics, asked in by_metrics.items():
            call = asyncio.create_task(self._call(metrics, asked))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _call(self, metrics: tuple[str, ...], asked: dict[Pair, dict[str, asyncio.Future[float]]]) -> None:
        try:
            values = await self._send(tuple(asked), metrics)
        except Exception as error:
            for futures in asked.values():
                for future in futures.values():
                    if not future.done():
                        future.set_exception(error)
            return
        for place, futures in enumerate(asked.values()):
            for metric, future in futures.items():
                if not future.done():
                    future.set_result(values[metric][place])
