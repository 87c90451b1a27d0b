"""Intervals of real measures hold their value, also where resamples lack a finding."""

import numpy as np
import pytest
from benchmarks.intervals import MACRO_F1, coverage, label_states, measured
from hypothesis import given, settings
from hypothesis import strategies as st

from orapo.chexpert import OBSERVATIONS
from orapo.evaluation.mark_measures import mark_measures
from orapo.evaluation.report_pairs import ReportPair
from orapo.evaluation.resampling import Array, Bootstrap, Measures, joined, mean_of_defined, ratio_of_sums
from orapo.evaluation.text_measures import length_measures, overlap_measures


def test_a_system_without_a_mistake_has_an_interval_that_ends_at_one() -> None:
    one_each = np.eye(14, dtype=np.bool_)
    estimate = Bootstrap().estimates(measured(one_each, one_each))[MACRO_F1]
    assert (estimate.value, estimate.low, estimate.high) == (1, 1, 1)


def test_a_finding_that_no_study_has_and_no_report_calls_stays_a_zero() -> None:
    nine = np.eye(14, dtype=np.bool_)
    nine[:, 9:] = False
    estimate = Bootstrap().estimates(measured(nine, nine))[MACRO_F1]
    assert estimate.value == 9 / 14
    assert estimate.high < 1


def test_what_a_resample_does_not_define_is_left_out_of_it() -> None:
    # Row 0 is that of the studies: the first ratio is defined there, the second isn't, the third is everywhere.
    hits, all_of = np.array([[1.0, 0, 1], [0, 0, 2]]), np.array([[2.0, 0, 2], [0, 0, 2]])
    ratios = ratio_of_sums(hits, all_of)
    np.testing.assert_array_equal(ratios, [[0.5, 0, 0.5], [np.nan, 0, 1]])
    np.testing.assert_array_equal(mean_of_defined(ratios), [1 / 3, 0.5])
    assert np.isnan(mean_of_defined(np.array([[np.nan, np.nan]]))).all()


REPORTS = st.sampled_from(["", "N/A", "no edema", "small left effusion today", "the heart is large and clear"])
STUDIES = st.lists(st.tuples(REPORTS, REPORTS, REPORTS, st.booleans()), min_size=1, max_size=8)


@pytest.mark.slow
@settings(max_examples=40)
@given(STUDIES, st.integers(0, 2**32 - 1), st.floats(0.0, 0.6), st.sampled_from([0.3, 0.95]))
def test_every_interval_holds_its_value(
    studies: list[tuple[str, str, str, bool]], seed: int, rate: float, confidence: float
) -> None:
    generator = np.random.default_rng(seed)
    true, *called = generator.random((3, len(studies), 14)) < rate
    bootstrap = Bootstrap(100, seed % 100, confidence)
    systems = [measures_of(studies, place, called[place], true) for place in range(2)]
    for system in systems:
        for name, estimate in bootstrap.estimates(system).items():
            assert estimate.low <= estimate.value <= estimate.high, name
    for name, difference in bootstrap.differences(*systems).items():
        assert difference.low <= difference.value <= difference.high, name
        assert 0 < difference.p_value <= 1, name


def measures_of(studies: list[tuple[str, str, str, bool]], place: int, called: Array, true: Array) -> Measures:
    generated, oracle = [study[place] for study in studies], [study[2] for study in studies]
    pairs = [
        ReportPair(
            str(number), oracle[number], generated[number], *label_states(np.array([true[number], called[number]]))
        )
        for number in range(len(studies))
    ]
    parts = [measured(called, true), length_measures(generated)]
    parts.append(mark_measures(pairs, [study[3] for study in studies], OBSERVATIONS[8]))
    if any(text.replace("N/A", "") for text in oracle):
        parts.append(overlap_measures(generated, oracle))
    return joined(*parts)


@pytest.mark.slow
def test_intervals_of_macro_f1_hold_the_truth_about_as_often_as_they_say() -> None:
    held, width = coverage(num_studies=400, num_trials=100, num_resamples=200)
    # 95 % with two standard errors of 2.2 %, and the percentile bootstrap's bias with findings of 16 to 32 studies.
    assert 0.86 <= held <= 1
    assert width < 0.1


@pytest.mark.slow
def test_p_of_macro_f1_is_uniform_between_equal_systems() -> None:
    generator = np.random.default_rng(2)
    found = []
    for trial in range(120):
        true = generator.random((60, 14)) < 0.08
        called = [true ^ (generator.random(true.shape) < 0.05) for _ in range(2)]
        systems = [measured(each, true) for each in called]
        found.append(Bootstrap(200, seed=trial).differences(*systems)[MACRO_F1].p_value)
    # Kolmogorov-Smirnov distance: 0.149 is the 1 % critical value for 120.
    assert np.max(np.abs(np.sort(found) - np.arange(1, 121) / 120)) < 0.149
