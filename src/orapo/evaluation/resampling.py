"""Uncertainty of a score over studies: percentile bootstrap.

A measure is a function of sums over studies (counts, or per-study values). Drawing studies with replacement only
changes how often each study counts, so that all resamples of all measures are one matrix product: [R, N] times [N, C].

A resample may lack a rare finding, whose ratios are then 0/0. That 0/0 counts as 0 is a convention for the studies as
they are; in a resample it would score the draw and not the system, and a system without a mistake would get an interval
below its own score. A ratio that the studies define is therefore left out of the resamples that don't define it, and an
average there is that of the other observations (``ratio_of_sums``, ``mean_of_defined``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt

from orapo.errors import DataError
from orapo.measures.ratios import ratio
from orapo.settings import settings

Array = NDArray[np.float64]

_BLOCK = 4_000_000
"""Draws held at a time: 32 MB."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score with its interval: ``low`` <= ``value`` <= ``high``."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """First system minus second, on the same studies.

    Attributes:
        value: of the studies as they are.
        low: end of the interval of the paired resamples, at most ``value``.
        high: the other end, at least ``value``.
        p_value: two-sided, in (0, 1]: how often a resampled difference lies as far from the observed one as that lies
            from 0.
    """

    value: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Measures:
    """The measures of one system on N studies, as sums over studies.

    Attributes:
        columns: [N, C], what each study adds.
        from_sums: column sums [R, C] to each measure's values [R], by name; row 0 is that of the studies as they are, a
            measure that a resample leaves undefined is NaN there.
        stated: values computed elsewhere that stand in place of ours (the same up to rounding), by name.
    """

    columns: Array
    from_sums: Callable[[Array], dict[str, Array]]
    stated: Mapping[str, float]

    def values(self) -> dict[str, float]:
        """Each measure over all studies, without resampling."""
        found = {name: float(values[0]) for name, values in self.from_sums(self.columns.sum(axis=0)[None]).items()}
        return {name: self.stated.get(name, value) for name, value in found.items()}


@dataclass(frozen=True)
class Draws:
    """The measures of one system under a ``Bootstrap``'s resamples.

    Attributes:
        num_studies: N.
        values: on the studies as they are.
        resampled: [R] of each measure.
    """

    num_studies: int
    values: Mapping[str, float]
    resampled: Mapping[str, Array]


