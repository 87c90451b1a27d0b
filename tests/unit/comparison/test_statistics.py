"""Hand-worked means, spreads and tests."""

import math

import numpy as np
import pytest

from orapo.comparison.statistics import (
    Spread,
    holm,
    incomplete_beta,
    interval,
    paired_t_test,
    two_sided_t,
    welch_t_test,
)


def test_mean_and_sd_over_seeds() -> None:
    # Mean (2 + 4 + 9) / 3 = 5; squares 9 + 1 + 16 = 26; SD sqrt(26 / 2).
    assert Spread.of([2.0, 4.0, 9.0]) == Spread(5.0, pytest.approx(math.sqrt(13.0)), 3)


def test_a_missing_value_does_not_count_and_one_value_has_no_spread() -> None:
    assert Spread.of([0.25, math.nan]) == Spread(0.25, pytest.approx(math.nan, nan_ok=True), 1)
    empty = Spread.of([math.nan])
    assert math.isnan(empty.mean)
    assert empty.n == 0


def test_t_distribution_at_closed_forms_and_the_table() -> None:
    # One degree of freedom: P = 1 - 2 atan(t) / pi; two: P = 1 - t / sqrt(2 + t^2).
    assert two_sided_t(1.0, 1) == pytest.approx(0.5, abs=1e-12)
    assert two_sided_t(3.0, 1) == pytest.approx(1 - 2 * math.atan(3.0) / math.pi, abs=1e-12)
    assert two_sided_t(2.0, 2) == pytest.approx(1 - 2 / math.sqrt(6), abs=1e-12)
    for t, degrees in ((12.706, 1), (4.3027, 2), (2.7764, 4), (2.2281, 10), (1.98397, 100)):
        assert two_sided_t(t, degrees) == pytest.approx(0.05, abs=2e-5)
    assert two_sided_t(0.0, 5) == 1.0
    assert two_sided_t(-2.0, 2) == two_sided_t(2.0, 2)


def test_incomplete_beta_is_a_distribution() -> None:
    # I_x(1, b) = 1 - (1 - x)^b, and I_x(a, b) = 1 - I_{1-x}(b, a).
    for x in (0.01, 0.3, 0.7, 0.99):
        assert incomplete_beta(1, 4, x) == pytest.approx(1 - (1 - x) ** 4, abs=1e-12)
        assert incomplete_beta(2.5, 0.5, x) == pytest.approx(1 - incomplete_beta(0.5, 2.5, 1 - x), abs=1e-12)
    assert (incomplete_beta(2, 3, 0.0), incomplete_beta(2, 3, 1.0)) == (0.0, 1.0)


def test_paired_t_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, SD 1, standard error 1 / sqrt 3, t = 2 sqrt 3 at 2 degrees: t^2 = 12, so
    # P = 1 - sqrt(12 / 14).
    test = paired_t_test([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert (test.difference, test.is_paired) == (2.0, True)
    assert test.p == pytest.approx(1 - math.sqrt(12 / 14), abs=1e-12)
    # The twin that forgets the pairs must come out otherwise.
    assert welch_t_test([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]).p > 0.15


def test_welch_by_hand() -> None:
    # Means 2 and 5, variances 1 and 1, n 3 each: standard error sqrt(2 / 3), degrees (2/3)^2 / (2 (1/3)^2 / 2) = 4.
    test = welch_t_test([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert (test.difference, test.is_paired) == (-3.0, False)
    t = 3 / math.sqrt(2 / 3)
    # Four degrees: P = 1 - s (3 - s^2) / 2 with s = t / sqrt(4 + t^2).
    s = t / math.sqrt(4 + t * t)
    assert test.p == pytest.approx(1 - s * (3 - s * s) / 2, abs=1e-12)


def test_without_spread_there_is_no_p() -> None:
    assert math.isnan(paired_t_test([0.3, 0.4], [0.1, 0.2]).p)
    assert math.isnan(welch_t_test([0.3, 0.3], [0.1, 0.1]).p)


def test_holm_steps_down_and_leaves_out_what_was_not_tested() -> None:
    # Sorted 0.01, 0.02, 0.04: times 3, 2, 1 gives 0.03, 0.04, 0.04.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([math.nan, 0.6, 0.9])[1:] == [1.0, 1.0]
    assert math.isnan(holm([math.nan, 0.6])[0])


def test_interval_is_the_central_95_percent() -> None:
    assert interval(np.arange(0.0, 1001.0)) == (25.0, 975.0)
