"""Opens the SQLite file of the answer cache: creates a new one, refuses another program's."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orapo.errors import DataError

APPLICATION_ID = 0x0A4A0001
"""Marks the file as a cache of answers, so that another program's database is never written to."""
SCHEMA_VERSION = 1
BUSY_SECONDS = 30.0
"""How long one statement waits for another process's."""

_TABLES = (
    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, text TEXT NOT NULL, model TEXT NOT NULL,"
    " prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost_usd REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS claims"
    " (key TEXT PRIMARY KEY, owner TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID",
)
_DAMAGED = ("SQLITE_NOTADB", "SQLITE_CORRUPT")


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Opens the file, and makes it and its folders where they don't exist; claims that have ended are cleared.

    Raises:
        DataError: a database of another program or version.
        sqlite3.Error: the file can't be opened or is damaged.
        OSError: the folder can't be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    _require_own(connection, path, may_be_new=True)
    _use_wal(connection)
    connection.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing, a power cut the last answers
    connection.execute("BEGIN IMMEDIATE")
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute("DELETE FROM claims WHERE expires < ?", (time.time(),))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Opens an existing file without ever changing it, also where its folder can't be written to.

    Raises:
        DataError: no such file, or a database of another program or version.
        sqlite3.Error: the file can't be opened or is damaged.
    """
    if not path.is_file():
        raise DataError(f"answer cache {path} doesn't exist; read_only needs the file of an earlier run")
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
        return _connect_for_reading(uri, path)
    except sqlite3.OperationalError:
        # SQLite wants to make its two helper files. Where it can't and there are none, nobody is writing.
        if path.with_name(f"{path.name}-wal").exists():
            raise
        return _connect_for_reading(f"{uri}&immutable=1", path)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what goes wrong with the file into one line.

    Raises:
        DataError: SQLite or the file system raised an error.
    """
    try:
        yield
    except sqlite3.Error as error:
        damaged = getattr(error, "sqlite_errorname", "").startswith(_DAMAGED)
        remedy = "move it away or choose another path" if damaged else "check the folder, its rights and free space"
        raise DataError(f"answer cache {path} can't be used: {error}; {remedy}") from None
    except OSError as error:
        raise DataError(f"answer cache {path} can't be used: {error.strerror}; choose another path") from None


def _connect_for_reading(uri: str, path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True)
    _require_own(connection, path, may_be_new=False)
    return connection


def _require_own(connection: sqlite3.Connection, path: Path, *, may_be_new: bool) -> None:
    connection.execute("BEGIN")  # one snapshot: another process may be making the tables right now
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute("COMMIT")
    if may_be_new and not (tables or application):
        return
    if (application, version) != (APPLICATION_ID, SCHEMA_VERSION):
        connection.close()
        raise DataError(f"answer cache {path} is a database of another program or version; choose another path")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switches to WAL. SQLite doesn't wait by itself where several processes do this at once."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
