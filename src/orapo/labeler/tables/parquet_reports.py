"""Reports out of a Parquet file, a batch of rows at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orapo.errors import DataError
from orapo.foreign import open_regular
from orapo.labeler.tables.reports import BadRow, ChosenColumns, ReportRow, checked_row, choose_columns

_ROWS_AT_A_TIME = 1024
_BYTES_AT_A_TIME = 2**20


class ParquetReports:
    """An open Parquet file; see ``ReportTable``."""

    place_word = "row"

    def __init__(self, path: Path, file: Any, report_column: str, id_column: str | None):
        """Reads the schema.

        Raises:
            DataError: a column is missing or holds something else than text (ids: text or integers).
        """
        self._path, self._file, self._num_read = path, file, 0
        schema = file.schema_arrow
        self.columns: ChosenColumns = choose_columns(path, list(schema.names), report_column, id_column)
        self._report_name = report_column
        _check_text(path, report_column, schema.field(self.columns.report).type)
        self.has_integer_ids = True
        if self.columns.row_id is not None:
            id_type = schema.field(self.columns.row_id).type
            self.has_integer_ids = pa.types.is_integer(id_type) and not pa.types.is_uint64(id_type)
            if not self.has_integer_ids:
                _check_text(path, self.columns.id_name, id_type, "text or integers that fit int64")

    def fraction_read(self) -> float:
        num_rows: int = self._file.metadata.num_rows
        return self._num_read / max(1, num_rows)

    def rows(self) -> Iterator[ReportRow | BadRow]:
        names = [self._report_name] + ([] if self.columns.row_id is None else [self.columns.id_name])
        batches = self._file.iter_batches(batch_size=_ROWS_AT_A_TIME, columns=names, use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError):
                # The parser's own words can quote the table, so they are not passed on.
                raise DataError(f"{self._path} can't be read after row {self._num_read}; write it again") from None
            if batch is None:
                return
            yield from self._rows_of(batch)

    def _rows_of(self, batch: Any) -> Iterator[ReportRow | BadRow]:
        reports = _cells(batch.column(self._report_name))
        first = self._num_read + 1
        self._num_read += len(reports)
        ids: list[Any] = list(range(first, first + len(reports)))
        if self.columns.row_id is not None:
            column = batch.column(self.columns.id_name)
            ids = column.to_pylist() if self.has_integer_ids else _cells(column)
        for place, (row_id, report) in enumerate(zip(ids, reports, strict=True), first):
            yield _row(place, row_id, report)


def _check_text(path: Path, name: str, kind: Any, allowed: str = "text") -> None:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner)):
        raise DataError(f"{path}: column {name!r} holds {kind}; it must hold {allowed}")


def _cells(column: Any) -> list[bytes | None]:
    """A text column as bytes: what is no UTF-8 shall spoil its own row only."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    cells: list[bytes | None] = column.cast(pa.large_binary()).to_pylist()
    return cells


def _row(place: int, row_id: bytes | int | None, report: bytes | None) -> ReportRow | BadRow:
    if row_id is None:
        return BadRow(place, "the id is null")
    if report is None:
        return BadRow(place, "the report is null")
    try:
        text_id = row_id.decode() if isinstance(row_id, bytes) else str(row_id)
        return checked_row(place, text_id, report.decode())
    except UnicodeDecodeError:
        return BadRow(place, "bytes that are not UTF-8")


@contextmanager
def open_parquet(path: Path, report_column: str, id_column: str | None) -> Iterator[ParquetReports]:
    """Opens a ``.parquet`` file; see ``open_reports``."""
    open_regular(path).close()
    try:
        # Without a buffer size a whole column of a row group is read at once.
        file = pq.ParquetFile(path, buffer_size=_BYTES_AT_A_TIME, pre_buffer=False)
        file.schema_arrow  # noqa: B018  names that are no UTF-8
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise DataError(f"{path} can't be read as Parquet; is it complete, and is the ending right?") from None
    with file:
        yield ParquetReports(path, file, report_column, id_column)
