"""The computer's memory, within its container's limit."""

import os
import re
from pathlib import Path

LIMIT = Path("/sys/fs/cgroup/memory.max")
_TABLE = Path("/proc/meminfo")


def memory_bytes() -> int:
    """The memory that this machine, or its container, allows, in bytes."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = LIMIT.read_text().strip() if LIMIT.is_file() else "max"
    return min(total, int(limit)) if limit.isdigit() else total


def free_memory_bytes() -> int | None:
    """What programs may still take; None where the system does not say."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", _TABLE.read_text()) if _TABLE.is_file() else None
    return None if found is None else min(int(found[1]) * 1024, memory_bytes())
