"""Range checks of settings: a value out of range is refused with its key, the value and what is allowed."""

import math

from orapo.errors import SettingError


def require_number(
    key: str,
    value: object,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> None:
    """Refuses anything but a finite number within the bounds given.

    Raises:
        SettingError: ``value`` is not a number, not finite, or out of bounds; booleans are not numbers.
    """
    bounds = []
    holds = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    number = float(value) if holds else math.nan  # type: ignore[arg-type]
    for word, bound, kept in (
        ("at least", at_least, at_least is None or number >= at_least),
        ("greater than", above, above is None or number > above),
        ("at most", at_most, at_most is None or number <= at_most),
        ("less than", below, below is None or number < below),
    ):
        if bound is not None:
            bounds.append(f"{word} {bound:g}")
            holds = holds and kept
    if not holds:
        allowed = " and ".join(bounds)
        raise SettingError(f"{key} is {value!r}; it must be a number{', ' + allowed if allowed else ''}")


def require_whole(key: str, value: object, at_least: int) -> None:
    """Refuses anything but a whole number of at least ``at_least``.

    Raises:
        SettingError: ``value`` is not an int (booleans are not) or is too small.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise SettingError(f"{key} is {value!r}; it must be a whole number, at least {at_least}")


def require_boolean(key: str, value: object) -> None:
    """Refuses anything but true and false.

    Raises:
        SettingError: ``value`` is not a bool.
    """
    if not isinstance(value, bool):
        raise SettingError(f"{key} is {value!r}; it must be true or false")
