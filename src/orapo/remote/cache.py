"""Answers of services, asked for once and kept: shared by threads, processes and runs."""

import asyncio
import contextlib
import hashlib
import json
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Literal

from pydantic import PositiveFloat

from orapo.errors import DataError, OrapoError, SettingError
from orapo.remote.answer_store import Answer, Claim
from orapo.remote.store_thread import StoreThread
from orapo.settings import checked

__all__ = ["Answer", "AnswerCache", "CacheMiss", "CacheMode", "cache_key"]

CacheMode = Literal["read_write", "read_only", "off"]

_FIRST_LOOK_SECONDS = 0.05
_LONGEST_LOOK_SECONDS = 0.5


class CacheMiss(OrapoError):
    """A read-only cache has no answer to a question."""


def cache_key(model: str, prompt_digest: str, stage: str, subject: str, settings: Mapping[str, object]) -> str:
    """The key of one question: sha256 over all that the answer depends on, 64 hexadecimal digits.

    Args:
        model: as the provider knows it.
        prompt_digest: of ``prompts.Request``.
        stage: of ``prompts.Request``.
        subject: of ``prompts.Request``.
        settings: of the call, such as the temperature; text, finite numbers, booleans and None, in any order.
            0 and 0.0 are the same.

    Raises:
        SettingError: a setting of another type, or not finite.
    """
    try:
        parts = [model, prompt_digest, stage, subject, {name: _plain(value) for name, value in settings.items()}]
        whole = json.dumps(parts, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError):
        names = ", ".join(map(str, settings))
        raise SettingError(f"judge: one of the settings {names} is neither text nor a finite number") from None
    return hashlib.sha256(whole.encode()).hexdigest()


def _plain(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


class AnswerCache:
    """Gives the answer to a key, and asks for it once if there is none.

    Who asks, holds a claim on the key, renewed while it asks; others wait for the answer, in the same process and in
    other ones. Where asking fails, the claim is given back and those who wait may ask themselves. The claim of a killed
    process is taken over when its lease ends.

    Only keys (hashes) and answers are stored, no report, prompt or credential; but the facts in an answer are phrases
    of a generated report. Opens the file at the first question.

    Args:
        path: of the SQLite file, on a local disk, its folders are made; None only with ``mode`` "off".
        mode: "read_write"; "read_only" never asks and never writes; "off" always asks and stores nothing.
        lease_seconds: above 0; for how long a claim holds without being renewed.

    Raises:
        SettingError: a value out of range.
    """

    @checked
    def __init__(
        self, path: str | Path | None, mode: CacheMode = "read_write", *, lease_seconds: PositiveFloat = 60.0
    ) -> None:
        if path is None and mode != "off":
            raise SettingError(f"judge: cache is {mode!r} without a path; give one, or set it to 'off'")
        self.mode = mode
        self.path = Path(path or "")
        self._store = StoreThread(self.path, read_only=mode == "read_only", lease_seconds=lease_seconds)
        self._flights: dict[str, Future[Answer | None]] = {}
        self._lock = threading.Lock()

    async def get_or_ask(self, key: str, ask: Callable[[], Awaitable[Answer]]) -> tuple[Answer, bool]:
        """The answer to ``key``; True beside one that this ``ask`` wasn't called for.

        Raises:
            CacheMiss: there is no answer and the cache is read-only.
            DataError: the file can't be used.
            Exception: whatever ``ask`` raises, to the caller whose ``ask`` it was and to no other.
        """
        if self.mode == "off":
            return await ask(), False
        if self.mode == "read_only":
            return await self._find(key), True
        while True:
            flight, is_mine = self._join(key)
            if is_mine:
                return await self._lead(key, ask, flight)
            answer = await asyncio.shield(asyncio.wrap_future(flight))
            if answer is not None:
                return answer, True

    def close(self) -> None:
        """Closes the file; a later question opens it again."""
        self._store.close()

    def _join(self, key: str) -> tuple["Future[Answer | None]", bool]:
        """The flight for a key in this process, and whether the caller has to lead it."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            flight = self._flights[key] = Future()
            return flight, True

    async def _lead(
        self, key: str, ask: Callable[[], Awaitable[Answer]], flight: "Future[Answer | None]"
    ) -> tuple[Answer, bool]:
        answer: Answer | None = None
        try:
            answer, was_hit = await self._wait_or_ask(key, ask)
            return answer, was_hit
        finally:
            with self._lock:
                del self._flights[key]
            flight.set_result(answer)  # None: whoever waits may ask itself

    async def _wait_or_ask(self, key: str, ask: Callable[[], Awaitable[Answer]]) -> tuple[Answer, bool]:
        pause = _FIRST_LOOK_SECONDS
        while True:
            try:
                state = await self._store.claim(key)
            except asyncio.CancelledError:
                self._store.release_soon(key)
                raise
            if isinstance(state, Answer):
                return state, True
            if state is Claim.MINE:
                return await self._ask(key, ask), False
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK_SECONDS)

    async def _ask(self, key: str, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        renewing = asyncio.create_task(self._keep_renewing(key))
        try:
            answer = await ask()
            # Shielded: an answer that was paid for is kept, even if the caller is cancelled now.
            return await asyncio.shield(self._store.save(key, answer))
        except BaseException:
            self._store.release_soon(key)
            raise
        finally:
            renewing.cancel()

    async def _keep_renewing(self, key: str) -> None:
        while True:
            await asyncio.sleep(self._store.lease_seconds / 3)
            with contextlib.suppress(DataError):  # at worst the claim ends and the key is asked for twice
                await self._store.renew(key)

    async def _find(self, key: str) -> Answer:
        answer = await self._store.find(key)
        if answer is None:
            raise CacheMiss(f"answer cache {self.path} has no answer to this question; run again with cache=read_write")
        return answer
