"""The door that every coefficient of the objective passes: a real number inside its range, or a ``SettingError``."""

import math

from orapo.errors import SettingError


def check_number(
    key: str,
    value: object,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> None:
    """Accepts a finite int or float inside the bounds given; a bool or a string that looks like a number is refused.

    Raises:
        SettingError: the value is no finite number, or lies outside the range.
    """
    allowed = _range_text(at_least, above, at_most, below)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SettingError(f"{key} is {value!r} ({type(value).__name__}); {allowed}")
    inside = (
        math.isfinite(value)
        and (at_least is None or value >= at_least)
        and (above is None or value > above)
        and (at_most is None or value <= at_most)
        and (below is None or value < below)
    )
    if not inside:
        raise SettingError(f"{key} is {value!r}; {allowed}")


def check_count(key: str, value: object, *, at_least: int) -> None:
    """Accepts an int of at least ``at_least``.

    Raises:
        SettingError: the value is no int (2.0 and True are none), or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise SettingError(f"{key} is {value!r}; allowed is a whole number of at least {at_least}")


def check_flag(key: str, value: object) -> None:
    """Accepts True or False.

    Raises:
        SettingError: the value is no bool; 0, 1, "true" and None are none.
    """
    if not isinstance(value, bool):
        raise SettingError(f"{key} is {value!r}; allowed is true or false")


def check_part(key: str, value: object, *, example: str) -> None:
    """Accepts a callable part, such as a loss; a name or mapping that was never instantiated is refused.

    Raises:
        SettingError: the value can't be called, or is a class and not an instance of one.
    """
    if isinstance(value, type) or not callable(value):
        raise SettingError(f"{key} is {value!r}; allowed is an object such as {example}")


def _range_text(at_least: float | None, above: float | None, at_most: float | None, below: float | None) -> str:
    bounds = ((">=", at_least), (">", above), ("<=", at_most), ("<", below))
    limits = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)
    return f"allowed is a number {limits}".rstrip()
