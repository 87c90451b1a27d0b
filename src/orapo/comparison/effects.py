"""The effect of each swept setting: marginal means over the other settings, with intervals."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orapo.comparison.groups import Group, score
from orapo.comparison.statistics import interval
from orapo.comparison.swept import shown_value

NUM_RESAMPLES = 1000
SEED = 0
OVER_SEEDS = "seeds"
OVER_SETTINGS = "settings"

Cells = dict[tuple[str, ...], dict[str, list[float]]]
"""Values of the other settings, to value of this setting, to the scores of its runs."""


@dataclass(frozen=True, slots=True)
class Effect:
    """The marginal mean of one value of a setting.

    Attributes:
        value: of the setting.
        is_reference: whether it is the baseline's value, which differences are taken from.
        num_runs: that the mean rests on.
        mean: of the means over seeds, with equal weight for each combination of the other settings.
        low: of the 95 % interval of ``mean``; NaN where there is nothing to resample.
        high: the other end.
        difference: ``mean`` minus that of the setting's reference value.
        difference_low: of the 95 % interval of ``difference``.
        difference_high: the other end.
    """

    value: Any
    is_reference: bool
    num_runs: int
    mean: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float


@dataclass(frozen=True)
class SettingEffect:
    """All values of one swept setting.

    Attributes:
        name: of the setting.
        score: the score whose means these are.
        effects: numbers in their order, texts in the order found.
        is_matched: every value was tried with the same combinations of the other settings; otherwise a difference also
            holds what those do.
        source: what was resampled: ``OVER_SEEDS``, ``OVER_SETTINGS``, or "" for nothing.
    """

    name: str
    score: str
    effects: tuple[Effect, ...]
    is_matched: bool
    source: str


def setting_effects(
    groups: Sequence[Group], swept: Sequence[str], baseline: Group, key: str
) -> tuple[SettingEffect, ...]:
    """The effect of every swept setting on one score, over the runs that have it."""
    found = []
    for name in swept:
        cells, values = _cells(groups, name, key)
        if len(values) > 1:
            found.append(_effect(name, key, cells, values, baseline.values.get(name)))
    return tuple(found)


def _cells(groups: Sequence[Group], name: str, key: str) -> tuple[Cells, dict[str, Any]]:
    cells: Cells = {}
    values: dict[str, Any] = {}
    for group in groups:
        scores = [value for run in group.runs if not math.isnan(value := score(run, key))]
        if name in group.values and scores:
            value = group.values[name]
            others = tuple(shown_value(v) for other, v in group.values.items() if other != name)
            cells.setdefault(others, {}).setdefault(shown_value(value), []).extend(scores)
            values[shown_value(value)] = value
    if are_numbers(values.values()):
        values = dict(sorted(values.items(), key=lambda item: float(item[1])))
    return cells, values


def are_numbers(values: Iterable[Any]) -> bool:
    """Whether the values of a setting have an order."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _effect(name: str, key: str, cells: Cells, values: dict[str, Any], baseline_value: Any) -> SettingEffect:
    matched = [cell for cell in cells.values() if len(cell) == len(values)]
    used = matched or list(cells.values())
    shown = list(values)
    source, means, draws = _draws(used, shown, bool(matched))
    reference = shown.index(shown_value(baseline_value)) if shown_value(baseline_value) in shown else 0
    effects = [
        Effect(
            values[text],
            place == reference,
            sum(len(cell.get(text, ())) for cell in used),
            float(means[place]),
            *interval(draws[:, place]),
            float(means[place] - means[reference]),
            *interval(draws[:, place] - draws[:, reference]),
        )
        for place, text in enumerate(shown)
    ]
    return SettingEffect(name, key, tuple(effects), bool(matched), source)


def _draws(
    cells: Sequence[dict[str, list[float]]], shown: Sequence[str], is_matched: bool
) -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """What is resampled, marginal means [V] and their resamples [R, V]; R is 0 where there is nothing to resample."""
    table = np.array([[np.mean(cell[text]) if text in cell else np.nan for text in shown] for cell in cells])
    means = np.nanmean(table, axis=0)
    generator = np.random.default_rng(SEED)
    over_seeds = [scores for cell in cells for scores in cell.values() if len(scores) > 1]
    if over_seeds:
        # Two or three seeds of one cell say too little about the spread; all cells together say enough if their spreads
        # are similar. Scaled so that the residuals' variance is unbiased.
        residuals = np.concatenate(
            [(np.array(own) - np.mean(own)) * math.sqrt(len(own) / (len(own) - 1)) for own in over_seeds]
        )
        noise = [_marginal_noise(cells, text, residuals, generator) for text in shown]
        return OVER_SEEDS, means, means + np.stack(noise, axis=1)
    if is_matched and len(cells) > 1:
        # The same combinations of the other settings for every value: differences stay paired.
        drawn = generator.integers(0, len(table), size=(NUM_RESAMPLES, len(table)))
        return OVER_SETTINGS, means, table[drawn].mean(axis=1)
    return "", means, np.empty((0, len(shown)))


def _marginal_noise(
    cells: Sequence[dict[str, list[float]]], text: str, residuals: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.float64]:
    """[R]: how far the mean over cells moves when each of its runs gets another seed's residual."""
    sizes = [len(cell[text]) for cell in cells if text in cell]
    moved = [generator.choice(residuals, size=(NUM_RESAMPLES, size)).mean(axis=1) for size in sizes]
    return np.asarray(np.mean(moved, axis=0), dtype=np.float64)
