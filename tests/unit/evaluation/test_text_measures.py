"""Text measures as sums: by hand, and against torchmetrics on random words."""

import math
import random
import socket

import numpy as np
import pytest

from orapo.errors import DataError
from orapo.evaluation.resampling import Bootstrap
from orapo.evaluation.text_measures import OVERLAP, cost_measures, overlap_measures
from orapo.measures.cider import cider_d


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("text measures must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def made_up(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    words = ["heart", "lung", "is", "clear", "the", "large", "small", "left", "no", "edema"]
    return [" ".join(draw.choice(words) for _ in range(draw.randint(3, 15))) for _ in range(count)]


def test_rouge_by_hand() -> None:
    # "heart is big" and "the heart is enlarged": 2 of 3 and 4 words, 1 of 2 and 3 pairs, a subsequence of 2 words.
    values = overlap_measures(["heart is big"], ["the heart is enlarged"]).values()
    assert values["rouge_1"] == pytest.approx(2 * 2 / 7)
    assert values["rouge_2"] == pytest.approx(2 * 1 / 5)
    assert values["rouge_l"] == pytest.approx(2 * 2 / 7)
    assert values["bleu_4"] == 0


def test_chrf_by_hand() -> None:
    # "abc" against "abd": 2 of 3 letters, 1 of 2 pairs, 0 of 1 triple: F 2/3, 1/2, 0, and 0 for longer runs.
    assert overlap_measures(["abc"], ["abd"]).values()["chrf"] == pytest.approx((2 / 3 + 1 / 2) / 6)


def test_cider_d_by_hand() -> None:
    # Two oracle reports: an n-gram in one of them weighs ln 2, one in both ("clear") nothing. The first report repeats
    # its oracle: all four similarities are 1. The second shares "lungs" of two words with its oracle of two.
    scores = cider_d(
        [["big", "left", "heart", "and"], ["lungs", "lungs"]], [["big", "left", "heart", "and"], ["lungs", "clear"]]
    )
    assert scores[0] == pytest.approx(10.0)
    # One-grams: ours (2 ln 2) clipped to ln 2, theirs "lungs" ln 2 and "clear" ln 2: 1 * 1 / (2 * sqrt 2); pairs: 0.
    assert scores[1] == pytest.approx(10 * (1 / (2 * math.sqrt(2))) / 4)


def test_cider_d_punishes_another_length_and_ignores_what_all_say() -> None:
    oracle = [["small", "edema"], ["clear"]]
    longer = cider_d([["small", "edema", "x", "y", "z"], ["clear"]], oracle)[0]
    ln2 = math.log(2)
    ones = 2 * ln2**2 / (math.sqrt(5 * ln2**2) * math.sqrt(2 * ln2**2))
    pairs = ln2**2 / (math.sqrt(4 * ln2**2) * ln2)
    assert longer == pytest.approx(10 * math.exp(-9 / 72) * (ones + pairs) / 4)
    assert cider_d([["clear"], ["clear"]], [["clear"], ["clear"]]) == [0.0, 0.0]


def test_against_torchmetrics() -> None:
    from torchmetrics.functional.text import bleu_score, chrf_score
    from torchmetrics.functional.text.rouge import rouge_score

    ours = made_up(25, 0)
    # Every other one is close, so that there are runs of four equal words.
    theirs = [
        f"{report} today" if i % 2 else other
        for i, (report, other) in enumerate(zip(ours, made_up(25, 1), strict=True))
    ]
    measures = overlap_measures(ours, theirs)
    # What the resamples are made of, without the values that torchmetrics stated.
    own = {name: values[0] for name, values in measures.from_sums(measures.columns.sum(axis=0)[None]).items()}
    rouge = rouge_score(ours, theirs, rouge_keys=("rouge1", "rouge2", "rougeL"), normalizer=str, tokenizer=str.split)
    assert own["rouge_1"] == pytest.approx(float(rouge["rouge1_fmeasure"]), abs=1e-6)
    assert own["rouge_2"] == pytest.approx(float(rouge["rouge2_fmeasure"]), abs=1e-6)
    assert own["rouge_l"] == pytest.approx(float(rouge["rougeL_fmeasure"]), abs=1e-6)
    nested = [[report] for report in theirs]
    assert own["bleu_4"] == pytest.approx(float(bleu_score(ours, nested)), abs=1e-6)
    assert own["bleu_4"] > 0
    assert own["chrf"] == pytest.approx(float(chrf_score(ours, nested, n_word_order=0)), abs=1e-6)
    assert measures.values() == pytest.approx(own, abs=1e-6)
    assert tuple(own) == OVERLAP


def test_studies_without_an_oracle_report_do_not_count() -> None:
    ours, theirs = made_up(6, 4), made_up(6, 5)
    some = overlap_measures([*ours[:3], "heart", *ours[3:]], [*theirs[:3], " ", *theirs[3:]])
    assert some.values() == overlap_measures(ours, theirs).values()
    assert len(some.columns) == 7
    with pytest.raises(DataError, match="none of the 2 studies"):
        overlap_measures(["a", "b"], ["", " "])


def test_resampling_gives_what_scoring_the_drawn_studies_gives() -> None:
    ours, theirs = made_up(9, 6), made_up(9, 7)
    drawn = np.random.default_rng(0).integers(0, 9, 9)
    measures = overlap_measures(ours, theirs)
    resampled = measures.from_sums((np.bincount(drawn, minlength=9) * 1.0)[None] @ measures.columns)
    again = overlap_measures([ours[i] for i in drawn], [theirs[i] for i in drawn]).values()
    for name in ("rouge_1", "rouge_2", "rouge_l", "bleu_4", "chrf"):  # CIDEr-D keeps the weights of the whole set
        assert resampled[name][0] == pytest.approx(again[name], abs=1e-6), name
    found = Bootstrap(200).estimates(measures)
    assert all(estimate.low <= estimate.value <= estimate.high for estimate in found.values())


def test_seconds_and_cost_are_per_image() -> None:
    values = cost_measures([1, 3], [0.5, 1.5], [0.02, 0.0]).values()
    assert values == {"seconds_per_image": 0.5, "cost_usd_per_image": 0.005}
    assert cost_measures([1, 1], [None, None], [0.1, None]).values() == {}
