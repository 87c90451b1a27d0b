"""The one thread that touches the cache's file, so that the event loop never waits for another process's write."""

import asyncio
import contextlib
import os
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from orapo.remote.answer_store import Answer, AnswerStore, Claim

_T = TypeVar("_T")


class StoreThread:
    """An ``AnswerStore`` for event loops: opened at the first use, all work done in the order in which it's asked for.

    Args:
        path: of the database.
        read_only: as for ``AnswerStore``.
        lease_seconds: how long a claim holds without being renewed.

    Raises:
        DataError: from every method that returns a future, when it's awaited: the file can't be used.
        RuntimeError: used in a forked process, which has no such thread.
    """

    def __init__(self, path: Path, *, read_only: bool, lease_seconds: float) -> None:
        self.path = path
        self.lease_seconds = lease_seconds
        self._read_only = read_only
        self._process = os.getpid()
        self._owner = f"{self._process}-{uuid.uuid4().hex}"
        self._lock = threading.Lock()
        self._thread: ThreadPoolExecutor | None = None
        self._store: AnswerStore | None = None

    def find(self, key: str) -> "asyncio.Future[Answer | None]":
        return self._do(lambda: self._opened().find(key))

    def claim(self, key: str) -> "asyncio.Future[Answer | Claim]":
        return self._do(lambda: self._opened().claim(key, self.lease_seconds))

    def renew(self, key: str) -> "asyncio.Future[None]":
        return self._do(lambda: self._opened().renew(key, self.lease_seconds))

    def save(self, key: str, answer: Answer) -> "asyncio.Future[Answer]":
        return self._do(lambda: self._opened().save(key, answer))

    def release_soon(self, key: str) -> None:
        """Gives a claim back without waiting; where that fails, its lease ends it."""
        with contextlib.suppress(RuntimeError):  # the interpreter is ending
            self._running().submit(lambda: self._opened().release(key))

    def close(self) -> None:
        """Closes the file and ends the thread; later work opens it again."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            try:
                thread.submit(self._close).result()
            finally:
                thread.shutdown()

    def _do(self, work: Callable[[], _T]) -> "asyncio.Future[_T]":
        return asyncio.wrap_future(self._running().submit(work))

    def _running(self) -> ThreadPoolExecutor:
        if os.getpid() != self._process:
            raise RuntimeError("an AnswerCache doesn't survive a fork; make one in each process")
        with self._lock:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="answer-cache")
            return self._thread

    def _opened(self) -> AnswerStore:
        if self._store is None:
            self._store = AnswerStore(self.path, self._owner, read_only=self._read_only)
        return self._store

    def _close(self) -> None:
        if self._store is not None:
            store, self._store = self._store, None
            store.close()
