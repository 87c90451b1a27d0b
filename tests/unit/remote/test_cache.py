import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from orapo.errors import DataError, SettingError
from orapo.remote.answer_store import AnswerStore, Claim
from orapo.remote.cache import Answer, AnswerCache, CacheMiss, cache_key

KEY = "k" * 64
ANSWER = Answer('{"facts": []}', "some-model", 900, 40, 0.0021)

# Asks for argv[3] keys at random moments within argv[5] seconds. Every ask is logged, takes argv[4] seconds, and says
# who asked.
WORKER = """
import asyncio, os, random, sys, time
from pathlib import Path
from orapo.remote.cache import Answer, AnswerCache

folder, lease, keys = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
seconds, within = float(sys.argv[4]), float(sys.argv[5])
cache = AnswerCache(folder / "judge.sqlite", lease_seconds=lease)

def asker(key):
    async def ask():
        with open(folder / "asked.txt", "a") as log:
            log.write(f"{key} {os.getpid()}\\n")
        await asyncio.sleep(seconds)
        return Answer(f'{{"by": {os.getpid()}}}', "m", 1, 2, 0.5)
    return ask

async def question(n):
    await asyncio.sleep(random.random() * within)
    return await cache.get_or_ask(f"key {n}", asker(f"key {n}"))

async def main():
    answers = await asyncio.gather(*map(question, range(keys)))
    print(*(f"{answer.text}|{was_hit}" for answer, was_hit in answers), sep="\\n")

print("ready", flush=True)
while not (folder / "go").exists():
    time.sleep(0.01)
asyncio.run(main())
"""

# Reads argv[2] from the cache argv[1] as somebody who may not write there: root may everywhere, so it stops being root.
READER = """
import asyncio, os, sys
from orapo.remote.cache import AnswerCache

cache = AnswerCache(sys.argv[1], "read_only")
if os.geteuid() == 0:
    os.setuid(65534)
print(asyncio.run(cache.get_or_ask(sys.argv[2], None)))
"""


class Asker:
    """Counts its calls; waits for ``gate`` if there is one, and raises ``error`` if there is one."""

    def __init__(
        self, answer: Answer = ANSWER, gate: asyncio.Event | None = None, error: Exception | None = None
    ) -> None:
        self.answer, self.gate, self.error, self.calls = answer, gate, error, 0
        self.asked = asyncio.Event()

    async def __call__(self) -> Answer:
        self.calls += 1
        self.asked.set()
        await asyncio.sleep(0.01)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.answer


def ask_once(cache: AnswerCache, ask: Callable[[], Awaitable[Answer]], key: str = KEY) -> tuple[Answer, bool]:
    return asyncio.run(cache.get_or_ask(key, ask))


def start_worker(
    folder: Path, *, lease: float = 60.0, keys: int = 1, seconds: float = 0.0, within: float = 0.0
) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WORKER, str(folder), *map(str, (lease, keys, seconds, within))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def claims(path: Path) -> list[Any]:
    with sqlite3.connect(path) as connection:
        return connection.execute("SELECT key, owner FROM claims").fetchall()


