"""One command at a time in the folder of a run or a sweep."""

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orapo.errors import SettingError

LOCK = ".lock"


@contextmanager
def folder_lock(folder: Path) -> Iterator[bool]:
    """Locks a folder, which is made when needed; the lock of a killed command is released.

    Gives whether it is held: False on a file system without locks, where nothing is known.

    Raises:
        SettingError: another command holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        is_held = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingError(f"{folder} is at work in another command; wait for it, or stop that one") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
            is_held = False
        yield is_held
