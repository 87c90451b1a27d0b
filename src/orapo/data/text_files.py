"""Texts, one at a time: from their folder, or straight from the zip file that they are shipped in."""

import os
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from orapo.data.garbage_collection import collection_paused
from orapo.data.tables import named
from orapo.errors import DataError
from orapo.foreign import open_regular

LONGEST_TEXT = 10_000_000
"""Bytes of one text; few bytes of a zip can become many."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class _Opened(NamedTuple):
    """A zip as one process has it open, and what it says of each text, by the text's name without folders."""

    process: int
    archive: zipfile.ZipFile
    texts: dict[str, zipfile.ZipInfo]


@dataclass
class TextFiles:
    """Texts in a folder, by their paths; or in a zip file, by their names without folders.

    A zip is opened when its first text is read (a second or two for 227,835), once in each process: worker processes,
    forked or spawned, never share a file position.

    Attributes:
        path: the folder or zip file, which isn't opened before the first text is read.
        obtain: where one gets it.
    """

    path: Path
    obtain: str
    _opened: _Opened | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None}

    def read(self, name: str, *, study_id: str) -> str:
        """A text in UTF-8.

        Args:
            name: its path below the folder.
            study_id: for messages.

        Raises:
            DataError: it is missing or damaged.
        """
        # The folders between name the patient.
        where = f"{name.rpartition('/')[2]} in {self.path}"
        try:
            if self.path.is_dir():
                with open_regular(self.path / name) as file:
                    content = file.read(LONGEST_TEXT + 1)
            else:
                content = self._unpack(name.rpartition("/")[2])
            if len(content) > LONGEST_TEXT:
                raise DataError(f"study {study_id}: report {where} has more than {LONGEST_TEXT:,} bytes")
            return content.decode("utf-8")
        except (FileNotFoundError, KeyError):
            raise DataError(
                f"study {study_id}: there is no report {where}; get the reports from {self.obtain}"
            ) from None
        except UnicodeDecodeError:
            raise DataError(f"study {study_id}: report {where} is not UTF-8; is the file complete?") from None
        except (zlib.error, zipfile.BadZipFile, EOFError, RuntimeError):  # RuntimeError: encrypted
            raise DataError(f"study {study_id}: report {where} is damaged; get the zip again ({self.obtain})") from None
        except OSError as error:
            raise DataError(f"study {study_id}: report {where} can't be read: {error.strerror}") from None

    def _unpack(self, name: str) -> bytes:
        if self._opened is None or self._opened.process != os.getpid():
            self._opened = self._open()
        info = self._opened.texts[name]
        if info.compress_type not in _METHODS:  # others unpack without a bound
            raise zipfile.BadZipFile
        with self._opened.archive.open(info) as file:
            return file.read(LONGEST_TEXT + 1)

    def _open(self) -> _Opened:
        with collection_paused():
            try:
                # Unbuffered: a file that changes under a run is found damaged, not read from memory.
                archive = zipfile.ZipFile(open_regular(self.path).detach())
            except (OSError, zipfile.BadZipFile) as error:
                told = f"{self.path} can't be read as zip ({error}); is the download complete? {self.obtain}"
                raise DataError(told) from None
            infos = archive.infolist()
            texts: dict[str, zipfile.ZipInfo] = {}
            for info in infos:
                name = info.filename.rpartition("/")[2]
                if name.endswith(".txt") and texts.setdefault(name, info) is not info:
                    raise DataError(f"{self.path} holds {named(name)} twice; each report may stand there once")
        if not texts:
            raise DataError(f"{self.path} has no .txt file; it must be the zip of reports from {self.obtain}")
        return _Opened(os.getpid(), archive, texts)
