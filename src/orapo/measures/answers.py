"""Reads an answer at the end of a completion by the question's own pattern, and checks it."""

import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from orapo.records import Question

_AROUND = "*_`\"'$ "
"""Marks of emphasis, quotes and formulas that stand around an answer and say nothing."""
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,2})?", re.ASCII)
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?", re.ASCII)
_QUOTIENT = re.compile(r"[-+]?\d+/0*[1-9]\d*", re.ASCII)
_LETTER = re.compile(r"\(?([A-Za-z])(?:[).:]|\Z)\s*(.*)", re.ASCII | re.DOTALL)
_LONGEST_NUMBER = 100


class Given(NamedTuple):
    """The answer of a completion.

    Attributes:
        text: as it was read, a multiple choice as the choice's text; None where there is none that can be read.
        is_correct: whether it is the right one; False where there is none.
    """

    text: str | None
    is_correct: bool


def given_answer(completion: str, question: Question) -> Given:
    """Reads and checks the answer at the end of a completion.

    Text after the answer makes it unread: a completion that continues, or is cut in the middle, has none.
    """
    found = _at_the_end(question.pattern).match(completion)
    text = _bare(found["answer"]) if found is not None and found["answer"] else ""
    if question.kind == "choice":
        choice = read_choice(text, question.choices)
        return Given(choice, choice is not None and choice == question.answer)
    if question.kind == "exact":
        return Given(text or None, bool(text) and text.casefold() == _bare(question.answer).casefold())
    number, right = read_number(text), read_number(question.answer)
    if number is None or right is None:
        return Given(None, is_correct=False)
    # As it is written: the float of 0.3 is a little less than that.
    return Given(text, abs(number - right) <= Fraction(str(question.tolerance)))


def read_number(text: str) -> Fraction | None:
    """The value of 51, -0.5, 1,234.5, 2e3 or 3/4; None for anything else, as for a number with its unit."""
    text = _bare(text).replace("\N{MINUS SIGN}", "-")
    if len(text) > _LONGEST_NUMBER:
        return None
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    return Fraction(text) if _NUMBER.fullmatch(text) or _QUOTIENT.fullmatch(text) else None


def read_choice(text: str, choices: Sequence[str]) -> str | None:
    """The choice meant by its words, by its letter ("B", "(b)", "B.") or by both; None where these disagree."""
    text = _bare(text)
    by_words = {_bare(choice).casefold(): choice for choice in choices}
    if text.casefold() in by_words:
        return by_words[text.casefold()]
    found = _LETTER.fullmatch(text)
    if found is None or (place := ord(found[1].upper()) - ord("A")) >= len(choices):
        return None
    chosen = choices[place]
    return chosen if not found[2] or by_words.get(_bare(found[2]).casefold()) == chosen else None


def check_pattern(pattern: str) -> str:
    """The pattern, after checking that it can be used.

    Raises:
        ValueError: it is no regular expression, or has no group ``answer``; for a validator of settings.
    """
    try:
        groups = _at_the_end(pattern).groupindex
    except re.error as error:
        raise ValueError(f"is {pattern!r}, which is no regular expression: {error}") from None
    if "answer" not in groups:
        raise ValueError(f"is {pattern!r}; it must have a group (?P<answer>...)")
    return pattern


@lru_cache(maxsize=64)
def _at_the_end(pattern: str) -> re.Pattern[str]:
    # Greedy: the last place where the pattern matches up to the end.
    return re.compile(rf"(?s:.*)(?:{pattern})\s*\Z")


def _bare(text: str) -> str:
    """On one line, without marks around it and without the full stop after it."""
    text = " ".join(unicodedata.normalize("NFKC", text).split())
    while (shorter := text.strip(_AROUND).removesuffix(".")) != text:
        text = shorter
    return text