@settings
class Bootstrap:
    """Resamples studies with replacement; equal seed and number of studies give equal resamples for every system.

    Attributes:
        num_resamples: R, at least 100.
        seed: of the draws, at least 0.
        confidence: of the intervals, in (0, 1).

    Raises:
        SettingError: a value out of range.
    """

    num_resamples: Annotated[int, Field(ge=100)] = 1000
    seed: NonNegativeInt = 0
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95

    def estimates(self, measures: Measures) -> dict[str, Estimate]:
        """Every measure with its interval."""
        values = measures.values()
        resampled = self._resampled(measures)
        return {name: Estimate(value, *self._interval(value, resampled[name])) for name, value in values.items()}

    def draw(self, measures: Measures) -> "Draws":
        """The measures' resamples, to compare with another system's."""
        return Draws(len(measures.columns), measures.values(), self._resampled(measures))

    def differences(self, first: "Measures | Draws", second: "Measures | Draws") -> dict[str, Difference]:
        """Paired differences of the measures that both systems have; both see the same draws of studies.

        Raises:
            DataError: the systems were measured on different numbers of studies.
        """
        ours, theirs = (one if isinstance(one, Draws) else self.draw(one) for one in (first, second))
        if ours.num_studies != theirs.num_studies:
            raise DataError(
                f"a paired test needs the same studies, got {ours.num_studies} and {theirs.num_studies} of them"
            )
        return {
            name: self._difference(value - theirs.values[name], ours.resampled[name] - theirs.resampled[name])
            for name, value in ours.values.items()
            if name in theirs.values
        }

    def _difference(self, value: float, draws: Array) -> Difference:
        draws = draws[~np.isnan(draws)]
        # Shifted to the null hypothesis; rounding must not make a draw that equals the observed value smaller.
        extreme = int(np.sum(np.abs(draws - value) >= abs(value) - 1e-12))
        return Difference(value, *self._interval(value, draws), p_value=(1 + extreme) / (1 + len(draws)))

    def _interval(self, value: float, draws: Array) -> tuple[float, float]:
        """The percentiles, moved out to ``value`` where bias or rounding of the draws would leave it outside."""
        tail = (1 - self.confidence) / 2
        defined = draws[~np.isnan(draws)]
        low, high = np.quantile(defined, [tail, 1 - tail]).tolist() if len(defined) else (value, value)
        return min(low, value), max(high, value)

    def _resampled(self, measures: Measures) -> dict[str, Array]:
        drawn = [weights @ measures.columns for weights in self._weights(len(measures.columns))]
        found = measures.from_sums(np.concatenate([measures.columns.sum(axis=0)[None], *drawn]))
        return {name: values[1:] for name, values in found.items()}

    def _weights(self, num_studies: int) -> Iterator[Array]:
        """Blocks [r, N]: how often each study was drawn; each row adds up to N."""
        generator = np.random.default_rng(self.seed)
        rows_at_once = max(1, _BLOCK // num_studies)
        for first in range(0, self.num_resamples, rows_at_once):
            rows = min(rows_at_once, self.num_resamples - first)
            drawn = generator.integers(0, num_studies, size=(rows, num_studies))
            drawn += np.arange(rows)[:, None] * num_studies
            counts = np.bincount(drawn.ravel(), minlength=rows * num_studies)
            yield counts.reshape(rows, num_studies).astype(np.float64)


def ratio_of_sums(numerator: Array, denominator: Array) -> Array:
    """Quotients [R, ...] of column sums whose row 0 is that of the studies as they are.

    Where its denominator is 0 there, a quotient is 0 in every row (``ratio``); where it is 0 in a resample only, NaN.
    """
    undefined = denominator == 0
    return np.where(undefined & ~undefined[:1], np.nan, ratio(numerator, denominator))


def mean_of_defined(values: Array) -> Array:
    """Means over the last axis of what isn't NaN; NaN where all is."""
    # Contiguous rows: without NaN the mean is then the same to the last bit as that of numpy's mean.
    is_defined = np.ascontiguousarray(~np.isnan(values))
    total = np.where(is_defined, np.ascontiguousarray(values), 0.0).sum(axis=-1)
    count = is_defined.sum(axis=-1)
    return np.where(count == 0, np.nan, total / np.maximum(count, 1))


def renamed(measures: Measures, names: Mapping[str, str]) -> Measures:
    """The measures whose names are values of ``names``, under its keys."""

    def from_sums(sums: Array) -> dict[str, Array]:
        found = measures.from_sums(sums)
        return {name: found[own] for name, own in names.items()}

    stated = {name: measures.stated[own] for name, own in names.items() if own in measures.stated}
    return Measures(measures.columns, from_sums, stated)


def mean_of(runs: Sequence[Measures]) -> Measures:
    """The mean over several systems on the same studies, of each measure that all of them have."""

    def from_sums(sums: Array) -> dict[str, Array]:
        found = _of_each(runs, sums)
        common = [name for name in found[0] if all(name in one for one in found)]
        return {name: mean_of_defined(np.stack([one[name] for one in found], axis=1)) for name in common}

    stated = {}
    for name in runs[0].stated:
        if all(name in run.stated for run in runs):
            stated[name] = sum(run.stated[name] for run in runs) / len(runs)
    return Measures(np.concatenate([run.columns for run in runs], axis=1), from_sums, stated)


def joined(*parts: Measures) -> Measures:
    """Joins measures of the same studies."""

    def from_sums(sums: Array) -> dict[str, Array]:
        return {name: values for found in _of_each(parts, sums) for name, values in found.items()}

    stated = {name: value for part in parts for name, value in part.stated.items()}
    return Measures(np.concatenate([part.columns for part in parts], axis=1), from_sums, stated)


def _of_each(parts: Sequence[Measures], sums: Array) -> list[dict[str, Array]]:
    """The values of measures whose columns stand side by side in ``sums``."""
    widths = np.cumsum([0, *(part.columns.shape[1] for part in parts)]).tolist()
    return [part.from_sums(sums[:, first:last]) for part, (first, last) in zip(parts, pairwise(widths), strict=True)]
