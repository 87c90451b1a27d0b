"""Texts, one at a time: from their folder, or straight from the zip file that they are shipped in."""

import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from orapo.data.garbage_collection import collection_paused
from orapo.errors import DataError
from orapo.foreign import open_regular

LONGEST_TEXT = 10_000_000
"""Bytes of one text; few bytes of a zip can become many."""
_LOCAL_HEADER_BYTES = 30
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_ENCRYPTED = 0x1


class _Packed(NamedTuple):
    """Where a text lies in the zip: offset of its local header and packed size in bytes, method, checksum."""

    offset: int
    num_bytes: int
    method: int
    crc: int
    is_encrypted: bool


@dataclass
class TextFiles:
    """Texts in a folder, by their paths; or in a zip file, by their names without folders.

    The table of contents of a zip is read once, when the first text is (a second or two for 227,835); the file is
    opened again for each text. So worker processes, forked or spawned, never share a file position.

    Attributes:
        path: the folder or zip file, which isn't opened before the first text is read.
        obtain: where one gets it.
    """

    path: Path
    obtain: str
    _contents: dict[str, _Packed] | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_contents": None}

    def read(self, name: str, *, study_id: str) -> str:
        """A text in UTF-8.

        Args:
            name: its path below the folder.
            study_id: for messages.

        Raises:
            DataError: it is missing or damaged.
        """
        where = str(self.path / name) if self.path.is_dir() else f"{name.rpartition('/')[2]} in {self.path}"
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
        except (zlib.error, zipfile.BadZipFile):
            raise DataError(f"study {study_id}: report {where} is damaged; get the zip again ({self.obtain})") from None
        except OSError as error:
            raise DataError(f"study {study_id}: report {where} can't be read: {error.strerror}") from None

    def _unpack(self, name: str) -> bytes:
        if self._contents is None:
            self._contents = self._read_contents()
        packed = self._contents[name]
        if packed.is_encrypted or packed.method not in (_STORED, _DEFLATED):
            raise zipfile.BadZipFile
        with open(self.path, "rb") as file:
            file.seek(packed.offset)
            header = file.read(_LOCAL_HEADER_BYTES)
            if len(header) < _LOCAL_HEADER_BYTES or header[:4] != b"PK\3\4":
                raise zipfile.BadZipFile
            # Length of the name and of the extra field stand in the last four bytes.
            file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
            content = file.read(packed.num_bytes)
        if packed.method == _DEFLATED:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, LONGEST_TEXT + 1)
        if len(content) > LONGEST_TEXT:
            return content
        if zlib.crc32(content) != packed.crc:
            raise zipfile.BadZipFile
        return content

    def _read_contents(self) -> dict[str, _Packed]:
        with collection_paused():
            try:
                with zipfile.ZipFile(self.path) as archive:
                    infos = archive.infolist()
            except (OSError, zipfile.BadZipFile) as error:
                told = f"{self.path} can't be read as zip ({error}); is the download complete? {self.obtain}"
                raise DataError(told) from None
            contents = {
                info.filename.rpartition("/")[2]: _Packed(
                    info.header_offset,
                    info.compress_size,
                    info.compress_type,
                    info.CRC,
                    bool(info.flag_bits & _ENCRYPTED),
                )
                for info in infos
                if info.filename.endswith(".txt")
            }
        if not contents:
            raise DataError(f"{self.path} has no .txt file; it must be the zip of reports from {self.obtain}")
        return contents
