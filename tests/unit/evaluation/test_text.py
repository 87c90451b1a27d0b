"""Text measures by worked arithmetic, and offline."""

import math
import socket

import pytest

from orapo.errors import DataError
from orapo.evaluation.text import text_scores


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("text scores must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_identical_reports_score_one_whatever_the_case_and_punctuation() -> None:
    scores = text_scores(["Small LEFT effusion, no edema."], ["small left effusion. No edema"])
    assert scores.rouge_l == pytest.approx(1.0)
    assert scores.bleu_4 == pytest.approx(1.0)
    assert scores.mean_words == 5


def test_rouge_l_by_hand() -> None:
    # Longest common subsequence "heart is" of 3 and 4 words: P 2/3, R 2/4, F 4/7. The second pair shares nothing.
    scores = text_scores(["heart is big", "clear"], ["the heart is enlarged", "effusion"])
    assert scores.rouge_l == pytest.approx((4 / 7 + 0) / 2)


def test_bleu_4_by_hand() -> None:
    # a b c d e against a b c d f: precisions 4/5, 3/4, 2/3, 1/2, no brevity penalty at equal length.
    scores = text_scores(["a b c d e"], ["a b c d f"])
    assert scores.bleu_4 == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    # Four of five words: every n-gram right, penalty exp(1 - 5/4).
    assert text_scores(["a b c d"], ["a b c d f"]).bleu_4 == pytest.approx(math.exp(-0.25))


def test_letters_outside_ascii_count() -> None:
    assert text_scores(["kleiner erguß"], ["kein ödem"]).rouge_l == 0.0
    assert text_scores(["ödem"], ["ödem"]).rouge_l == pytest.approx(1.0)


def test_distinct_and_empty_reports() -> None:
    scores = text_scores(["no edema", "No edema.", "", " . "], ["a b", "c d", "e f", "g h"])
    assert scores.distinct_report_fraction == 2 / 4
    assert scores.empty_report_fraction == 2 / 4
    assert scores.mean_words == (2 + 2 + 0 + 1) / 4
    assert scores.rouge_l == scores.bleu_4 == 0.0


def test_no_reports_are_refused() -> None:
    with pytest.raises(DataError):
        text_scores([], [])
    with pytest.raises(DataError, match="2 for 1"):
        text_scores(["a", "b"], ["a"])
