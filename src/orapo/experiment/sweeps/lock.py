"""One command at a time in the folder of a sweep."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orapo.errors import SettingError

LOCK = ".lock"


@contextmanager
def sweep_lock(folder: Path) -> Iterator[None]:
    """Holds the folder of a sweep, which is made when needed; a killed command lets go of it.

    Raises:
        SettingError: another command holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingError(f"{folder} is at work in another command; wait for it, or stop that one") from None
        yield
