"""BLEU (Papineni 2002) and chrF (Popovic 2015) from counts that add up over reports, so that they can be resampled."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from orapo.measures.ratios import ratio
from orapo.measures.words import Words, ngram_counts

Array = NDArray[np.float64]

BLEU_ORDERS = 4
BLEU_COUNTS = 2 * BLEU_ORDERS + 2
CHRF_ORDERS = 6
CHRF_BETA = 2.0


def bleu_counts(generated: Words, oracle: Words) -> list[int]:
    """Matches of one to four words, n-grams written, words written, words of the oracle: ``BLEU_COUNTS`` numbers."""
    matches, written = [], []
    for length in range(1, BLEU_ORDERS + 1):
        ours = ngram_counts(generated, length)
        matches.append((ours & ngram_counts(oracle, length)).total())
        written.append(ours.total())
    return [*matches, *written, len(generated), len(oracle)]


def bleu(sums: Array) -> Array:
    """BLEU-4 with brevity penalty, without smoothing: [R], in [0, 1], from R rows of added ``bleu_counts``."""
    matches, written = sums[:, :BLEU_ORDERS], sums[:, BLEU_ORDERS : 2 * BLEU_ORDERS]
    precision = ratio(matches, written)
    # Without smoothing one order without a match makes the whole 0.
    mean = np.exp(np.log(np.where(precision > 0, precision, 1.0)).mean(axis=1)) * (precision > 0).all(axis=1)
    length_ratio = ratio(sums[:, -1], sums[:, -2])
    return np.asarray(mean * np.exp(np.minimum(0.0, 1.0 - length_ratio)))


def chrf_counts(generated: str, oracle: str) -> list[int]:
    """Matches, n-grams written and n-grams of the oracle, of one to six letters, spaces left out."""
    ours, theirs = generated.replace(" ", ""), oracle.replace(" ", "")
    counts = [(_letters(ours, length), _letters(theirs, length)) for length in range(1, CHRF_ORDERS + 1)]
    matches = [(written & wanted).total() for written, wanted in counts]
    return [*matches, *(written.total() for written, _ in counts), *(wanted.total() for _, wanted in counts)]


def chrf_orders(sums: Array) -> Array:
    """F-beta of each order, [R, 6], in [0, 1], from R rows of added ``chrf_counts``; chrF is their mean."""
    matches, written, wanted = np.split(sums, 3, axis=1)
    precision, recall = ratio(matches, written), ratio(matches, wanted)
    return ratio((1 + CHRF_BETA**2) * precision * recall, CHRF_BETA**2 * precision + recall)


def _letters(text: str, length: int) -> Counter[str]:
    return Counter(text[first : first + length] for first in range(len(text) - length + 1))
