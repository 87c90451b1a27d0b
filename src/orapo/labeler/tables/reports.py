"""A table of reports, read a few rows at a time, whatever its format: rows to label, and rows that can't be."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orapo.display import is_plain_id
from orapo.errors import DataError

TABLE_ENDINGS = (".csv", ".csv.gz", ".parquet")
DEFAULT_ID_COLUMN = "study_id"
ROW_NUMBER_COLUMN = "row"
_WORDS_FOR_EMPTY = frozenset({"nan", "null", "none", "na", "n/a", "<na>", "nat"})
_LETTER = re.compile(r"[^\W\d_]")
_PLAIN_NAME = re.compile(r"(?!.*\d{3})\w[\w.\-]{0,30}(?:[ /]\w[\w.\-]{0,20}){0,2}(?<!\.)")
_MOST_NAMES_SHOWN = 40


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One report.

    Attributes:
        place: where the row starts: line of a CSV file (the header is line 1), row of a Parquet file (from 1).
        row_id: the id cell, or the row's number as text; not blank.
        report: not blank.
    """

    place: int
    row_id: str
    report: str


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't be labelled; the reason never quotes the row."""

    place: int
    reason: str


@dataclass(frozen=True, slots=True)
class ChosenColumns:
    """Which columns of a table are read.

    Attributes:
        report: position of the report's column.
        row_id: position of the id's column; None numbers the rows.
        id_name: heading of the ids in what is written.
    """

    report: int
    row_id: int | None
    id_name: str


class ReportTable(Protocol):
    """An open table.

    Attributes:
        columns: the chosen ones.
        place_word: what ``place`` counts, "line" or "row".
        has_integer_ids: whether ids are known to be integers: row numbers, or an integer column of a Parquet file.
    """

    columns: ChosenColumns
    place_word: str
    has_integer_ids: bool

    def rows(self) -> Iterator[ReportRow | BadRow]:
        """Every row once, in the file's order; only a bounded part of the file is in memory."""

    def fraction_read(self) -> float:
        """How much of the file has been read, 0 to 1."""


def open_reports(path: Path, *, report_column: str, id_column: str | None) -> AbstractContextManager[ReportTable]:
    """Opens a table by its ending.

    Args:
        path: ``.csv``, ``.csv.gz`` or ``.parquet``.
        report_column: name of the column with the reports.
        id_column: name of the column with the ids; None takes ``study_id`` where there is one, else row numbers.

    Raises:
        DataError: no such file, another ending, not readable as what the ending says, or a column is missing or twice.
    """
    ending = table_ending(path)
    if not path.exists():
        raise DataError(f"there is no file {path}")
    if not path.is_file():
        raise DataError(f"{path} is no regular file; save what it gives as one")
    if ending == ".parquet":
        from orapo.labeler.tables.parquet_reports import open_parquet

        return open_parquet(path, report_column, id_column)
    from orapo.labeler.tables.csv_reports import open_csv

    return open_csv(path, report_column, id_column)


def table_ending(path: Path) -> str:
    """The ending that says how a table is kept.

    Raises:
        DataError: none of ``TABLE_ENDINGS``.
    """
    for ending in TABLE_ENDINGS:
        if path.name.lower().endswith(ending):
            return ending
    raise DataError(f"{path} ends in {path.suffix or 'nothing'!r}; allowed: {', '.join(TABLE_ENDINGS)}")


def choose_columns(path: Path, names: list[str], report_column: str, id_column: str | None) -> ChosenColumns:
    """Finds the columns by name.

    Raises:
        DataError: one is missing or occurs twice, or both are the same.
    """
    if separator := next(
        (mark for mark in ";\t|" if len(names) == 1 and report_column in names[0].split(mark)[1:]), None
    ):
        raise DataError(f"{path}: its columns are separated by {separator!r}; save the table with commas")
    if report_column == id_column:
        raise DataError(f"{report_column!r} can't be both the id and the report; --id and --column name two columns")
    report = _position(path, names, report_column, "--column")
    if id_column is None and DEFAULT_ID_COLUMN not in names:
        return ChosenColumns(report, None, ROW_NUMBER_COLUMN)
    id_name = id_column or DEFAULT_ID_COLUMN
    return ChosenColumns(report, _position(path, names, id_name, "--id"), id_name)


def _position(path: Path, names: list[str], name: str, option: str) -> int:
    if names.count(name) == 1:
        return names.index(name)
    if names.count(name) > 1:
        raise DataError(f"{path}: column {name!r} stands {names.count(name)} times; a column must be named once")
    # The first line of a table without a header is a report: show nothing that doesn't look like a name.
    shown = [known for known in names if _PLAIN_NAME.fullmatch(known)]
    if not shown or len(shown) < len(names) / 2:
        raise DataError(
            f"{path} has no column {name!r}, and its first line doesn't look like column names; add a header"
        )
    listed = ", ".join(shown[:_MOST_NAMES_SHOWN]) + (", ..." if len(shown) > _MOST_NAMES_SHOWN else "")
    raise DataError(f"{path} has no column {name!r}; it has {listed}; name one with {option}")


def checked_row(place: int, row_id: str, report: str) -> ReportRow | BadRow:
    """A row to label, unless its id or report is blank; words that stand for an empty cell ("nan") are blank."""
    row_id = row_id.strip()
    if not row_id or row_id.lower() in _WORDS_FOR_EMPTY:
        return BadRow(place, "the id is blank")
    if not is_plain_id(row_id):
        return BadRow(place, "the id isn't printable, or begins with = + - or @")
    if _LETTER.search(report) is None or report.strip().lower() in _WORDS_FOR_EMPTY:
        return BadRow(place, "the report is blank")
    return ReportRow(place, row_id, report)
