"""Marginal means and their intervals, by hand on small grids."""

import math
from pathlib import Path

import numpy as np
import pytest
from tests.unit.comparison.run_folders import config

from orapo.comparison.effects import OVER_SEEDS, OVER_SETTINGS, SettingEffect, setting_effects
from orapo.comparison.groups import Group, group_runs
from orapo.comparison.pictures import band_of
from orapo.comparison.run_folder import Run, flat_settings
from orapo.comparison.run_state import RunState


def effects_of(scores: dict[tuple[float, float], list[float]]) -> dict[str, SettingEffect]:
    """Scores by (alpha, gamma), one per seed; the first group is the baseline."""
    runs = [
        Run(
            Path(f"{alpha}_{gamma}_{seed}"),
            RunState.FINISHED,
            settings=flat_settings(config(objective__alpha=alpha, objective__gamma=gamma, seed=seed)),
            scores={"macro_f1": value},
        )
        for (alpha, gamma), values in scores.items()
        for seed, value in enumerate(values)
    ]
    groups, swept = group_runs(runs)
    return {effect.name: effect for effect in setting_effects(groups, swept, groups[0], "macro_f1")}


GRID = {(0.3, 1.0): [0.1, 0.3], (0.3, 2.0): [0.5], (0.7, 1.0): [0.4, 0.6], (0.7, 2.0): [0.7]}


def test_each_combination_counts_once_however_many_seeds_it_has() -> None:
    found = effects_of(GRID)
    alpha, gamma = found["alpha"], found["gamma"]
    # alpha 0.3: (0.2 + 0.5) / 2; alpha 0.7: (0.5 + 0.7) / 2. The plain mean over runs would be 0.3 and 0.5667.
    assert [one.mean for one in alpha.effects] == pytest.approx([0.35, 0.6])
    assert [one.num_runs for one in alpha.effects] == [3, 3]
    assert alpha.effects[1].difference == pytest.approx(0.25)
    assert [one.is_reference for one in alpha.effects] == [True, False], "the baseline's own value"
    assert [one.mean for one in gamma.effects] == pytest.approx([0.35, 0.6])
    assert (alpha.is_matched, alpha.source) == (True, OVER_SEEDS)


def test_the_interval_over_seeds_is_that_of_the_pooled_scatter() -> None:
    alpha = effects_of(GRID)["alpha"]
    # Residuals +-0.1 in two cells, stretched by sqrt 2: variance 0.02. A marginal mean is the mean of a cell of two
    # runs and a cell of one: variance (0.02 / 2 + 0.02) / 4 = 0.0075; a difference of two: 0.015.
    one = alpha.effects[1]
    assert (one.high - one.low) / 2 == pytest.approx(1.96 * math.sqrt(0.0075), rel=0.3)
    assert (one.low + one.high) / 2 == pytest.approx(0.6, abs=0.02)
    assert (one.difference_high - one.difference_low) / 2 == pytest.approx(1.96 * math.sqrt(0.015), rel=0.2)


def test_many_seeds_give_the_normal_interval() -> None:
    generator = np.random.default_rng(5)
    scores = {(alpha, 1.0): list(0.5 + alpha / 10 + 0.1 * generator.standard_normal(40)) for alpha in (0.0, 1.0)}
    effect = effects_of(scores)["alpha"].effects[1]
    spread = math.sqrt(sum(np.var(values, ddof=1) for values in scores.values()) / 2 / 40)
    assert (effect.high - effect.low) / 2 == pytest.approx(1.96 * spread, rel=0.1)
    assert (effect.difference_high - effect.difference_low) / 2 == pytest.approx(1.96 * math.sqrt(2) * spread, rel=0.1)


def test_without_seeds_the_other_settings_are_resampled_together() -> None:
    alpha = effects_of({key: [values[0]] for key, values in GRID.items()})["alpha"]
    assert alpha.source == OVER_SETTINGS
    # Two combinations: differences 0.3 and 0.2; each resample is the mean of two of them.
    one = alpha.effects[1]
    assert (one.difference_low, one.difference_high) == pytest.approx((0.2, 0.3))
    assert one.difference == pytest.approx(0.25)


def test_one_run_a_value_has_no_interval() -> None:
    found = effects_of({(0.3, 1.0): [0.2], (0.7, 1.0): [0.4]})["alpha"]
    assert found.source == ""
    assert math.isnan(found.effects[1].low)
    assert found.effects[1].difference == pytest.approx(0.2)


def test_only_combinations_that_every_value_has_are_compared() -> None:
    # gamma 3 was tried with alpha 0.3 only, and is a bad one: it must not pull alpha 0.3 down.
    alpha = effects_of({**GRID, (0.3, 3.0): [0.0, 0.0]})["alpha"]
    assert alpha.is_matched
    assert [one.mean for one in alpha.effects] == pytest.approx([0.35, 0.6])


def test_a_comparison_that_mixes_says_so() -> None:
    found = effects_of({(0.3, 1.0): [0.2, 0.2], (0.7, 2.0): [0.4, 0.4], (0.9, 1.0): [0.3, 0.3]})["alpha"]
    assert not found.is_matched


def test_numbers_come_in_their_order_and_texts_as_found() -> None:
    found = effects_of({(0.7, 1.0): [0.1], (0.3, 1.0): [0.2], (10.0, 1.0): [0.3]})["alpha"]
    assert [one.value for one in found.effects] == [0.3, 0.7, 10.0]
    assert [one.is_reference for one in found.effects] == [False, True, False]


def test_band_over_seeds_by_hand() -> None:
    curves = [([1.0, 2.0], [0.1, 0.2]), ([1.0, 2.0, 3.0], [0.3, 0.6, 0.9])]
    runs = [
        Run(Path(str(place)), RunState.FINISHED, curves={"reward": (np.array(steps), np.array(values))})
        for place, (steps, values) in enumerate(curves)
    ]
    band = band_of(Group("g", tuple(runs)), "reward")
    assert band is not None
    assert band.steps.tolist() == [1, 2, 3]
    assert band.mean.tolist() == pytest.approx([0.2, 0.4, 0.9])
    assert band.sd[:2].tolist() == pytest.approx([math.sqrt(0.02), math.sqrt(0.08)])
    assert math.isnan(band.sd[2])
    assert band_of(Group("g", tuple(runs)), "mixing_weight") is None
