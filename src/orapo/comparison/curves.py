"""Curves of a group: mean over its runs at each step, and the band of one standard deviation over seeds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orapo.comparison.groups import Group
from orapo.comparison.run_folder import BESIDE_REWARD, TRAINING_KEYS, Curve
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
    """

    steps: Floats
    mean: Floats
    sd: Floats

    def thinned(self, most_points: int) -> "Band":
        """The same through at most so many of its steps, evenly spread."""
        last = len(self.steps) - 1
        kept = np.unique(np.linspace(0, last, min(most_points, last + 1)).round().astype(int))
        return Band(self.steps[kept], self.mean[kept], self.sd[kept])


def band_of(group: Group, key: str) -> Band | None:
    """The band of a curve of the group's runs, one of training smoothed first; None where no run has a value."""
    found = [run.curves[key] for run in group.runs if key in run.curves and len(run.curves[key][0])]
    if not found:
        return None
    curves = [_smoothed(curve) for curve in found] if key in (*TRAINING_KEYS, *BESIDE_REWARD) else found
    steps = np.unique(np.concatenate([steps for steps, _ in curves]))
    table = np.full((len(curves), len(steps)), np.nan)
    for row, (own_steps, values) in zip(table, curves, strict=True):
        row[np.searchsorted(steps, own_steps)] = values
    num_runs = np.sum(~np.isnan(table), axis=0)
    mean = np.nansum(table, axis=0) / num_runs
    squares = np.nansum((table - mean) ** 2, axis=0)
    sd = np.where(num_runs > 1, np.sqrt(squares / np.maximum(1, num_runs - 1)), np.nan)
    return Band(steps, mean, sd).thinned(MAX_POINTS)


def _smoothed(curve: Curve) -> Curve:
    steps, values = curve
    window = max(1, len(values) // WINDOWS_PER_CURVE)
    return steps, running_mean(values, window) if window > 1 else values
