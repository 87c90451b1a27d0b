"""Tables as their files have them: CSV (plain or gzip) by line, Parquet; columns by name, cells by one set of rules.

Byte-order marks, CRLF and line breaks inside quotes are ordinary. What RFC 4180 forbids is refused, not read somehow: a
lost quote or comma moves words into other cells, or a row into the report above it.
"""

import codecs
import csv
import difflib
import gzip
import io
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

from orapo.empty_reports import says_nothing
from orapo.errors import DataError
from orapo.foreign import RecordLines, open_regular

MOST_ROWS = 5_000_000
"""Of a table: it is read into memory, and a few megabytes of gzip can hold any number."""

BLANK_WORDS = frozenset({"", "nan", "none", "null", "<na>", "na", "n/a", "nat"})
"""What other programs write for an empty cell, in lower case; as an id or a view it would go unnoticed."""

_QUOTED = re.compile(r'(^|,)"(?:[^"]|"")*+"(?=,|\r|\n|\Z)')
_NUMBER = re.compile(r"(\d++)(?:\.0*+)?")
_POWER = re.compile(r"\d(?:\.\d{1,20})?[eE]\+\d\d?")
_NO_LETTERS = re.compile(r"[\W_]+")
_MAGIC = {b"PK": "a zip archive or a workbook", b"PAR1": "Parquet"}
_LONGEST_QUOTED = 120
_DIGIT = re.compile(r"\d")
_NUMBERED = re.compile(r"\d{3}")
_PLAIN_NAME = re.compile(r"(?!.*\d{3})[\w .()/-]{0,40}")
"""Of a column; a line that is no header holds a patient's id and a report instead."""
_MOST_UNMATCHED = 2
_SHORTEST_NEAR = 5


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A whole file, read once.

    Attributes:
        columns: names in the header's order.
        rows: in the file's order; of each the line where it starts, counted from 1 (the header is line 1), and the text
            of each column by its name, surrounding white space removed.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[int, Mapping[str, str]], ...]


@dataclass(frozen=True, slots=True)
class Columns:
    """Chosen columns of a table, all equally long.

    Attributes:
        lines: where each row starts, counted from 1 (the header is line 1); in Parquet, the row's number from 1.
        cells: by the names that were asked for, stripped; optional columns that the table lacks aren't there.
        passed_over: columns of the table that are not used.
    """

    lines: Sequence[int]
    cells: Mapping[str, Sequence[str]]
    passed_over: tuple[str, ...]

    def get(self, name: str) -> Sequence[str]:
        """The cells of an optional column, all blank where the table lacks it; to be asked for once."""
        return self.cells.get(name) or ("",) * len(self.lines)


def read_csv(path: str | Path) -> CsvTable:
    """Reads a comma-separated UTF-8 file with a header line, plain or gzip, whatever its name.

    Raises:
        DataError: no such file, not UTF-8, a NUL, a quote that isn't closed or stands inside an unquoted cell, another
            separator than the comma, a column named twice or not at all, a record with more or fewer cells than the
            header, or no record at all. Never quotes a cell, since cells hold reports.
    """
    records = _records(path)
    _, header = next(records)
    rows = tuple(
        (line, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}) for line, cells in records
    )
    return CsvTable(tuple(header), rows)


def read_columns(path: str | Path, required: Sequence[str], optional: Sequence[str] = ()) -> Columns:
    """Reads chosen columns of .csv, .csv.gz or .parquet: hundreds of thousands of rows within seconds.

    A column counts by whichever spelling of its name: case, spaces and signs are nothing ("Split", "study_id",
    "StudyID"). One whose name is only near that of an optional column is refused, since it would go unnoticed.

    Raises:
        DataError: a required column is missing, one occurs twice or is a misspelt optional one; and as ``read_csv``.
    """
    if Path(path).suffix == ".parquet":
        return _parquet_columns(Path(path), required, optional)
    records = _records(path)
    _, header = next(records)
    places = find_columns(path, header, required, optional)
    chosen = tuple(places.values())
    pick = itemgetter(*chosen) if len(chosen) > 1 else lambda cells: tuple(cells[place] for place in chosen)
    lines: list[int] = []
    rows: list[tuple[str, ...]] = []
    for line, cells in records:
        lines.append(line)
        rows.append(pick(cells))
    columns = [[cell.strip() for cell in column] for column in zip(*rows, strict=True)]
    passed_over = tuple(name for place, name in enumerate(header) if name and place not in places.values())
    return Columns(lines, dict(zip(places, columns, strict=True)), passed_over)


