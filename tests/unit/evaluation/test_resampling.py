"""The bootstrap: intervals that hold the truth as often as they say, and a paired test that is fair under the null."""

import time

import numpy as np
import pytest

from orapo.errors import DataError, SettingError
from orapo.evaluation.resampling import Array, Bootstrap, Measures, joined


def mean_of(values: Array, name: str = "mean") -> Measures:
    columns = np.stack([values, np.ones_like(values)], axis=1)
    return Measures(columns, lambda sums: {name: sums[:, 0] / sums[:, 1]}, {})


def test_an_estimate_by_hand() -> None:
    # Two studies with 0 and 1: resampled means are 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
    estimate = Bootstrap(num_resamples=2000).estimates(mean_of(np.array([0.0, 1.0])))["mean"]
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0.0, 1.0)
    narrow = Bootstrap(num_resamples=2000, confidence=0.4).estimates(mean_of(np.array([0.0, 1.0])))["mean"]
    assert (narrow.low, narrow.high) == (0.5, 0.5)


def test_a_constant_has_no_width_and_a_stated_value_stands_within_its_interval() -> None:
    measures = mean_of(np.full(30, 0.25))
    estimate = Bootstrap().estimates(Measures(measures.columns, measures.from_sums, {"mean": 0.26}))["mean"]
    assert (estimate.value, estimate.low, estimate.high) == (0.26, 0.25, 0.26)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for trial in range(300):
        found = Bootstrap(400, seed=trial).estimates(mean_of(generator.random(80)))["mean"]
        held += found.low <= 0.5 <= found.high
    # 95 % of 300 with two standard errors of 1.3 %, and the percentile bootstrap's slight under-coverage.
    assert 0.91 <= held / 300 <= 0.98


def test_the_same_seed_gives_the_same_draws_and_another_seed_others() -> None:
    values = np.random.default_rng(1).random(50)
    first = Bootstrap(seed=3).estimates(mean_of(values))
    assert first == Bootstrap(seed=3).estimates(mean_of(values))
    assert first != Bootstrap(seed=4).estimates(mean_of(values))


def test_blocks_give_the_same_as_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    measures = mean_of(np.random.default_rng(1).random(50))
    whole = Bootstrap(seed=3).estimates(measures)
    monkeypatch.setattr("orapo.evaluation.resampling._BLOCK", 50 * 7)
    parts = Bootstrap(seed=3).estimates(measures)["mean"]
    assert (parts.low, parts.high) == pytest.approx((whole["mean"].low, whole["mean"].high), rel=1e-12)


def test_the_paired_test_is_symmetric_and_pairs() -> None:
    generator = np.random.default_rng(2)
    first = generator.random(60)
    second = first + generator.normal(0.02, 0.05, 60)
    there = Bootstrap().differences(mean_of(first), mean_of(second))["mean"]
    back = Bootstrap().differences(mean_of(second), mean_of(first))["mean"]
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert there.p_value == back.p_value
    # Unpaired, 60 uniform draws have a standard error of 0.05: only pairing makes the interval this narrow.
    assert there.high - there.low < 0.04


def test_equal_systems_have_p_one_and_opposite_ones_the_smallest() -> None:
    values = np.random.default_rng(3).random(40)
    same = Bootstrap(200).differences(mean_of(values), mean_of(values))["mean"]
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    noisy = values + 1 + np.random.default_rng(4).normal(0, 0.1, 40)
    assert Bootstrap(200).differences(mean_of(noisy), mean_of(values))["mean"].p_value == 1 / 201


def test_p_is_uniform_under_the_null() -> None:
    generator = np.random.default_rng(5)
    found = []
    for trial in range(300):
        shared = generator.random(60)
        pair = [mean_of(shared + generator.normal(0, 0.3, 60)) for _ in range(2)]
        found.append(Bootstrap(300, seed=trial).differences(*pair)["mean"].p_value)
    # Kolmogorov-Smirnov distance: 0.094 is the 1 % critical value for 300.
    ordered = np.sort(found)
    assert np.max(np.abs(ordered - np.arange(1, 301) / 300)) < 0.094


def test_different_studies_and_bad_settings_are_refused() -> None:
    with pytest.raises(DataError, match="3 and 2"):
        Bootstrap().differences(mean_of(np.ones(3)), mean_of(np.ones(2)))
    for wrong in ({"num_resamples": 10}, {"confidence": 1.0}, {"seed": -1}):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            Bootstrap(**wrong)  # type: ignore[arg-type]


def test_joined_measures_keep_their_columns() -> None:
    generator = np.random.default_rng(6)
    first, second = mean_of(generator.random(20), "a"), mean_of(generator.random(20), "b")
    both = Bootstrap().estimates(joined(first, second))
    assert both == Bootstrap().estimates(first) | Bootstrap().estimates(second)


def test_a_thousand_resamples_of_a_thousand_studies_take_under_a_second() -> None:
    columns = np.random.default_rng(7).integers(0, 2, (1000, 140)).astype(np.float64)
    measures = Measures(columns, lambda sums: {"first": sums[:, 0]}, {})
    began = time.process_time()
    Bootstrap(1000).estimates(measures)
    assert time.process_time() - began < 1.0
