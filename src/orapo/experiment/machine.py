"""The machine's memory, and its faults, each as one line: no room or right to write, no memory, a killed process."""

import errno
import os
import re
import shutil
from pathlib import Path

from orapo.errors import SettingError

LIMIT = Path("/sys/fs/cgroup/memory.max")
_TABLE = Path("/proc/meminfo")

LEAST_FREE = 10_000_000
"""Bytes below which a disk counts as full before a command has begun."""

MAX_PART = 255
"""Bytes of a file's or folder's name, on every common file system."""

_OUT_OF_MEMORY = (
    "out of memory; lower training.studies_per_micro_batch, rollout.per_study, rollout.max_new_tokens or "
    "training.eval_batch_size (eval_batch_size or batch_size in evaluate.py and generate.py), set "
    "model.gradient_checkpointing=true, or train an adapter (model.lora) on model.dtype=bfloat16"
)
_WORKER_DIED = (
    "a process that opens images died, as for want of memory, or of shared memory (/dev/shm); lower "
    "training.num_workers (num_workers in evaluate.py and generate.py), 0 opens images in this process"
)
_TOLD = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EIO),
    *(errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.EPIPE, errno.EISDIR, errno.EEXIST),
)
_WAY_OUT = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EPIPE: "what reads the output of this command has ended",
}


def machine_error(error: BaseException) -> str | None:
    """What the machine refused, and what to do; None for an error that is none of the machine's.

    Libraries wrap such errors in their own, and some keep only the words of the operating system.
    """
    seen: BaseException | None = error
    while seen is not None:
        if told := _told(seen):
            return told
        seen = seen.__cause__ or seen.__context__
    return None


def _told(error: BaseException) -> str | None:
    text = str(error)
    # torch's own class is known by name: importing torch takes seconds.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        return _OUT_OF_MEMORY
    if "DataLoader worker" in text and ("killed by signal" in text or "exited unexpectedly" in text):
        return _WORKER_DIED
    named = error.filename if isinstance(error, OSError) else None
    for number in _TOLD:
        if (isinstance(error, OSError) and error.errno == number) or f"(os error {number})" in text:
            where = "" if named is None else f"{os.fsdecode(named)}: "
            way_out = _WAY_OUT.get(number)
            return f"{where}{os.strerror(number)}{f'; {way_out}' if way_out else ''}"
    return None


def refuse_unwritable(path: Path, key: str) -> None:
    """Sees, before any work, whether the folder ``path`` can be made and filled; nothing is made.

    Args:
        path: need not exist, nor the folders above it.
        key: of the setting or option that names it, for errors.

    Raises:
        SettingError: there is a file where a folder is needed, the folder is read-only or not the user's, a name is too
            long, or the disk is full.
    """
    if long := next((part for part in path.parts if len(part.encode()) > MAX_PART), None):
        raise SettingError(f"{key} has a name of more than {MAX_PART} bytes, {long[:40]!r} ...")
    try:
        nearest = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
        if not nearest.is_dir():
            raise SettingError(f"{key} is {str(path)!r}, but {nearest} is a file")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise SettingError(f"{key} is {str(path)!r}, and nothing can be written in {nearest}")
        free = shutil.disk_usage(nearest).free
    except OSError as error:
        raise SettingError(f"{key} is {str(path)!r}, which can't be reached: {error.strerror}") from error
    if free < LEAST_FREE:
        raise SettingError(f"{key} is {str(path)!r}, and its disk has {free / 1e6:,.1f} MB free; make room")


def memory_bytes() -> int:
    """The memory that this computer, or its container, allows."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = LIMIT.read_text().strip() if LIMIT.is_file() else "max"
    return min(total, int(limit)) if limit.isdigit() else total


def free_memory_bytes() -> int | None:
    """What programs may still take; None where the system does not say."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", _TABLE.read_text()) if _TABLE.is_file() else None
    return None if found is None else min(int(found[1]) * 1024, memory_bytes())
