"""How much of a report repeats itself, and BLEU and chrF of one pair of reports."""

import numpy as np
import pytest

from orapo.measures.overlap import bleu, bleu_counts, chrf_counts, chrf_orders
from orapo.measures.words import repetition


@pytest.mark.parametrize(
    ("report", "length", "share"),
    [
        ("a b c d e", 4, 0.0),
        # "a b c d" twice among the five 4-grams.
        ("a b c d a b c d", 4, 1 / 5),
        ("no no no no no no", 4, 2 / 3),
        ("No, no.", 1, 1 / 2),
        ("a b c", 4, 0.0),
        ("", 4, 0.0),
        ("N/A. N/A. N/A. N/A. N/A.", 1, 0.0),
    ],
)
def test_repetition_by_hand(report: str, length: int, share: float) -> None:
    assert repetition(report, length) == pytest.approx(share)


def test_bleu_and_chrf_of_one_pair() -> None:
    words = ["the", "heart", "is", "not", "enlarged"]
    counts = np.array([bleu_counts(words, [*words, "today"]), bleu_counts(words, words[:3])], dtype=np.float64)
    # All precisions 1, brevity exp(1 - 6/5); the second shares no four words.
    assert bleu(counts) == pytest.approx([np.exp(-0.2), 0.0])
    letters = np.array([chrf_counts("abcdefg", "abcdefg"), chrf_counts("abcdefg", "xyz")], dtype=np.float64)
    assert chrf_orders(letters).mean(axis=1) == pytest.approx([1.0, 0.0])
