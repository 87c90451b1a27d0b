"""Where what others wrote becomes data: text, JSON and YAML, from regular files and servers.

What comes from here is bounded in size and depth, its texts can be written to any file, its whole numbers fit in 64
bits, and no key occurs twice. Anything else is an error of one line that names the file, never quoting it: files hold
reports.
What a language model wrote is read by ``reward.llm.json_text``, tables by ``data.tables`` and ``labeler.tables``.
"""

import codecs
import csv
import json
import os
import stat
from collections.abc import Hashable, Iterator
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from orapo.errors import DataError

MOST_BYTES = 100_000_000
"""Of a file, unless its reader says otherwise."""
MOST_DEPTH = 64
"""Lists and mappings within one another."""
MOST_DIGITS = 18
"""Of a whole number."""
MOST_VALUES = 100_000
"""Of a YAML text: each takes a hundred times its letters."""
LONGEST_RECORD = 1 << 24
"""Characters of a row of a CSV: a quote that is never closed, or a line without an end, makes one of a whole file."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def open_regular(path: str | Path) -> BufferedReader:
    """Opens a regular file for reading: a pipe would wait for ever, a device never end.

    Raises:
        DataError: it is something else.
        OSError: it can't be opened.
    """
    # A pipe without a writer would block in a plain open.
    file: BufferedReader = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise DataError(f"{path} is no regular file; save what it gives as one")
    return file


def read_bytes(path: str | Path, most_bytes: int = MOST_BYTES) -> bytes:
    """The content of a regular file.

    Raises:
        DataError: there is none, it can't be read, or it is too large.
    """
    try:
        with open_regular(path) as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise DataError(f"{path} has more than {most_bytes:,} bytes, which is too many")
        return content
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise DataError(f"{path} can't be read: {getattr(error, 'strerror', None) or 'no such path'}") from None


def read_text(path: str | Path, most_bytes: int = MOST_BYTES) -> str:
    """The text of a file in UTF-8, without its byte-order mark.

    Raises:
        DataError: as ``read_bytes``, or it is no UTF-8.
    """
    return decoded(read_bytes(path, most_bytes), str(path))


def decoded(content: bytes, where: str) -> str:
    """Bytes in UTF-8 as text, without a byte-order mark; raises DataError naming ``where``."""
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError:
        raise DataError(f"{where}: not UTF-8; save it with UTF-8 encoding") from None


def read_json(path: str | Path, most_bytes: int = MOST_BYTES, most_digits: int = MOST_DIGITS) -> Any:
    """The value that stands in a file; see ``parse_json``."""
    return parse_json(read_bytes(path, most_bytes), str(path), most_digits)


def read_yaml(path: str | Path) -> Any:
    """The value that stands in a file; see ``parse_yaml``."""
    return parse_yaml(read_text(path), str(path))


def parse_json(text: str | bytes, where: str, most_digits: int = MOST_DIGITS) -> Any:
    """The value of a JSON text; NaN and Infinity are numbers, as Python writes them.

    Args:
        text: or its bytes in UTF-8.
        where: it stands, for messages.
        most_digits: of a whole number.

    Raises:
        DataError: no JSON, or out of bounds.
    """
    if isinstance(text, bytes):
        text = decoded(text, where)
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats, parse_int=partial(_whole, most_digits))
    except json.JSONDecodeError as error:
        at = f", line {error.lineno}" if "\n" in text else ""
        raise DataError(f"{where}{at}: not JSON; is it complete?") from None
    except _OutOfBounds as error:
        raise DataError(f"{where}: {error}") from None
    except RecursionError:
        raise DataError(f"{where}: {_TOO_DEEP}") from None
    return _within_bounds(value, where, most_digits)


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text of plain values: no tags of a program, no aliases, which make much of little.

    Raises:
        DataError: no YAML, or out of bounds.
    """
    try:
        check_yaml(text)
        value = yaml.load(text, Loader=_Loader)
    except _OutOfBounds as error:
        raise DataError(f"{where}: {error}") from None
    except (
        yaml.YAMLError,
        ValueError,
    ) as error:  # ValueError: a date that there is not, a number of thousands of digits
        mark = getattr(error, "problem_mark", None)
        raise DataError(f"{where}{f', line {mark.line + 1}' if mark else ''}: not YAML") from None
    return _within_bounds(value, where)


def check_yaml(text: str) -> None:
    """Refuses, before a value is built, what would be too deep or become large.

    Raises:
        ValueError: it is too deep, has too many values or has aliases.
        yaml.YAMLError: it is no YAML.
    """
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        if number > 2 * MOST_VALUES:  # a list or mapping has a start and an end
            raise _OutOfBounds(f"more than {MOST_VALUES:,} values")
        if isinstance(event, AliasEvent):
            raise _OutOfBounds("aliases (*name) are not read; write the value out")
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise _OutOfBounds(_TOO_DEEP)


class RecordLines:
    """The lines of an open CSV, for ``csv.reader``.

    Args:
        text: opened with ``newline=""``.

    Attributes:
        kept: lines since ``csv.reader`` gave its last record; whoever takes a record empties it.
    """

    def __init__(self, text: IO[str]) -> None:
        csv.field_size_limit(LONGEST_RECORD)
        self.kept: list[str] = []
        self._text = text
        self._length = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """Raises csv.Error where a record is too long."""
        self._length = self._length if self.kept else 0
        line = self._text.readline(LONGEST_RECORD + 1 - self._length)
        if not line:
            raise StopIteration
        self.kept.append(line)
        self._length += len(line)
        if self._length > LONGEST_RECORD:
            raise csv.Error(f"a row of more than {LONGEST_RECORD:,} characters")
        return line


class _OutOfBounds(ValueError):
    pass


_TOO_DEEP = f"more than {MOST_DEPTH} lists and mappings within one another"
_TOO_LONG = "a whole number of more than {} digits"
_TWICE = "a key stands twice; each may stand once"
_HALF_PAIR = "half of a surrogate pair (\\ud800 to \\udfff) is no text"


class _Loader(_LOADER):  # type: ignore[misc, valid-type]
    """Refuses a key that occurs twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        value: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        if len(value) < len(node.value):
            raise _OutOfBounds(_TWICE)
        return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise _OutOfBounds(_TWICE)
    return value


def _whole(most_digits: int, digits: str) -> int:
    if len(digits.lstrip("-")) > most_digits:
        raise _OutOfBounds(_TOO_LONG.format(most_digits))
    return int(digits)


def _within_bounds(value: Any, where: str, most_digits: int = MOST_DIGITS) -> Any:
    """Checks the value without recursion, and returns it."""
    level, depth = [value], 0
    while level:
        depth += 1
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict | list | tuple | set):
                if depth > MOST_DEPTH:
                    raise DataError(f"{where}: {_TOO_DEEP}")
                below += each
                below += each.values() if isinstance(each, dict) else ()
            elif isinstance(each, str):
                if not _is_text(each):
                    raise DataError(f"{where}: {_HALF_PAIR}")
            elif type(each) is int and abs(each) >= 10**most_digits:
                raise DataError(f"{where}: {_TOO_LONG.format(most_digits)}")
        level = below
    return value


def _is_text(value: str) -> bool:
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False