def find_columns(
    path: str | Path, header: Sequence[str], required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, int]:
    """The place of each column that is there, by the rules of ``read_columns``; see there for what is refused."""
    spellings: dict[str, list[int]] = {}
    for place, name in enumerate(header):
        spellings.setdefault(_spelling(name), []).append(place)
    places: dict[str, int] = {}
    for name in dict.fromkeys((*required, *optional)):
        found = spellings.get(_spelling(name), [])
        exact = [place for place in found if header[place] == name]
        if len(exact or found) > 1:
            raise DataError(f"{path}: columns {', '.join(_column(header[place]) for place in found)} are both {name}")
        if found:
            places[name] = (exact or found)[0]
    missing = [name for name in required if name not in places]
    if missing:
        told = named_columns(header, is_header=bool(places))
        raise DataError(f"{path} has no column {', '.join(map(repr, missing))}; {told}")
    for name in optional:
        if name not in places:
            _refuse_near(path, header, name, places.values())
    return places


def is_blank(cell: str) -> bool:
    """Whether a cell is empty, or holds what other programs write for an empty one."""
    return cell.strip().lower() in BLANK_WORDS


def number_key(cell: str) -> str:
    """One text for all spellings of a whole number: 7, 7.0, 007 and 7E+00; other texts without invisible characters."""
    if cell.isdecimal() and cell.isascii() and cell[0] != "0":
        return cell
    if not cell.isascii():
        cell = "".join(c for c in unicodedata.normalize("NFKC", cell) if unicodedata.category(c) != "Cf")
    cell = cell.strip()
    if _POWER.fullmatch(cell):
        number = Decimal(cell)
        return str(int(number)) if number == number.to_integral_value() else cell
    found = _NUMBER.fullmatch(cell)
    return (found[1].lstrip("0") or "0") if found else cell


def quoted(cell: str) -> str:
    """A cell for a message: in quotes, or its length where it may be a report or a patient's id (of a shifted row)."""
    return repr(cell) if _is_word(cell) and not _NUMBERED.search(cell) else f"{len(cell)} characters of text"


def named(cell: str) -> str:
    """An id for a message, as ``quoted`` without the quotes."""
    return cell if _is_word(cell) else f"({len(cell)} characters of text)"


def named_columns(header: Iterable[str], *, is_header: bool) -> str:
    """The columns of a table for a message; a first line that is no header may be a patient's id and a report."""
    header = list(header)
    is_header = is_header or all(_PLAIN_NAME.fullmatch(name) and not _DIGIT.search(name) for name in header)
    return f"its columns are {', '.join(map(_column, header))}" if is_header else "is its first line a header?"


def _is_word(cell: str) -> bool:
    return len(cell) <= _LONGEST_QUOTED and (len(cell.split()) <= 1 or says_nothing(cell))


def _column(name: str) -> str:
    return repr(name) if _PLAIN_NAME.fullmatch(name) else f"{len(name)} characters of text"


def _spelling(name: str) -> str:
    return _NO_LETTERS.sub("", name.casefold())


def _refuse_near(path: str | Path, header: Sequence[str], name: str, taken: Iterable[int]) -> None:
    spelling, used = _spelling(name), set(taken)
    for place, other in enumerate(header):
        if len(spelling) < _SHORTEST_NEAR or place in used or not other:
            continue
        if _num_unmatched(_spelling(other), spelling) <= _MOST_UNMATCHED or name.casefold() in _NO_LETTERS.split(
            other.casefold()
        ):
            raise DataError(f"{path}: column {_column(other)} is near {name!r} and would be passed over; rename it")


def _num_unmatched(one: str, other: str) -> int:
    """Letters of either that have no counterpart in the other, in order: 1 for "splits" and "split"."""
    blocks = difflib.SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    return len(one) + len(other) - 2 * sum(block.size for block in blocks)


