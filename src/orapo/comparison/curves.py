"""Curves of a group: mean over its runs at each step, and the band of one standard deviation over seeds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orapo.comparison.groups import Group
from orapo.comparison.run_folder import Curve
from orapo.evaluation.figures import WINDOWS_PER_CURVE, running_mean

Floats = NDArray[np.float64]

MAX_POINTS = 400
"""The most steps that a curve is drawn through."""


@dataclass(frozen=True)
class Band:
    """One curve with its band.

    Attributes:
        steps: [n], rising.
        mean: [n], over the runs that have the step.
        sd: [n], over the same runs; NaN where fewer than two have it.
        num_runs: [n], how many have it.
    """

    steps: Floats
    mean: Floats
    sd: Floats
    num_runs: NDArray[np.int64]


def training_band(group: Group, key: str) -> Band | None:
    """The band of a quantity of every training step, each run smoothed first; None where no run has a value."""
    return _band([_smoothed(run.training[key]) for run in group.runs if key in run.training])


def validation_band(group: Group, key: str) -> Band | None:
    """The band of ``key`` over the group's validations; None where no run has a value."""
    return _band([run.validation[key] for run in group.runs if key in run.validation])


def _smoothed(curve: Curve) -> Curve:
    steps, values = curve
    window = max(1, len(values) // WINDOWS_PER_CURVE)
    return steps, running_mean(values, window) if window > 1 else values


def _band(curves: list[Curve]) -> Band | None:
    curves = [curve for curve in curves if len(curve[0])]
    if not curves:
        return None
    steps = np.unique(np.concatenate([steps for steps, _ in curves]))
    table = np.full((len(curves), len(steps)), np.nan)
    for row, (own_steps, values) in zip(table, curves, strict=True):
        row[np.searchsorted(steps, own_steps)] = values
    num_runs = np.sum(~np.isnan(table), axis=0)
    mean = np.nansum(table, axis=0) / num_runs
    squares = np.nansum((table - mean) ** 2, axis=0)
    sd = np.where(num_runs > 1, np.sqrt(squares / np.maximum(1, num_runs - 1)), np.nan)
    kept = np.unique(np.linspace(0, len(steps) - 1, min(MAX_POINTS, len(steps))).round().astype(int))
    return Band(steps[kept], mean[kept], sd[kept], num_runs[kept])
