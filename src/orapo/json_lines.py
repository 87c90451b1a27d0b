"""JSON lines as rows that know their line: byte-order marks, CRLF and blank lines are ordinary."""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orapo.errors import DataError

JsonRow = dict[str, Any]


def read_json_lines(path: str | Path) -> Iterator[tuple[int, JsonRow]]:
    """Pairs of line, counted from 1, and the object that stands in it.

    Raises:
        DataError: the file can't be read, or a line is no JSON object in UTF-8, gives a key twice or holds half of a
            surrogate pair; names file and line, never their words.
    """
    try:
        with open(path, "rb") as file:
            # Not as text: a report may hold characters, such as U+2028, that are taken for the end of a line.
            for number, line in enumerate(file, start=1):
                line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if line.strip():
                    yield number, _row(line, f"{path}, line {number}")
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from None


def _row(line: bytes, where: str) -> JsonRow:
    try:
        row = json.loads(line.decode(), object_pairs_hook=_without_repeats)
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise DataError(f"{where}: not UTF-8; save the file as JSON lines with UTF-8 encoding") from None
    except UnicodeEncodeError:
        raise DataError(f"{where}: half of a surrogate pair (\\ud800 to \\udfff) is no text") from None
    except _RepeatedKey:
        raise DataError(f"{where}: a key stands twice; each may stand once") from None
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise DataError(f"{where}: not a JSON object; each line must be one")
    return row


class _RepeatedKey(Exception):
    pass


def _without_repeats(pairs: list[tuple[str, Any]]) -> JsonRow:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise _RepeatedKey
    return row
