"""One event loop in a background thread for all calls of a process, so that training continues meanwhile."""

import asyncio
import atexit
import concurrent.futures
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from orapo.stopping import STOP_SIGNALS

_SECONDS_TO_STOP = 2.0
_CHECK_SECONDS = 0.5

_starting = threading.Lock()
_running: tuple[int, asyncio.AbstractEventLoop] | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """The loop, started by the first call; its daemon thread keeps no program from ending.

    One for all: litellm keeps its connections, and they belong to the loop that opened them.
    """
    global _running
    with _starting:
        if _running is None or _running[0] != os.getpid():  # a forked child has the loop but not its thread
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="remote-calls", daemon=True)
            thread.start()
            atexit.register(_stop, loop, thread, os.getpid())
            _running = os.getpid(), loop
        return _running[1]


T = TypeVar("T")


class Pending(Generic[T]):
    """Work on the background loop, started on construction.

    Args:
        work: what is done.
        on_waited: called with the seconds of each wait.
    """

    def __init__(self, work: Coroutine[Any, Any, T], on_waited: Callable[[float], None]) -> None:
        self._future = asyncio.run_coroutine_threadsafe(work, background_loop())
        self._on_waited = on_waited

    def result(self) -> T:
        """Waits for the end; Ctrl-C ends the wait and the work, and so does a signal that waits for the end of a step.

        Raises what the work raised.
        """
        began = time.monotonic()
        try:
            while not self._future.done():
                concurrent.futures.wait([self._future], timeout=_CHECK_SECONDS)
                STOP_SIGNALS.end_wait("an answer")
        except BaseException:
            self._future.cancel()
            raise
        finally:
            self._on_waited(time.monotonic() - began)
        return self._future.result()


async def gather_or_cancel(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of concurrent work, in order; an error cancels the rest and is raised."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread, process: int) -> None:
    """Cancels what is running, so that the interpreter doesn't end in the middle of a call."""
    if process != os.getpid():
        return
    with suppress(Exception):
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(_SECONDS_TO_STOP)
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(loop.stop)
    thread.join(_SECONDS_TO_STOP)


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    litellm = sys.modules.get("litellm")
    if litellm is not None:
        with suppress(Exception):
            await litellm.close_litellm_async_clients()
