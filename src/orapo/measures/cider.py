"""CIDEr-D with one reference per study: n-grams that tell this study's report from the others' count more.

After Vedantam et al., "CIDEr: Consensus-based Image Description Evaluation" (CVPR 2015), the variant D with clipped
counts, a Gaussian penalty on the difference in length (sigma 6) and the factor 10. Words are the caller's: no stemming.
"""

import math
from collections import Counter
from collections.abc import Sequence

from orapo.measures.words import Ngram, Words, ngram_counts

LENGTHS = (1, 2, 3, 4)
"""Of the n-grams, in words."""
SIGMA = 6.0
SCALE = 10.0


def cider_d(generated: Sequence[Words], oracle: Sequence[Words]) -> list[float]:
    """CIDEr-D of each of N generated reports, in [0, 10]; the score of a system is their mean.

    An n-gram weighs log(N / number of oracle reports that hold it): scores depend on the set of studies and don't
    compare between sets; with a single study every weight, and the score, is 0.

    Args:
        generated: words of each generated report.
        oracle: words of the oracle report of the same study.
    """
    frequency: Counter[Ngram] = Counter()
    for words in oracle:
        frequency.update(ngram for length in LENGTHS for ngram in ngram_counts(words, length))
    return [_score(g, o, frequency, math.log(len(oracle))) for g, o in zip(generated, oracle, strict=True)]


def _score(generated: Words, oracle: Words, frequency: Counter[Ngram], log_reports: float) -> float:
    penalty = math.exp(-((len(generated) - len(oracle)) ** 2) / (2 * SIGMA**2))
    similarities = []
    for length in LENGTHS:
        ours = _weighted(ngram_counts(generated, length), frequency, log_reports)
        theirs = _weighted(ngram_counts(oracle, length), frequency, log_reports)
        product = math.sqrt(_dot(ours, ours) * _dot(theirs, theirs))
        clipped = {ngram: min(weight, theirs[ngram]) for ngram, weight in ours.items() if ngram in theirs}
        similarities.append(_dot(clipped, theirs) / product if product else 0.0)
    return SCALE * penalty * sum(similarities) / len(LENGTHS)


def _weighted(counts: Counter[Ngram], frequency: Counter[Ngram], log_reports: float) -> dict[Ngram, float]:
    # An n-gram of no oracle report counts as if one held it.
    return {ngram: count * (log_reports - math.log(max(1, frequency[ngram]))) for ngram, count in counts.items()}


def _dot(first: dict[Ngram, float], second: dict[Ngram, float]) -> float:
    return sum(weight * second[ngram] for ngram, weight in first.items())
