"""What a radiologist knows before looking at the images, read from sections, ages and dates."""

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import date

from orapo.data.tables import is_blank, quoted
from orapo.data.target import words
from orapo.errors import DataError
from orapo.records import Context, PriorStudy

_MARKS = re.compile(r"\[\*\*[^\]]{0,200}\*\*\]|(?<![A-Za-z])X{2,}(?![A-Za-z])|_{2,}", re.IGNORECASE)
_BEFORE_SIGN = re.compile(r"(?: ?[,;:]){0,9} (?=[.,;:?!)])|(?<![,;:])[,;:]++(?=[.?!])")  # of text on one line
_OF_INDICATION = ("indication", "clinical_history", "history")
_AGE = re.compile(r"0*(\d{1,3})(?:\.\d*)?\s*(?:y|yo|yrs?|years?)?(?:[ -]old)?", re.IGNORECASE)
_SEX = {"f": "F", "female": "F", "w": "F", "woman": "F", "m": "M", "male": "M", "man": "M"}
_TIME = re.compile(r"(\d{1,6}|\d{1,2}:\d{2}(?::\d{2})?)(?:\.(\d*))?", re.ASCII)
_DATE = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})(?:[T ].*|\.0)?")


def make_context(sections: Mapping[str, str], *, prior: PriorStudy | None) -> Context:
    """What sections tell: ``indication``, else ``history``; ``comparison``; ``technique``; ``age`` and ``sex``."""
    age_years, sex = read_person(sections.get("age", ""), sections.get("sex", ""))
    told = (without_marks(sections.get(name, "")) for name in _OF_INDICATION)
    return Context(
        indication=next(filter(None, told), ""),
        comparison=without_marks(sections.get("comparison", "")),
        technique=without_marks(sections.get("technique", "")),
        age_years=age_years,
        sex=sex,
        prior=prior,
    )


def without_marks(text: str) -> str:
    """The text on one line without what stands for removed words ("___", "XXXX"); "" where nothing is said then."""
    kept = _BEFORE_SIGN.sub("", " ".join(_MARKS.sub(" ", text).split()))
    return words(kept.lstrip(" .,;:-").rstrip(" ,;:-"))


def read_person(age: str, sex: str) -> tuple[int | None, str]:
    """The age in years and the sex, as far as they can be read: others write "90+", say."""
    try:
        return read_age(age), read_sex(sex)
    except DataError:
        return None, read_sex(sex)


def read_age(cell: str) -> int | None:
    """Whole years of "63", "63.0", "063Y" or "63 years"; None where it isn't known.

    Raises:
        DataError: something else.
    """
    if is_blank(cell):
        return None
    found = _AGE.fullmatch(cell.strip())
    if found is None:
        raise DataError(f"age is {quoted(cell)}; it must be a number of years, or blank")
    return int(found[1])


def read_sex(cell: str) -> str:
    """One of "F" and "M", or "" where it isn't known or another."""
    return _SEX.get(cell.strip().lower(), "")


def read_day(cell: str) -> int | None:
    """The day of 2180-05-06 or 21800506 as a number of days; None where it isn't known.

    Raises:
        DataError: it is no date.
    """
    if is_blank(cell):
        return None
    if found := _DATE.fullmatch(cell.strip()):
        with suppress(ValueError):  # the 31st of April, say
            return date(*map(int, found.groups())).toordinal()
    raise DataError(f"date {quoted(cell)} is no day such as 2180-05-06 or 21800506")


def read_time(cell: str) -> float | None:
    """The seconds since midnight of HH, HHMM or HHMMSS, with or without colons and a fraction.

    A number that lost its first zero has it again: 90000 is 09:00:00. None where it isn't known, or is no time.
    """
    found = _TIME.fullmatch(cell.strip())
    if found is None:
        return None
    digits = found[1].replace(":", "")
    digits = digits if len(digits) % 2 == 0 else f"0{digits}"
    hours, minutes, seconds = (int(digits[place : place + 2] or "0") for place in (0, 2, 4))
    if hours > 23 or minutes > 59 or seconds > 60:  # a leap second
        return None
    return hours * 3_600 + minutes * 60 + seconds + float(f"0.{found[2] or 0}")


def read_order(cell: str) -> float | None:
    """A number to sort a patient's studies by; None where it isn't known.

    Raises:
        DataError: it is no number.
    """
    if is_blank(cell):
        return None
    try:
        order = float(cell)
    except ValueError:
        order = math.nan
    if not math.isfinite(order):
        raise DataError(f"the order of a study is {quoted(cell)}; it must be a number, or blank")
    return order
