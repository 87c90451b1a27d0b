"""What others wrote, made harmless where it is shown: on a terminal, in a log, in a spreadsheet."""

import logging
import re
import unicodedata

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?(?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d++)?(?: ?%)?")
_LOGIN = re.compile(r"://[^/\s@]+@")
_UNSEEN = frozenset(("Cc", "Cs", "Zl", "Zp"))
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Change the direction of the text after them, so that a line reads otherwise than it is."""


def visible(text: str) -> str:
    """The text with an escape for each character that would steer a terminal; line breaks and tabs stay.

    Addresses lose their login: those of the environment, as of a proxy or a mirror of the hub, may hold a password.
    """
    text = _LOGIN.sub("://", text)
    if text.isprintable() and _TURNS.isdisjoint(text):
        return text
    return "".join(map(_visible, text))


def _visible(letter: str) -> str:
    if letter in "\n\t" or not (unicodedata.category(letter) in _UNSEEN or letter in _TURNS):
        return letter
    return letter.encode("unicode_escape").decode()


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet would compute a cell instead of showing it; a number is none."""
    return len(cell) > 1 and cell.startswith(_FORMULA) and _NUMBER.fullmatch(cell) is None


def spreadsheet_cell(cell: object) -> object:
    """A cell for a table that people open: what would be a formula begins with an apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and is_formula(cell) else cell


def is_plain_id(name: str) -> bool:
    """Whether an id can stand as it is in a table, a log and a file: printable, and no formula."""
    return name.isprintable() and _TURNS.isdisjoint(name) and not is_formula(name)


class _VisibleRecord(logging.LogRecord):
    def getMessage(self) -> str:
        return visible(super().getMessage())


def log_visibly() -> None:
    """Makes every log message of this process harmless to a terminal, whichever library logs it."""
    logging.setLogRecordFactory(_VisibleRecord)
