"""Tables of label states: written beside their final name, which they take when all is done."""

import csv
import gzip
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, TextIO

from orapo.chexpert import OBSERVATIONS
from orapo.errors import DataError
from orapo.labeler.tables.reports import table_ending

_PARQUET_ROWS_AT_A_TIME = 8192


class LabelWriter(Protocol):
    """Writes one row per report."""

    def write(self, row_id: str, codes: Sequence[str]) -> None:
        """Writes the id and the 14 codes, "1", "0", "-1" or "", in the order of ``OBSERVATIONS``."""


@contextmanager
def part_file(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to; it becomes ``path`` when the block ends well, and goes when it doesn't."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def open_text(part: Path, *, is_gzipped: bool) -> Iterator[TextIO]:
    """A UTF-8 file to write to; gzipped without name and time, so that the same rows give the same bytes."""
    with ExitStack() as stack:
        content: BinaryIO | gzip.GzipFile = stack.enter_context(part.open("wb"))
        if is_gzipped:
            content = stack.enter_context(gzip.GzipFile("", "wb", 6, content, 0))
        yield stack.enter_context(io.TextIOWrapper(content, encoding="utf-8", newline=""))


@contextmanager
def open_labels(part: Path, path: Path, *, id_name: str, has_integer_ids: bool) -> Iterator[LabelWriter]:
    """Opens ``part`` for label states, in the format of the ending of ``path``, and writes the header.

    Args:
        part: the file to write.
        path: the name it will have.
        id_name: heading of the ids.
        has_integer_ids: a Parquet file keeps the ids as integers.

    Raises:
        DataError: an ending that isn't allowed, or ``id_name`` is one of the 14 observations.
    """
    if id_name in OBSERVATIONS:
        raise DataError(f"the id column is called {id_name!r} like an observation; rename it")
    if table_ending(path) == ".parquet":
        with _open_parquet(part, id_name, has_integer_ids) as writer:
            yield writer
        return
    with open_text(part, is_gzipped=path.name.lower().endswith(".gz")) as text:
        yield _CsvLabels(text, id_name)


class _CsvLabels:
    def __init__(self, text: TextIO, id_name: str) -> None:
        self._writer = csv.writer(text, lineterminator="\n")
        self._writer.writerow([id_name, *OBSERVATIONS])

    def write(self, row_id: str, codes: Sequence[str]) -> None:
        self._writer.writerow([row_id, *codes])


@contextmanager
def _open_parquet(part: Path, id_name: str, has_integer_ids: bool) -> Iterator[LabelWriter]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    id_type = pa.int64() if has_integer_ids else pa.string()
    schema = pa.schema([(id_name, id_type), *((str(observation), pa.float64()) for observation in OBSERVATIONS)])
    waiting: list[tuple[str, Sequence[str]]] = []
    with pq.ParquetWriter(part, schema) as file:

        def flush() -> None:
            ids = [int(row_id) if has_integer_ids else row_id for row_id, _ in waiting]
            columns = zip(*(codes for _, codes in waiting), strict=True)
            numbers = [[float(code) if code else None for code in column] for column in columns]
            file.write_batch(pa.record_batch([ids, *numbers], schema=schema))
            waiting.clear()

        class ParquetLabels:
            def write(self, row_id: str, codes: Sequence[str]) -> None:
                waiting.append((row_id, codes))
                if len(waiting) == _PARQUET_ROWS_AT_A_TIME:
                    flush()

        yield ParquetLabels()
        if waiting:
            flush()
