"""The store of the answer cache: validated answers by key, and the claims of processes that are asking.

A claim expires unless it's renewed, so a killed process blocks nobody for long. Needs a local disk: WAL doesn't work
over a network.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from enum import Enum
from pathlib import Path

from orapo.remote.store_file import explained, open_for_reading, open_for_writing


@dataclass(frozen=True, slots=True)
class Answer:
    """A validated answer, with what it cost when it was asked for.

    Attributes:
        text: the answer's JSON.
        model: the model that gave it.
        prompt_tokens: read by the model.
        completion_tokens: written by the model.
        cost_usd: in US dollars, 0 where prices are unknown.
    """

    text: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float


class Claim(Enum):
    """Who may ask for a key that has no answer yet."""

    MINE = "mine"
    ANOTHERS = "another's"


class AnswerStore:
    """The file, opened when made; to be used from one thread at a time.

    Args:
        path: of the database; missing folders are made, unless ``read_only``.
        owner: of the claims made here, unique among all processes.
        read_only: never writes; the file has to exist.

    Raises:
        DataError: here and from every method: the file can't be used, is damaged, or isn't a cache of answers.
    """

    def __init__(self, path: Path, owner: str, *, read_only: bool = False) -> None:
        self._path = path
        self._owner = owner
        with explained(path):
            self._connection = open_for_reading(path) if read_only else open_for_writing(path)

    def find(self, key: str) -> Answer | None:
        with explained(self._path):
            return self._select(key)

    def claim(self, key: str, lease_seconds: float) -> Answer | Claim:
        """The answer, or else whether the owner may ask: it may where nobody else's claim holds; all have one lease."""
        with explained(self._path):
            answer = self._select(key)
            if answer is not None:
                return answer
            with self._transaction():
                return self._select(key) or self._claim(key, lease_seconds)

    def renew(self, key: str, lease_seconds: float) -> None:
        """Moves the end of an own claim; nothing happens where it was taken over."""
        with explained(self._path):
            self._connection.execute(
                "UPDATE claims SET expires = ? WHERE key = ? AND owner = ?",
                (time.time() + lease_seconds, key, self._owner),
            )

    def release(self, key: str) -> None:
        """Gives an own claim back; nothing happens where there is none."""
        with explained(self._path):
            self._connection.execute("DELETE FROM claims WHERE key = ? AND owner = ?", (key, self._owner))

    def save(self, key: str, answer: Answer) -> Answer:
        """Keeps an answer and gives the claim back; the answer kept: an earlier one stays, so that all runs agree."""
        with explained(self._path), self._transaction():
            self._connection.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", (key, *astuple(answer))
            )
            self._connection.execute("DELETE FROM claims WHERE key = ? AND owner = ?", (key, self._owner))
            return self._select(key) or answer

    def close(self) -> None:
        """Closes the file; the last process to do so removes SQLite's helper files."""
        with explained(self._path):
            self._connection.close()

    def _select(self, key: str) -> Answer | None:
        row = self._connection.execute(
            "SELECT text, model, prompt_tokens, completion_tokens, cost_usd FROM answers WHERE key = ?", (key,)
        ).fetchone()
        return None if row is None else Answer(*row)

    def _claim(self, key: str, lease_seconds: float) -> Claim:
        now = time.time()
        held = self._connection.execute("SELECT owner, expires FROM claims WHERE key = ?", (key,)).fetchone()
        # A claim that ends after a lease from now was made before the clock was set back: its owner may be long gone.
        if held is not None and held[0] != self._owner and now < held[1] <= now + lease_seconds:
            return Claim.ANOTHERS
        self._connection.execute("REPLACE INTO claims VALUES (?, ?, ?)", (key, self._owner, now + lease_seconds))
        return Claim.MINE

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
