"""What the machine refuses, in one line; an error of the program is none of it."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from orapo.errors import SettingError
from orapo.experiment.machine import machine_error, refuse_unwritable
from orapo.training.run_files import AppendedFile


def chained(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def raised_meanwhile(error: Exception, context: Exception) -> Exception:
    error.__context__ = context
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "x", "/d/metrics.csv"), "/d/metrics.csv: No space left on device; make room"),
        (OSError(errno.EDQUOT, "x", b"/d/f"), "/d/f: Disk quota exceeded; make room"),
        (OSError(errno.EROFS, "x", "/d"), "/d: Read-only file system"),
        (PermissionError(errno.EACCES, "x", "/d"), "/d: Permission denied"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "No space left on device; make room"),
        (chained(RuntimeError("a writer failed"), OSError(errno.ENOSPC, "x")), "No space left on device; make room"),
        (raised_meanwhile(KeyError("x"), OSError(errno.EIO, "x")), "Input/output error"),
        (OSError(errno.EMFILE, "x", "/d"), "/d: Too many open files; raise the limit"),
        (OSError(errno.ENFILE, "x"), "Too many open files in system"),
        (BrokenPipeError(errno.EPIPE, "x"), "Broken pipe; what reads the output"),
        (OSError(errno.ESTALE, "x", "/nfs/f"), "/nfs/f: Stale file handle"),
        (MemoryError(), "out of memory; lower training.studies_per_micro_batch"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory; lower"),
        (RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed."), "a process that opens images died"),
        (RuntimeError("DataLoader worker (pid(s) 1, 2) exited unexpectedly"), "a process that opens images died"),
    ],
)
def test_the_machines_errors(error: Exception, told: str) -> None:
    found = machine_error(error)
    assert found is not None
    assert found.startswith(told)


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), FileNotFoundError(errno.ENOENT, "x", "/d"), KeyError("errno 28"), ValueError()]
)
def test_the_programs_errors(error: Exception) -> None:
    assert machine_error(error) is None


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    """/dev/full always is; a write that fails names no file by itself."""
    path = tmp_path / "metrics.csv"
    path.symlink_to("/dev/full")
    file = AppendedFile(path)
    file._digest = hashlib.sha256()  # of a file that is followed from its beginning; this one never ends
    with pytest.raises(OSError, match="No space left") as caught:
        file.append("1\n")
    assert machine_error(caught.value) == f"{path}: No space left on device; make room"


def test_a_folder_that_can_be_made_is_not_made(tmp_path: Path) -> None:
    refuse_unwritable(tmp_path / "a" / "b", "x")
    assert not list(tmp_path.iterdir())


def test_targets_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SettingError, match=r"paths.logs is .*file is a file"):
            refuse_unwritable(path, "paths.logs")
    with pytest.raises(SettingError, match=r"can't be reached|nothing can be written|MB free"):
        refuse_unwritable(Path("/proc/no/such"), "paths.logs")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(SettingError, match="nothing can be written in"):
        refuse_unwritable(tmp_path / "run", "paths.logs")
