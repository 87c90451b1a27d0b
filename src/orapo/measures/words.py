"""The words of a report, their n-grams, and how much of a report repeats itself."""

import re
from collections import Counter
from collections.abc import Sequence

from orapo.empty_reports import says_nothing

Ngram = tuple[str, ...]
Words = Sequence[str]

REPEATED_WORDS = 4
"""Length of the n-grams whose repetition is logged for a run's rollouts."""


def normalised(report: str) -> str:
    """Words of letters and digits, lower-cased, one space apart; "" for a report that ``says_nothing``."""
    return "" if says_nothing(report) else " ".join(re.findall(r"[^\W_]+", report.lower()))


def ngram_counts(words: Words, length: int) -> Counter[Ngram]:
    """How often each run of ``length`` words occurs."""
    return Counter(tuple(words[first : first + length]) for first in range(len(words) - length + 1))


def repetition(report: str, length: int = REPEATED_WORDS) -> float:
    """The share of a report's n-grams that it has written before, in [0, 1): 1 - distinct / all.

    Args:
        report: any text; one of fewer than ``length`` words repeats nothing.
        length: words of an n-gram, at least 1.
    """
    counts = ngram_counts(normalised(report).split(), length)
    return 1.0 - len(counts) / counts.total() if counts else 0.0
