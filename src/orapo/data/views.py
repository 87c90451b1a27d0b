"""Which projections count as frontal, whatever the data set calls them."""

import re
from functools import cache
from typing import Literal

from orapo.data.tables import is_blank

Views = Literal["frontal", "all"]
"""Which images of a study are kept."""

_FRONTAL_WORDS = ("PA", "AP", "FRONTAL")
_SIGNS = re.compile(r"[\W_]+")
_DIGITS = re.compile(r"\d{3}")
_WORDS = frozenset(
    (
        *("PA", "AP", "FRONTAL", "LATERAL", "LAT", "LL", "LLD", "RLD", "LAO", "RAO", "LPO", "RPO", "AXIAL", "SUPINE"),
        *("ERECT", "UPRIGHT", "SITTING", "PORTABLE", "DECUBITUS", "OBLIQUE", "LORDOTIC", "SWIMMERS", "XTABLE"),
        *("CROSS", "TABLE", "LEFT", "RIGHT", "VIEW", "CHEST"),
    )
)
"""Of views of several words."""
_IN_FULL = {"POSTERO ANTERIOR": "PA", "POSTEROANTERIOR": "PA", "ANTERO POSTERIOR": "AP", "ANTEROPOSTERIOR": "AP"}


@cache
def view_name(cell: str) -> str:
    """A view as a table has it: upper-case words; "" where it isn't known ("nan").

    "AP_SUPINE" and "ap supine" are AP SUPINE; "POSTERO_ANTERIOR" is PA.
    """
    if is_blank(cell):
        return ""
    name = " ".join(_SIGNS.sub(" ", cell.upper()).split())
    for words, short in _IN_FULL.items():
        if name == words or name.startswith(f"{words} "):
            return short + name[len(words) :]
    return name


def shown_view(view: str) -> str:
    """A view of ``view_name`` for a message; what is no view (of a shifted row) may be a report or a patient's id."""
    words = view.split()
    is_view = (len(words) == 1 and not _DIGITS.search(view)) or _WORDS.issuperset(words)
    return (view or "(blank)") if is_view else f"({len(view)} characters of text)"


@cache
def is_frontal(view: str, *, blank: bool = True) -> bool:
    """Whether a view counts as frontal: its first word is PA, AP or FRONTAL.

    Args:
        view: of ``view_name``.
        blank: whether one that isn't known counts.
    """
    words = view.split()
    return words[0] in _FRONTAL_WORDS if words else blank
