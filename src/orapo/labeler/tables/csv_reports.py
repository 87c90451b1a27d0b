"""Reports out of a CSV file, plain or gzipped: line breaks inside quotes, byte-order marks and CRLF are ordinary."""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from orapo.errors import DataError
from orapo.foreign import RecordLines, open_regular
from orapo.labeler.tables.reports import BadRow, ChosenColumns, ReportRow, checked_row, choose_columns


class CsvReports:
    """An open CSV file; see ``ReportTable``."""

    place_word = "line"

    def __init__(self, path: Path, raw: BinaryIO, text: IO[str], report_column: str, id_column: str | None):
        """Reads the header.

        Raises:
            DataError: the file is empty or not UTF-8, or a column is missing.
        """
        self._path, self._raw, self._size = path, raw, max(1, os.fstat(raw.fileno()).st_size)
        self._lines = RecordLines(text)
        self._reader = csv.reader(self._lines, strict=True)
        _, header = self._next_record()
        names = [name.strip() for name in header or []]
        if not names:
            raise DataError(f"{path} is empty; a header line with the names of the columns is needed")
        if any(map(_is_undecodable, names)) or "\0" in "".join(names):
            raise DataError(f"{path} line 1 is not UTF-8; save the table as CSV with UTF-8 encoding")
        self._num_cells = len(names)
        self.columns: ChosenColumns = choose_columns(path, names, report_column, id_column)
        self.has_integer_ids = self.columns.row_id is None

    def fraction_read(self) -> float:
        return min(1.0, self._raw.tell() / self._size)

    def rows(self) -> Iterator[ReportRow | BadRow]:
        """Every record in order; blank lines are none."""
        number = 0
        while True:
            line, cells = self._next_record()
            if cells is None:
                return
            if cells:
                number += 1
                yield self._row(line, number, cells)

    def _row(self, line: int, number: int, cells: list[str]) -> ReportRow | BadRow:
        if len(cells) != self._num_cells:
            return BadRow(line, f"{len(cells)} cells where the header has {self._num_cells}")
        row_id = str(number) if self.columns.row_id is None else cells[self.columns.row_id]
        report = cells[self.columns.report]
        if _is_undecodable(report) or _is_undecodable(row_id):
            return BadRow(line, "bytes that are not UTF-8")
        return checked_row(line, row_id, report)

    def _next_record(self) -> tuple[int, list[str] | None]:
        """First line and cells; None at the end. After a broken quote no row's start is certain, so that is an end."""
        line = self._reader.line_num + 1
        self._lines.kept.clear()
        try:
            return line, next(self._reader, None)
        except csv.Error as error:
            raise DataError(
                f"{self._path} line {line}: a quote is missing, or one inside a cell isn't doubled; where the next row "
                "starts can't be told, so nothing is written"
            ) from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{self._path}: no gzip data, or broken ones, after line {line - 1}") from error


def _is_undecodable(text: str) -> bool:
    """Whether bytes of the file were no UTF-8; they arrive as lone surrogates."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


@contextmanager
def open_csv(path: Path, report_column: str, id_column: str | None) -> Iterator[CsvReports]:
    """Opens a ``.csv`` or ``.csv.gz`` file; see ``open_reports``."""
    with open_regular(path) as raw:
        content = gzip.GzipFile(fileobj=raw) if path.name.lower().endswith(".gz") else raw
        # Bytes that are no UTF-8 spoil their own row only.
        with io.TextIOWrapper(content, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            yield CsvReports(path, raw, text, report_column, id_column)
