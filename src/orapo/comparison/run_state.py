"""run_state.json: the state of a run, written when its command begins and when it ends."""

import json
import os
import socket
from dataclasses import asdict, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, Strict

from orapo.errors import DataError, SettingError
from orapo.foreign import read_json
from orapo.settings import read, settings
from orapo.whole_file import write_whole

RUN_STATE = "run_state.json"


class RunState(StrEnum):
    """The state of a run."""

    FINISHED = "finished"
    RUNNING = "running"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    KILLED = "killed"
    """Its process is gone and said nothing."""
    UNFINISHED = "unfinished"
    """No record says why it has no summary."""
    DAMAGED = "damaged"
    """Its files can't be read."""


@settings
class StateRecord:
    """One run_state.json.

    Attributes:
        state: as the command left it; ``RUNNING`` also stands there after a kill.
        overrides: of the command line, this job's own values in a sweep, in the order given.
        reason: one line, what stopped the run; empty for a run that was not stopped.
        host: machine of the process.
        process_id: of the command.
        process_start: a mark of the process's start by which a number that was given out again is noticed; None where
            the system has none.
        since: time of this state, ISO 8601 in UTC.
    """

    state: Annotated[RunState, Strict(False)]
    overrides: Annotated[tuple[str, ...], Strict(False)]
    reason: str
    host: str
    process_id: Annotated[int, Field(gt=0, lt=2**31)]
    process_start: str | None
    since: str

    @classmethod
    def of_this_process(cls, state: RunState, overrides: tuple[str, ...], reason: str = "") -> "StateRecord":
        """A record that says that this process is, or was, at work."""
        process_id = os.getpid()
        since = datetime.now(UTC).isoformat(timespec="seconds")
        start = process_start(process_id)
        return cls(state, overrides, " ".join(reason.split()), socket.gethostname(), process_id, start, since)

    def write(self, folder: Path) -> None:
        """Writes run_state.json whole or not at all; on a full disk over the old record, which is as long."""
        path = folder / RUN_STATE
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"
        try:
            write_whole(path, text)
        except OSError:
            path.write_text(text, encoding="utf-8")

    def seen_from_here(self) -> "StateRecord":
        """The same record, or ``KILLED`` where it says ``RUNNING`` and its process on this machine is gone."""
        is_gone = self.host == socket.gethostname() and not self._is_alive()
        if self.state is RunState.RUNNING and is_gone:
            return replace(self, state=RunState.KILLED, reason="the process is gone and left no word")
        return self

    def _is_alive(self) -> bool:
        try:
            os.kill(self.process_id, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return process_start(self.process_id) == self.process_start


def process_start(process_id: int) -> str | None:
    """When a process began: the boot, and the system's ticks since; None where there is no /proc or no such process."""
    try:
        line = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    # The second field is the program's name in brackets and may hold spaces.
    return f"{boot} {line.rpartition(')')[2].split()[19]}"


def read_state(folder: Path) -> StateRecord | None:
    """The record of a run; None when it wrote none.

    Raises:
        DataError: the file is no such record.
    """
    path = folder / RUN_STATE
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        if not isinstance(content, dict):
            raise DataError("it holds no JSON object")
        return read(StateRecord, content)
    except (DataError, SettingError) as error:
        raise DataError(f"{path} is no record of a run's state, delete it: {error}") from None
