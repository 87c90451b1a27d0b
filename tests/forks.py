"""Processes that share one import: torch and Lightning take ten seconds, a fork of what has imported them does not."""

import multiprocessing
import os
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.warmed_up"])


@dataclass
class Command:
    """One forked command.

    Attributes:
        log: what it writes on standard output and standard error.
    """

    process: ForkServerProcess
    log: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def text(self) -> str:
        """What it has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def until(self, is_so: Callable[[], bool], seconds: float = 120) -> bool:
        """Waits until something is so; False when the command ends before."""
        deadline = time.monotonic() + seconds
        while not is_so():
            if self.process.exitcode is not None:
                return is_so()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.002)
        return True

    def send(self, number: int) -> None:
        """Sends a signal; no effect on a command that has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self) -> int:
        """The exit code, negative for a signal that killed it."""
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode


def start(arguments: Sequence[str], log: Path, cwd: Path, **limits: int) -> Command:
    """Starts ``orapo ARGUMENTS``; ``limits`` are of ``resource.setrlimit``, as FSIZE=10_000."""
    return Command(_forked(_command, dict(os.environ), list(arguments), log, cwd, limits), log)


def run(arguments: Sequence[str], log: Path, cwd: Path, **limits: int) -> Command:
    """As ``start``, until it has ended."""
    command = start(arguments, log, cwd, **limits)
    command.wait()
    return command


def _forked(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    with chdir(ROOT):  # from where the server imports what it shall have imported, if it can
        forkserver.ensure_running()
    process = _FORKS.Process(target=target, args=arguments)
    process.start()
    return process


def _command(
    environment: Mapping[str, str], arguments: Sequence[str], log: Path, cwd: Path, limits: Mapping[str, int]
) -> None:
    """In the new process: ``orapo ARGUMENTS`` in a session of its own."""
    from orapo.__main__ import main

    _as_if_started_by_python(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(output, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.setsid()
    os.chdir(cwd)
    for name, limit in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
        sys.dont_write_bytecode = True  # a limit may cut what Python writes, which every later process would read
    code: Any = 1
    try:
        sys.argv = ["orapo"]
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _as_if_started_by_python(environment: Mapping[str, str]) -> None:
    assert "tests.warmed_up" in sys.modules, "the fork server could not import it, and says nothing"
    os.environ.clear()
    os.environ.update(environment)
    # What is forked by the fork server would let it fork the processes of a data loader too.
    multiprocessing.set_start_method("fork", force=True)


class RankProcess:
    """As much of ``subprocess.Popen`` as ``orapo.experiment.processes`` uses."""

    def __init__(self, command: Sequence[str], *, stdin: int, env: Mapping[str, str], text: bool) -> None:
        assert (list(command), stdin, text) == (
            [sys.executable, "-m", "orapo.experiment.rank_process"],
            subprocess.PIPE,
            True,
        )
        reader, writer = _FORKS.Pipe(duplex=False)
        self._process = _forked(_rank, dict(env), reader)
        reader.close()
        self.stdin = os.fdopen(os.dup(writer.fileno()), "w")
        writer.close()

    def poll(self) -> int | None:
        return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("rank_process", timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()


def _rank(environment: Mapping[str, str], reader: Connection) -> None:
    """In the new process: what ``python -m orapo.experiment.rank_process`` would do."""
    from orapo.experiment.rank_process import main

    _as_if_started_by_python(environment)
    sys.path[:] = environment["PYTHONPATH"].split(os.pathsep)
    sys.stdin = os.fdopen(os.dup(reader.fileno()))
    reader.close()
    main()