def count(path: Path, table: str) -> int:
    """Rows of a table; 0 while the file is being made."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "judge.sqlite"


# ------------------------------------------------------------------------------------------------ one process
def test_an_answer_is_asked_for_once_and_kept_for_later_runs(path: Path) -> None:
    asker, cache = Asker(), AnswerCache(path)
    assert ask_once(cache, asker) == (ANSWER, False)
    assert ask_once(cache, asker) == (ANSWER, True)
    cache.close()
    assert ask_once(AnswerCache(path), asker) == (ANSWER, True)
    assert asker.calls == 1
    assert ask_once(cache, Asker(), "other") == (ANSWER, False)


def test_making_a_cache_touches_nothing(tmp_path: Path) -> None:
    AnswerCache(tmp_path / "a" / "judge.sqlite").close()
    AnswerCache(tmp_path / "none.sqlite", "read_only")
    assert list(tmp_path.iterdir()) == []


def test_missing_folders_are_made(tmp_path: Path) -> None:
    assert ask_once(AnswerCache(tmp_path / "a" / "b%20 ?#" / "judge.sqlite"), Asker())[1] is False
    assert ask_once(AnswerCache(tmp_path / "a" / "b%20 ?#" / "judge.sqlite", "read_only"), Asker()) == (ANSWER, True)


def test_many_tasks_and_threads_share_one_flight(path: Path) -> None:
    cache, lock, calls = AnswerCache(path), threading.Lock(), Counter[str]()
    results: list[tuple[Answer, bool]] = []

    async def ask() -> Answer:
        with lock:
            calls["asked"] += 1
        await asyncio.sleep(0.1)
        return ANSWER

    async def many() -> None:
        results.extend(await asyncio.gather(*(cache.get_or_ask(KEY, ask) for _ in range(20))))

    threads = [threading.Thread(target=lambda: asyncio.run(many())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls["asked"] == 1
    assert Counter(was_hit for _, was_hit in results) == {True: 79, False: 1}
    assert {answer for answer, _ in results} == {ANSWER}


@pytest.mark.parametrize("same_cache", [True, False])
def test_an_error_reaches_only_its_caller_and_those_who_wait_ask_themselves(path: Path, same_cache: bool) -> None:
    async def scene() -> None:
        first = AnswerCache(path)
        second = first if same_cache else AnswerCache(path)  # two caches meet only in the file, like two processes
        gate = asyncio.Event()
        failing, good, spare = Asker(gate=gate, error=ConnectionError("down")), Asker(), Asker()
        leader = asyncio.create_task(first.get_or_ask(KEY, failing))
        await failing.asked.wait()
        waiters = [asyncio.create_task(second.get_or_ask(KEY, ask)) for ask in (good, spare)]
        await asyncio.sleep(0.1)
        assert (good.calls, spare.calls) == (0, 0)
        gate.set()
        with pytest.raises(ConnectionError, match="down"):
            await leader
        assert [await waiter for waiter in waiters] == [(ANSWER, False), (ANSWER, True)]
        assert (failing.calls, good.calls, spare.calls) == (1, 1, 0)

    asyncio.run(scene())
    assert claims(path) == []


def test_a_cancelled_caller_gives_way(path: Path) -> None:
    async def scene() -> None:
        cache, stuck, good = AnswerCache(path), Asker(gate=asyncio.Event()), Asker()
        leader = asyncio.create_task(cache.get_or_ask(KEY, stuck))
        await stuck.asked.wait()
        waiter = asyncio.create_task(cache.get_or_ask(KEY, good))
        impatient = asyncio.create_task(cache.get_or_ask(KEY, good))
        await asyncio.sleep(0.05)
        impatient.cancel()  # must not take the flight down with it
        await asyncio.sleep(0.05)
        assert not waiter.done()
        leader.cancel()
        assert await waiter == (ANSWER, False)
        for task in (leader, impatient):
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(scene())
    assert claims(path) == []


@pytest.mark.parametrize("is_queued", [True, False])
def test_an_answer_that_was_paid_for_is_kept_though_its_caller_is_cancelled(path: Path, is_queued: bool) -> None:
    cache = AnswerCache(path)

    async def scene() -> None:
        asker, before = Asker(gate=asyncio.Event()), Asker()
        task = asyncio.create_task(cache.get_or_ask(KEY, asker))
        await asker.asked.wait()
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # nothing can be written now
            tasks = [asyncio.create_task(cache.get_or_ask("before", before))] if is_queued else []
            await asyncio.sleep(0.05)
            assert asker.gate is not None
            asker.gate.set()
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            other.execute("COMMIT")
        await asyncio.gather(*tasks)

    asyncio.run(scene())
    cache.close()
    assert ask_once(AnswerCache(path, "read_only"), Asker()) == (ANSWER, True)
    assert claims(path) == []


def test_an_answer_that_arrives_while_claiming_is_taken(path: Path) -> None:
    store, results = AnswerStore(path, "me"), list[Any]()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?)", (KEY, *astuple(ANSWER)))
        thread = threading.Thread(target=lambda: results.append(store.claim(KEY, 60.0)))
        thread.start()
        time.sleep(0.1)  # it has looked, found nothing, and waits for its turn
        other.execute("COMMIT")
    thread.join()
    assert results == [ANSWER]
    assert claims(path) == []


def test_the_first_answer_stays_where_a_claim_was_lost(path: Path) -> None:
    async def scene() -> None:
        slow, other = Asker(gate=asyncio.Event()), Asker(Answer("{}", "other", 1, 1, 0.0))
        task = asyncio.create_task(AnswerCache(path).get_or_ask(KEY, slow))
        await slow.asked.wait()
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE claims SET expires = 0")
        assert await AnswerCache(path).get_or_ask(KEY, other) == (other.answer, False)
        assert slow.gate is not None
        slow.gate.set()
        assert await task == (other.answer, False)

    asyncio.run(scene())


@pytest.mark.slow
def test_a_claim_is_renewed_while_asking_takes_longer_than_its_lease(path: Path) -> None:
    async def scene() -> None:
        slow, other = Asker(gate=asyncio.Event()), Asker()
        task = asyncio.create_task(AnswerCache(path, lease_seconds=0.3).get_or_ask(KEY, slow))
        await slow.asked.wait()
        waiting = asyncio.create_task(AnswerCache(path, lease_seconds=0.3).get_or_ask(KEY, other))
        await asyncio.sleep(0.9)
        assert other.calls == 0
        assert slow.gate is not None
        slow.gate.set()
        assert await task == (ANSWER, False)
        assert await waiting == (ANSWER, True)

    asyncio.run(scene())


def test_a_clock_set_back_leaves_no_claim_longer_than_its_lease(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.time()
    first, second = AnswerStore(path, "first"), AnswerStore(path, "second")
    assert first.claim(KEY, 60.0) is Claim.MINE
    assert second.claim(KEY, 60.0) is Claim.ANOTHERS
    monkeypatch.setattr(time, "time", lambda: before - 3600.0)
    assert second.claim(KEY, 60.0) is Claim.MINE
    first.renew(KEY, 60.0)
    assert first.claim(KEY, 60.0) is Claim.ANOTHERS, "and the one that it was taken from waits for it"
    assert first.save(KEY, ANSWER) == ANSWER == second.save(KEY, Answer("{}", "other", 0, 0, 0.0))


def test_off_always_asks_and_stores_nothing(tmp_path: Path) -> None:
    for cache in (AnswerCache(tmp_path / "judge.sqlite", "off"), AnswerCache(None, "off")):
        asker = Asker()
        assert [ask_once(cache, asker) for _ in range(2)] == [(ANSWER, False)] * 2
        assert asker.calls == 2
    assert list(tmp_path.iterdir()) == []


def test_read_only_answers_what_is_there_and_never_asks_or_writes(path: Path) -> None:
    writer = AnswerCache(path)
    ask_once(writer, Asker())
    writer.close()
    before = path.read_bytes()
    cache, asker = AnswerCache(path, "read_only"), Asker()
    assert ask_once(cache, asker) == (ANSWER, True)
    with pytest.raises(CacheMiss, match="run again with cache=read_write") as caught:
        ask_once(cache, asker, "other")
    assert "\n" not in str(caught.value)
    cache.close()
    assert asker.calls == 0
    assert path.read_bytes() == before


def test_read_only_sees_what_another_cache_is_writing(path: Path) -> None:
    writer, reader = AnswerCache(path), AnswerCache(path, "read_only")
    ask_once(writer, Asker())
    assert ask_once(reader, Asker()) == (ANSWER, True)
    ask_once(writer, Asker(), "later")
    assert ask_once(reader, Asker(), "later") == (ANSWER, True)


def test_read_only_reads_in_a_folder_that_cannot_be_written_to() -> None:
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path: the reader may be another user, see READER
        path = Path(folder) / "fixed" / "judge.sqlite"
        writer = AnswerCache(path)
        ask_once(writer, Asker())
        writer.close()
        path.chmod(0o444)
        path.parent.chmod(0o555)
        path.parent.parent.chmod(0o755)
        reader = subprocess.run([sys.executable, "-c", READER, str(path), KEY], capture_output=True, text=True)
        assert reader.stdout.strip() == repr((ANSWER, True)), reader.stderr
        path.parent.chmod(0o755)


def test_a_forked_copy_is_refused_instead_of_hanging(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = AnswerCache(path)
    ask_once(cache, Asker())
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(RuntimeError, match="doesn't survive a fork"):
        ask_once(cache, Asker())


# ------------------------------------------------------------------------------------------------ files
def refusal(path: Path, mode: Any = "read_write") -> str:
    asker = Asker()
    with pytest.raises(DataError) as caught:
        ask_once(AnswerCache(path, mode), asker)
    assert asker.calls == 0
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


@pytest.mark.parametrize("mode", ["read_write", "read_only"])
def test_a_file_that_is_no_database_is_refused_and_kept(path: Path, mode: str) -> None:
    path.write_bytes(b"not a database, " * 400)
    assert "file is not a database; move it away or choose another path" in refusal(path, mode)
    assert path.read_bytes() == b"not a database, " * 400


def test_a_damaged_cache_is_refused(path: Path) -> None:
    cache = AnswerCache(path)
    ask_once(cache, Asker())
    cache.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    assert "malformed; move it away or choose another path" in refusal(path)
    path.write_bytes(whole[:1000])
    refusal(path)


@pytest.mark.parametrize("mode", ["read_write", "read_only"])
@pytest.mark.parametrize("change", ["CREATE TABLE theirs (x)", "PRAGMA application_id = 77"])
def test_the_database_of_another_program_is_refused_and_kept(path: Path, mode: str, change: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(change)
    connection.close()
    before = path.read_bytes()
    assert "a database of another program or version; choose another path" in refusal(path, mode)
    assert path.read_bytes() == before


def test_a_cache_of_another_version_is_refused(path: Path) -> None:
    AnswerStore(path, "me").close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    assert "another program or version" in refusal(path)


def test_an_empty_file_is_new_to_write_and_no_cache_to_read(path: Path) -> None:
    path.touch()
    assert "another program or version" in refusal(path, "read_only")
    assert ask_once(AnswerCache(path), Asker()) == (ANSWER, False)


def test_paths_that_cannot_be_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "choose another path" in refusal(tmp_path / "file" / "judge.sqlite")
    assert "check the folder" in refusal(tmp_path)
    assert "doesn't exist; read_only needs the file of an earlier run" in refusal(tmp_path / "none", "read_only")


def test_settings_out_of_range_are_refused(path: Path) -> None:
    for wrong in ("readonly", "", None):
        with pytest.raises(SettingError, match="it must be one of read_write, read_only, off"):
            AnswerCache(path, wrong)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="without a path"):
        AnswerCache(None)
    with pytest.raises(SettingError, match="greater than 0"):
        AnswerCache(path, lease_seconds=0)


def test_the_key_depends_on_everything_asked_and_on_nothing_else() -> None:
    settings = {"temperature": 0.0, "max_output_tokens": 2000, "structured_output": "json_schema", "seed": None}
    key = cache_key("m", "d", "extract", "text", settings)
    assert key == "552d96909d2819a948f1c46c88722e84038c50b1ff5cae69c080bb1093e74cf2"
    assert key == cache_key("m", "d", "extract", "text", dict(reversed(settings.items())) | {"temperature": 0})
    others = [
        cache_key("m2", "d", "extract", "text", settings),
        cache_key("m", "d2", "extract", "text", settings),
        cache_key("m", "d", "entail", "text", settings),
        cache_key("m", "d", "extract", "text ", settings),
        cache_key("m", "d", "extract", "text", settings | {"temperature": 0.1}),
        cache_key("m", "d", "extract", "text", settings | {"top_p": 1}),
        cache_key("md", "", "extract", "text", settings),
    ]
    assert len({key, *others}) == 8
    assert len(cache_key("m", "d", "s", "\ud800", {})) == 64
    for wrong in ({"t": float("nan")}, {"t": object()}):
        with pytest.raises(SettingError, match="one of the settings t is neither"):
            cache_key("m", "d", "s", "x", wrong)


def test_only_hashes_and_answers_are_in_the_file(path: Path) -> None:
    cache = AnswerCache(path)
    key = cache_key("m", "d", "extract", "zebrastripe subject", {"header": "zebrastripe secret"})
    ask_once(cache, Asker(), key)
    cache.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["judge.sqlite"]
    assert key.encode() in path.read_bytes()
    assert b"zebrastripe" not in path.read_bytes()


@pytest.mark.slow
# ------------------------------------------------------------------------------------------------ several processes
def test_two_processes_ask_each_of_the_same_keys_once(tmp_path: Path) -> None:
    workers = [start_worker(tmp_path, keys=50, seconds=0.1, within=1.0) for _ in range(2)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()  # both make the file at the same moment
    outputs = [worker.communicate(timeout=60)[0].splitlines() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    asked = [line.rsplit(" ", 1) for line in (tmp_path / "asked.txt").read_text().splitlines()]
    assert sorted(key for key, _ in asked) == sorted(f"key {number}" for number in range(50))
    pid_of = {key: int(pid) for key, pid in asked}
    for worker, lines in zip(workers, outputs, strict=True):
        for number, line in enumerate(lines):
            text, was_hit = line.split("|")
            assert json.loads(text) == {"by": pid_of[f"key {number}"]}
            assert was_hit == str(pid_of[f"key {number}"] != worker.pid)
    assert len(set(pid_of.values())) == 2  # they did compete
    assert claims(tmp_path / "judge.sqlite") == []


@pytest.mark.slow
def test_a_killed_process_leaves_its_answers_and_its_claim_is_taken_over(tmp_path: Path, path: Path) -> None:
    saved = AnswerCache(path)
    ask_once(saved, Asker(), "saved before")
    worker = start_worker(tmp_path, lease=1.0, seconds=600.0)
    (tmp_path / "go").touch()
    wait_until((tmp_path / "asked.txt").exists)
    asker = Asker()

    async def scene() -> float:
        waiting = asyncio.create_task(AnswerCache(path, lease_seconds=1.0).get_or_ask("key 0", asker))
        await asyncio.sleep(1.5)
        assert asker.calls == 0  # it's alive and renews its claim
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        killed = time.monotonic()
        assert await waiting == (ANSWER, False)
        return time.monotonic() - killed

    assert asyncio.run(scene()) < 3.0
    assert ask_once(saved, Asker(), "saved before") == (ANSWER, True)
    assert claims(path) == []


def test_a_process_killed_amid_writing_leaves_a_whole_file(tmp_path: Path, path: Path) -> None:
    worker = start_worker(tmp_path, keys=3000)
    (tmp_path / "go").touch()
    wait_until(lambda: count(path, "answers") > 300)
    worker.kill()
    assert worker.wait() == -signal.SIGKILL
    assert path.with_name("judge.sqlite-wal").exists()  # as a crash leaves it
    asked = {line.rsplit(" ", 1)[0] for line in (tmp_path / "asked.txt").read_text().splitlines()}
    reader = AnswerStore(path, "me", read_only=True)
    kept = {key for key in asked if reader.find(key) is not None}
    reader.close()
    assert len(kept) > 300
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        held = {key for key, _ in connection.execute("SELECT key, owner FROM claims")}
    assert asked <= kept | held
    assert ask_once(AnswerCache(path), Asker(), min(kept))[1] is True
