"""The reports of MIMIC-CXR, one at a time: from their folder, or straight from the zip that PhysioNet ships."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from orapo.data.garbage_collection import collection_paused
from orapo.data.mimic_cxr.files import REPORTS_URL, study_folder
from orapo.errors import DataError

_LOCAL_HEADER_BYTES = 30
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_ENCRYPTED = 0x1


class ReportFiles(Protocol):
    """Where reports are read from."""

    def read(self, patient_id: str, study_id: str) -> str:
        """The text of a report; raises DataError when it is missing or damaged."""
        ...


def open_reports(path: Path) -> ReportFiles:
    """The reports in a folder ``files``, or in a zip file, which isn't opened before the first is read."""
    return ReportFolder(path) if path.is_dir() else ReportZip(path)


@dataclass(frozen=True)
class ReportFolder:
    """Reports as ``files/p10/p10000032/s50414267.txt``."""

    files: Path

    def read(self, patient_id: str, study_id: str) -> str:
        """See ``ReportFiles``."""
        path = study_folder(self.files, patient_id, study_id).with_suffix(".txt")
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise _missing(study_id, str(path)) from None
        except OSError as error:
            raise DataError(f"study {study_id}: report {path} can't be read: {error.strerror}") from None
        return _decoded(content, study_id, str(path))


class _Packed(NamedTuple):
    """Where a report lies in the zip: offset of its local header and packed size in bytes, method, checksum."""

    offset: int
    num_bytes: int
    method: int
    crc: int
    is_encrypted: bool


class ReportZip:
    """Reports in mimic-cxr-reports.zip.

    The table of contents is read once, when the first report is (a second or two); the file is opened anew for each
    report. So worker processes, forked or spawned, never share a file position.
    """

    def __init__(self, path: Path) -> None:
        """Remembers the place."""
        self._path = path
        self._contents: dict[str, _Packed] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_contents": None}

    def read(self, patient_id: str, study_id: str) -> str:
        """See ``ReportFiles``."""
        if self._contents is None:
            self._contents = _read_contents(self._path)
        packed = self._contents.get(study_id)
        if packed is None:
            raise _missing(study_id, f"{study_id}.txt in {self._path}")
        where = f"{study_id}.txt in {self._path}"
        try:
            content = _unpack(self._path, packed)
        except (OSError, zlib.error, zipfile.BadZipFile):
            raise DataError(f"study {study_id}: report {where} is damaged; get the zip again ({REPORTS_URL})") from None
        return _decoded(content, study_id, where)


def _read_contents(path: Path) -> dict[str, _Packed]:
    with collection_paused():
        try:
            with zipfile.ZipFile(path) as archive:
                infos = archive.infolist()
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} can't be read as zip ({error}); is the download complete? {REPORTS_URL}") from None
        contents = {
            info.filename.removesuffix(".txt").rpartition("/")[2]: _Packed(
                info.header_offset, info.compress_size, info.compress_type, info.CRC, bool(info.flag_bits & _ENCRYPTED)
            )
            for info in infos
            if info.filename.endswith(".txt")
        }
    if not contents:
        raise DataError(f"{path} has no .txt file; it must be mimic-cxr-reports.zip from {REPORTS_URL}")
    return contents


def _unpack(path: Path, packed: _Packed) -> bytes:
    if packed.is_encrypted or packed.method not in (_STORED, _DEFLATED):
        raise zipfile.BadZipFile
    with open(path, "rb") as file:
        file.seek(packed.offset)
        header = file.read(_LOCAL_HEADER_BYTES)
        if len(header) < _LOCAL_HEADER_BYTES or header[:4] != b"PK\3\4":
            raise zipfile.BadZipFile
        # Length of the name and of the extra field stand in the last four bytes.
        file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
        content = file.read(packed.num_bytes)
    if packed.method == _DEFLATED:
        content = zlib.decompress(content, -zlib.MAX_WBITS)
    if zlib.crc32(content) != packed.crc:
        raise zipfile.BadZipFile
    return content


def _decoded(content: bytes, study_id: str, where: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise DataError(f"study {study_id}: report {where} is not UTF-8; is the file complete?") from None


def _missing(study_id: str, where: str) -> DataError:
    return DataError(f"study {study_id}: there is no report {where}; get the reports of MIMIC-CXR from {REPORTS_URL}")
