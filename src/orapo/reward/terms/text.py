"""Terms that compare a generated report with the radiologist's words, or read it alone."""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from pydantic import PositiveInt

from orapo.measures.overlap import bleu, bleu_counts, chrf_counts, chrf_orders
from orapo.measures.rouge import ROUGE, rouge_scores
from orapo.measures.words import REPEATED_WORDS, normalised, repetition
from orapo.records import Study
from orapo.reward.terms.registry import PerReport, register
from orapo.settings import settings


class _Overlap(PerReport):
    """Overlap of two reports' normalised words; undefined where the oracle report says nothing."""

    def value(self, report: str, study: Study) -> float | None:
        oracle = normalised(study.oracle_report)
        return self.overlap(normalised(report), oracle) if oracle else None

    @abstractmethod
    def overlap(self, generated: str, oracle: str) -> float:
        """The overlap of two normalised texts; ``generated`` may be empty."""


@register("rouge_l")
@dataclass(frozen=True)
class RougeL(_Overlap):
    """F-measure of the longest common subsequence of words."""

    def overlap(self, generated: str, oracle: str) -> float:
        return rouge_scores([generated.split()], [oracle.split()])[0][ROUGE.index("rouge_l")]


@register("bleu")
@dataclass(frozen=True)
class Bleu(_Overlap):
    """BLEU-4 of the single report, without smoothing: 0 where no four consecutive words agree."""

    def overlap(self, generated: str, oracle: str) -> float:
        return float(bleu(_row(bleu_counts(generated.split(), oracle.split())))[0])


@register("chrf")
@dataclass(frozen=True)
class Chrf(_Overlap):
    """F2 of runs of one to six letters, spaces left out."""

    def overlap(self, generated: str, oracle: str) -> float:
        return float(chrf_orders(_row(chrf_counts(generated, oracle))).mean())


@register("length")
@dataclass(frozen=True)
class Length(_Overlap):
    """The shorter of the two reports over the longer one, in words."""

    def overlap(self, generated: str, oracle: str) -> float:
        lengths = len(generated.split()), len(oracle.split())
        return min(lengths) / max(lengths)


@register("no_repetition")
@settings
class NoRepetition(PerReport):
    """Distinct n-grams over all n-grams of the generated report; 0 for one that says nothing.

    Attributes:
        num_words: of an n-gram, at least 1; a shorter report repeats nothing.
    """

    num_words: PositiveInt = REPEATED_WORDS

    def value(self, report: str, study: Study) -> float:
        return 1.0 - repetition(report, self.num_words) if normalised(report) else 0.0


def _row(counts: list[int]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([counts], dtype=np.float64)
