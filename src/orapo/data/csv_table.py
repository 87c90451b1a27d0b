"""A CSV file as rows that know their line: byte-order marks, CRLF and line breaks inside quotes are all ordinary.

What RFC 4180 forbids is refused, not read somehow: a lost quote or comma moves words into other cells, or a row into
the report above it.
"""

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orapo.errors import DataError

_QUOTED = re.compile(r'(^|,)"(?:[^"]|"")*+"(?=,|\r|\n|\Z)')


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
        DataError: no such file, not UTF-8, a NUL, a quote that isn't closed or stands inside an unquoted cell, another
            separator than the comma, a column named twice or not at all, a record with more or fewer cells than the
            header, or no record at all.
    """
    content = _read_bytes(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {content[error.start]:#04x} at position {error.start} is not UTF-8; "
            "save the table as CSV with UTF-8 encoding"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path} line {line}: a NUL is no text; save the table as CSV with UTF-8 encoding")
    records = _records(text, path)
    header_line, header = next(records, (1, []))
    columns = tuple(name.strip() for name in header)
    _check_header(f"{path} line {header_line}", columns)
    rows = tuple(_row(path, line, columns, cells) for line, cells in records)
    if not rows:
        raise DataError(f"{path} has no rows; a header line and at least one row are needed")
    return CsvTable(str(path), columns, rows, hashlib.sha256(content).hexdigest())


def _check_header(where: str, columns: tuple[str, ...]) -> None:
    if len(columns) == 1 and (separator := next((mark for mark in ";\t|" if mark in columns[0]), None)):
        raise DataError(f"{where}: its columns are separated by {separator!r}; save the table with commas")
    named = len(columns)
    while named and not columns[named - 1]:
        named -= 1
    if named < len(columns) and all(columns[:named]):
        raise DataError(f"{where}: the last {len(columns) - named} columns have no name; remove them from the table")
    for name in columns:
        if columns.count(name) > 1:
            raise DataError(f"{where}: column {name!r} stands twice in the header")


def _read_bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"there is no table {path}") from error
    except OSError as error:
        raise DataError(f"table {path} can't be read: {error.strerror}") from error


def _records(text: str, path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Pairs of first line and cells; blank lines are passed over."""
    read: list[str] = []
    reader = csv.reader(_kept(io.StringIO(text, newline=""), read), strict=True)
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
        if any('"' in cell for cell in cells) and '"' in _QUOTED.sub(r"\1", "".join(read)):
            raise DataError(f"{path} line {line}: a quote inside a cell without quotes; quote the cell and double it")
        read.clear()
        if cells:
            yield line, cells


def _kept(lines: Iterable[str], read: list[str]) -> Iterator[str]:
    """The lines; what was taken of them is in ``read``."""
    for line in lines:
        read.append(line)
        yield line


def _row(path: str | Path, line: int, columns: tuple[str, ...], cells: list[str]) -> CsvRow:
    if len(cells) > len(columns) and not any(cell.strip() for cell in cells[len(columns) :]):
        raise DataError(
            f"{path} line {line}: {len(cells)} cells, but the header has {len(columns)}; remove the commas at the end"
        )
    if len(cells) != len(columns):
        raise DataError(
            f"{path} line {line}: {len(cells)} cells, but the header has {len(columns)}; "
            "text with commas or line breaks needs double quotes"
        )
    return CsvRow(line, {name: cell.strip() for name, cell in zip(columns, cells, strict=True)})