def _records(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Pairs of first line and cells, the header first; blank lines are passed over."""
    try:
        with io.TextIOWrapper(_opened_bytes(path), encoding="utf-8-sig", newline="") as text:
            yield from _checked_records(text, path)
    except FileNotFoundError:
        raise DataError(f"there is no table {path}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: {_undecodable(path)}; save the table as CSV with UTF-8 encoding") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "the file is cut or damaged"
        raise DataError(f"table {path} can't be read: {reason}") from None


def _checked_records(text: IO[str], path: str | Path) -> Iterator[tuple[int, list[str]]]:
    lines = RecordLines(text)
    read = lines.kept
    reader = csv.reader(lines, strict=True)
    width = 0
    num_rows = -1
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            told = "a NUL is no text" if any("\0" in kept for kept in read) else str(error)
            raise DataError(f"{path} line {line}: {told}; is a quote missing, or a quote inside not doubled?") from None
        if cells is None:
            break
        raw = "".join(read) if len(read) > 1 else read[0]
        read.clear()
        if "\0" in raw:
            raise DataError(f"{path} line {line}: a NUL is no text; save the table as CSV with UTF-8 encoding")
        if '"' in raw and '"' in "".join(cells) and '"' in _QUOTED.sub(r"\1", raw):
            raise DataError(f"{path} line {line}: a quote inside a cell without quotes; quote the cell and double it")
        if not cells:
            continue
        if num_rows < 0:
            cells = [name.strip() for name in cells]
            _check_header(f"{path} line {line}", cells)
            width = len(cells)
        elif len(cells) != width:
            raise DataError(f"{path} line {line}: {_other_width(cells, width)}")
        num_rows += 1
        if num_rows > MOST_ROWS:
            raise DataError(f"{path} has more than {MOST_ROWS:,} rows, which is too many")
        yield line, cells
    if num_rows < 1:
        raise DataError(f"{path} has no rows; a header line and at least one row are needed")


def _other_width(cells: Sequence[str], width: int) -> str:
    advice = "text with commas or line breaks needs double quotes"
    if len(cells) > width and not any(cell.strip() for cell in cells[width:]):
        advice = "remove the commas at the end"
    return f"{len(cells)} cells, but the header has {width}; {advice}"


def _check_header(where: str, columns: Sequence[str]) -> None:
    if len(columns) == 1 and (separator := next((mark for mark in ";\t|" if mark in columns[0]), None)):
        raise DataError(f"{where}: its columns are separated by {separator!r}; save the table with commas")
    named = len(columns)
    while named and not columns[named - 1]:
        named -= 1
    if named < len(columns):
        raise DataError(f"{where}: the last {len(columns) - named} columns have no name; remove them from the table")
    for name in columns:
        if name and columns.count(name) > 1:
            raise DataError(f"{where}: column {quoted(name)} stands twice in the header")


def _opened_bytes(path: str | Path) -> IO[bytes]:
    with open_regular(path) as file:
        start = file.read(4)
    for magic, kind in _MAGIC.items():
        if start.startswith(magic):
            raise DataError(f"{path} is {kind}; save the table as CSV")
    if start.startswith(b"\x1f\x8b"):
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return open(path, "rb")


def _undecodable(path: str | Path) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    place = 0
    try:
        with _opened_bytes(path) as file:
            while chunk := file.read(1 << 20):
                kept = len(decoder.getstate()[0])
                decoder.decode(chunk)
                place += len(chunk)
    except UnicodeDecodeError as error:
        return f"byte {error.object[error.start]:#04x} at position {place - kept + error.start} is not UTF-8"
    except (OSError, EOFError, zlib.error):
        pass
    return "it is not UTF-8"


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Turns what reading a Parquet file raises into a DataError."""
    from pyarrow import ArrowException

    try:
        yield
    except FileNotFoundError:
        raise DataError(f"there is no table {path}") from None
    except (ArrowException, OSError):
        raise DataError(f"table {path} can't be read as Parquet; is it complete?") from None
    except (ValueError, OverflowError):
        raise DataError(f"table {path} holds text that is not UTF-8, or a date that there is not") from None


def _parquet_columns(path: Path, required: Sequence[str], optional: Sequence[str]) -> Columns:
    from pyarrow import parquet

    with parquet_errors(path):
        open_regular(path).close()
        schema = parquet.read_schema(path)
        header = schema.names
        places = find_columns(path, header, required, optional)
        for name, place in places.items():
            if _is_no_cell(schema.field(place).type):
                raise DataError(f"{path}: column {name} holds lists, mappings or bytes; it must hold text or numbers")
        if parquet.read_metadata(path).num_rows > MOST_ROWS:
            raise DataError(f"{path} has more than {MOST_ROWS:,} rows, which is too many")
        table = parquet.read_table(path, columns=[header[place] for place in places.values()])
        cells = {
            name: [_text(cell) for cell in table.column(header[place]).to_pylist()] for name, place in places.items()
        }
    passed_over = tuple(name for place, name in enumerate(header) if place not in places.values())
    return Columns(range(1, table.num_rows + 1), cells, passed_over)


def _is_no_cell(kind: Any) -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    bytes_of_any_kind = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    return bool(types.is_nested(kind) or any(is_kind(kind) for is_kind in bytes_of_any_kind))


def _text(cell: object) -> str:
    return "" if cell is None else str(cell).strip()
