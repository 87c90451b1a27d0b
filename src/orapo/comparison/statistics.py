"""Means, spreads, tests and bootstrap summaries: plain numbers in, plain numbers out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, standard deviation (n - 1 in the denominator; NaN for one value) and number of values."""

    mean: float
    sd: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of finite values; a NaN mean without any."""
        finite = [value for value in values if not math.isnan(value)]
        n = len(finite)
        mean = math.fsum(finite) / n if n else math.nan
        sd = math.sqrt(math.fsum((value - mean) ** 2 for value in finite) / (n - 1)) if n > 1 else math.nan
        return cls(mean, sd, n)


@dataclass(frozen=True, slots=True)
class TTest:
    """A two-sided t test; NaN where there is no spread to test against.

    Attributes:
        difference: of the means, first minus second.
        p: two-sided, in [0, 1].
        is_paired: over seeds that both sides share, rather than Welch's test of two samples.
    """

    difference: float
    p: float
    is_paired: bool


def paired_t_test(first: Sequence[float], second: Sequence[float]) -> TTest:
    """Student's test of the mean difference of n >= 2 pairs."""
    differences = [a - b for a, b in zip(first, second, strict=True)]
    spread = Spread.of(differences)
    return TTest(spread.mean, _p_value(spread.mean, spread.sd / math.sqrt(spread.n), spread.n - 1), is_paired=True)


def welch_t_test(first: Sequence[float], second: Sequence[float]) -> TTest:
    """Welch's test of two means, unequal variances; at least 2 values on each side."""
    a, b = Spread.of(first), Spread.of(second)
    variances = [a.sd**2 / a.n, b.sd**2 / b.n]
    total = sum(variances)
    parts = variances[0] ** 2 / (a.n - 1) + variances[1] ** 2 / (b.n - 1)
    degrees = total**2 / parts if parts > 0 else math.nan
    return TTest(a.mean - b.mean, _p_value(a.mean - b.mean, math.sqrt(total), degrees), is_paired=False)


def _p_value(difference: float, standard_error: float, degrees: float) -> float:
    # Differences of rounded numbers leave a spread of a few ulps where there is none.
    return two_sided_t(difference / standard_error, degrees) if standard_error > 1e-12 else math.nan


def two_sided_t(t: float, degrees: float) -> float:
    """P(|T| >= |t|) of Student's distribution, by the regularised incomplete beta function."""
    return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


def incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b) for x in [0, 1], by its continued fraction (DLMF 8.17.22) on the side where it converges fast."""
    if x <= 0.0 or x >= 1.0:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):
        return 1.0 - incomplete_beta(b, a, 1.0 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    fraction = 1.0
    # Evaluated backwards from far enough out: no special cases for vanishing denominators.
    for m in range(200, 0, -1):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        fraction = 1.0 + even / (1.0 + odd / fraction)
    first = -(a + b) * x / (a + 1)
    return math.exp(log_front) / a / (1.0 + first / fraction)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of m tests; NaN stays NaN and does not count."""
    tested = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * p))
        adjusted[index] = highest
    return adjusted


def interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    """The central 95 % of the draws [R]; NaN without any."""
    low, high = np.percentile(draws, [2.5, 97.5]).tolist() if len(draws) else (math.nan, math.nan)
    return low, high
