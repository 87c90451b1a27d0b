"""A CSV file as rows that know their line: byte-order marks, CRLF and line breaks inside quotes are all ordinary."""

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orapo.errors import DataError


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One record.

    Attributes:
        line: the line of the file where the record starts, counted from 1 (the header is line 1).
        cells: text of each column by its name, surrounding white space removed.
    """

    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A whole file, read once.

    Attributes:
        path: the file.
        columns: names in the header's order.
        rows: in the file's order.
        sha256: of the file's bytes, in hexadecimal.
    """

    path: str
    columns: tuple[str, ...]
    rows: tuple[CsvRow, ...]
    sha256: str


def read_csv(path: str | Path) -> CsvTable:
    """Reads a comma-separated UTF-8 file with a header line.

    Raises:
        DataError: no such file, not UTF-8, a quote that isn't closed, a column named twice, a record with more or
            fewer cells than the header, or no record at all.
    """
    content = _read_bytes(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {content[error.start]:#04x} at position {error.start} is not UTF-8; "
            "save the table as CSV with UTF-8 encoding"
        ) from error
    records = _records(text, path)
    header_line, header = next(records, (1, []))
    columns = tuple(name.strip() for name in header)
    for name in columns:
        if columns.count(name) > 1:
            raise DataError(f"{path} line {header_line}: column {name!r} stands twice in the header")
    rows = tuple(_row(path, line, columns, cells) for line, cells in records)
    if not rows:
        raise DataError(f"{path} has no rows; a header line and at least one row are needed")
    return CsvTable(str(path), columns, rows, hashlib.sha256(content).hexdigest())


def _read_bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"there is no table {path}") from error
    except OSError as error:
        raise DataError(f"table {path} can't be read: {error.strerror}") from error


def _records(text: str, path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Pairs of first line and cells; blank lines are passed over."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{path} line {line}: {error}; is a quote missing, or a quote inside not doubled?"
            ) from error
        if cells is None:
            return
        if cells:
            yield line, cells


def _row(path: str | Path, line: int, columns: tuple[str, ...], cells: list[str]) -> CsvRow:
    if len(cells) != len(columns):
        raise DataError(
            f"{path} line {line}: {len(cells)} cells, but the header has {len(columns)}; "
            "text with commas or line breaks needs double quotes"
        )
    return CsvRow(line, {name: cell.strip() for name, cell in zip(columns, cells, strict=True)})
