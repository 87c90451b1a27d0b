"""Which projections count as frontal, whatever the data set calls them."""

from typing import Literal

Views = Literal["frontal", "all"]
"""Which images of a study are kept."""

_FRONTAL_WORDS = ("PA", "AP", "FRONTAL")


def is_frontal(view: str, *, blank: bool = True) -> bool:
    """Whether a view counts as frontal: its first word is PA, AP or FRONTAL (upper case).

    Args:
        view: the name, upper case, "" when it isn't known.
        blank: whether one that isn't known counts.
    """
    words = view.split()
    return words[0] in _FRONTAL_WORDS if words else blank
