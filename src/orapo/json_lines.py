"""JSON lines as rows that know their line: byte-order marks, CRLF and blank lines are ordinary."""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orapo.errors import DataError
from orapo.foreign import MOST_BYTES, open_regular, parse_json

JsonRow = dict[str, Any]


def read_json_lines(path: str | Path) -> Iterator[tuple[int, JsonRow]]:
    """Pairs of line, counted from 1, and the object that stands in it.

    Raises:
        DataError: the file can't be read, or a line is no JSON object that ``parse_json`` reads; names file and line.
    """
    try:
        with open_regular(path) as file:
            # Not as text: a report may hold characters, such as U+2028, that are taken for the end of a line.
            for number, line in enumerate(iter(lambda: file.readline(MOST_BYTES), b""), start=1):
                line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if line.strip():
                    yield number, _row(line, f"{path}, line {number}")
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from None


def _row(line: bytes, where: str) -> JsonRow:
    row = parse_json(line.rstrip(), where)
    if not isinstance(row, dict):
        raise DataError(f"{where}: not a JSON object; each line must be one")
    return row
