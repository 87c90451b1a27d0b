"""How the process holds on to memory between the steps of a training run."""

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's names for these (malloc.h)."""

_KEPT_BYTES = 2**31 - 1
_LARGEST_FROM_HEAP = 2**25
"""32 MB, the most that glibc takes; what is larger comes from the system and goes back to it, as before."""


def keep_freed_memory() -> bool:
    """Lets C's allocator keep up to 2 GB of freed memory instead of giving it back to the system.

    On a CPU a step takes and frees the same tensors again and again, and each page that comes back from the system
    costs a fault and is filled with zeros. Holds for the whole process.

    Returns:
        Whether the allocator is glibc's and takes it.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    set_option = ctypes.CDLL(None).mallopt
    return bool(set_option(_TRIM_THRESHOLD, _KEPT_BYTES)) and bool(set_option(_MMAP_THRESHOLD, _LARGEST_FROM_HEAP))
