"""Chosen columns of a large CSV file (plain or gzip), by name: hundreds of thousands of rows within seconds."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from orapo.errors import DataError

_BLOCK_BYTES = 1 << 24


def read_columns(path: str | Path, columns: Sequence[str], *, optional: Sequence[str] = ()) -> dict[str, list[str]]:
    """Reads columns as text; blank cells are "".

    Args:
        path: a UTF-8 CSV with a header, ``.gz`` when compressed; line breaks inside quotes are ordinary.
        columns: names that the header must have; other columns are passed over, unnamed ones included.
        optional: names that it may have; absent ones are absent from the result.

    Returns:
        The cells of each column in the file's order, stripped of surrounding white space; all lists are equally long.

    Raises:
        DataError: the file can't be read, a column is missing, a row has too few or too many cells, or there is no row.
            Never quotes a cell, since cells hold reports.
    """
    header = _header(path)
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(map(repr, missing))}; its columns are {', '.join(map(repr, header))}"
        )
    wanted = [*columns, *(name for name in optional if name in header and name not in columns)]
    _check_quotes(path)
    table = _read(path, wanted)
    if not table.num_rows:
        raise DataError(f"{path} has no rows; a header line and at least one row are needed")
    return {name: [cell.strip() for cell in table.column(name).to_pylist()] for name in wanted}


def sha256_of_file(path: str | Path) -> str:
    """SHA-256 of the file's bytes, 64 hex digits; 1 GB takes a second or two."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _check_quotes(path: str | Path) -> None:
    # An open quote would swallow the rest of the file into one cell without an error.
    num_quotes = 0
    try:
        with pa.input_stream(str(path)) as stream:
            while block := stream.read(_BLOCK_BYTES):
                num_quotes += block.count(b'"')
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from None
    if num_quotes % 2:
        raise DataError(f"table {path} can't be read as CSV: a quote is never closed; is the file complete?")


def _header(path: str | Path) -> list[str]:
    return [name.strip() for name in _reader(path, []).schema.names]


def _read(path: str | Path, columns: Sequence[str]) -> pa.Table:
    try:
        return _reader(path, columns).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from None


def _reader(path: str | Path, columns: Sequence[str]) -> csv.CSVStreamingReader:
    """A reader of the columns named, as text; of all when none is named."""
    try:
        return csv.open_csv(
            pa.input_stream(str(path)),
            read_options=csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),  # counts rows
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                include_columns=list(columns),
                column_types={name: pa.string() for name in columns},
                strings_can_be_null=False,
            ),
        )
    except FileNotFoundError:
        raise DataError(f"there is no table {path}") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str | Path, error: Exception) -> DataError:
    # Arrow quotes the offending row, which may be a report: its message is cut before that, and not chained.
    reason = " ".join(str(error).split()).split(", got ")[0].split(": '")[0]
    return DataError(f"table {path} can't be read as CSV: {reason}")
