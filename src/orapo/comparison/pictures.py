"""Pictures of many runs: curves with bands over seeds, and the effects of swept settings."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orapo.chexpert import OBSERVATIONS
from orapo.comparison.compare import Comparison
from orapo.comparison.effects import SettingEffect, are_numbers
from orapo.comparison.groups import Group
from orapo.comparison.run_folder import BESIDE_REWARD, OBSERVATION_KEYS, TRAINING_KEYS, Curve
from orapo.comparison.scores import SCORES
from orapo.comparison.swept import shown_value
from orapo.comparison.tables import counted
from orapo.evaluation.figures import GREY, INK, WINDOWS_PER_CURVE, dress, new_figure, running_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette without yellow, too light for a line on white, and orange, too near to vermillion; black is
# the baseline's.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#6B6B6B")
BASELINE_COLOUR = "#000000"
# Lines differ in dash as well: colours alone don't survive a grey print.
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)), (0, (3, 3)), (0, (8, 2)))
LABEL_WIDTH = 64
PANELS = (
    ("reward", "Reward of the rollouts", "mean reward (0 to 1)"),
    ("zero_reward_rate", "Zero-reward rate", "fraction of rollouts (0 to 1)"),
    ("mixing_weight", "Mixing weight w of the oracle term", "mean weight (0 to 1)"),
    ("macro_f1", "Validation macro F1", "mean F1 of 14 observations"),
)
MAX_EFFECT_LABEL = 26
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

    steps: NDArray[np.float64]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]

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


def comparison_pictures(comparison: Comparison) -> dict[str, "Figure"]:
    """Curves of the baseline and the first groups, and the effects of the swept settings, by the names of their files.

    A picture that would be empty is left out.
    """
    pictures = {}
    groups = drawn_groups(comparison.groups, comparison.baseline)
    if groups:
        pictures["curves"] = curves_figure(groups, comparison.baseline)
    if any(key in run.curves for group in groups for run in group.runs for key in OBSERVATION_KEYS):
        pictures["observations"] = observations_figure(groups, comparison.baseline)
    if comparison.effects:
        pictures["effects"] = effects_figure(comparison.effects)
    return pictures


def drawn_groups(groups: Sequence[Group], baseline: Group) -> tuple[Group, ...]:
    """The baseline and the first others that have curves, as many as can be told apart."""
    others = [group for group in groups if group is not baseline and _has_curves(group)]
    return ((baseline,) if _has_curves(baseline) else ()) + tuple(others[: len(COLOURS)])


def _has_curves(group: Group) -> bool:
    return any(len(steps) for run in group.runs for steps, _ in run.curves.values())


def curves_figure(groups: Sequence[Group], baseline: Group) -> "Figure":
    """Four panels over the training step, one line and band a group; the groups are those of ``drawn_groups``."""
    note = (
        f"Line: mean over a group's runs (training curves: running mean over 1/{WINDOWS_PER_CURVE} of a run). "
        "Band: ±1 SD over runs, where at least two have the step.\n"
        "Thin dotted line with crosses: the control with shuffled images, at each validation. "
        "The axis of the mixing weight need not start at 0."
    )
    return _panels_figure(groups, baseline, PANELS, columns=2, panel_size=(5.0, 3.45), note=note)


def observations_figure(groups: Sequence[Group], baseline: Group) -> "Figure":
    """A panel for each of the 14 observations: its F1 at each validation, one line and band a group."""
    panels = [(f"{observation.value}/f1", observation.value, "validation F1") for observation in OBSERVATIONS]
    note = (
        "Line: mean over a group's runs. Band: ±1 SD over runs, where at least two have the step.\n"
        "A validation split has few studies with any one observation: single curves jump."
    )
    return _panels_figure(groups, baseline, panels, columns=4, panel_size=(3.1, 2.3), note=note)


def _panels_figure(
    groups: Sequence[Group],
    baseline: Group,
    panels: Sequence[tuple[str, str, str]],
    columns: int,
    panel_size: tuple[float, float],
    note: str,
) -> "Figure":
    """Panels (key, title, unit) over the training step, with one legend and a note below all."""
    from matplotlib.lines import Line2D

    labels, styles = [_legend_label(group, baseline) for group in groups], _styles(groups, baseline)
    num_columns = 2 if max(map(len, labels)) <= LABEL_WIDTH else 1
    legend_height = 0.18 * math.ceil(len(labels) / num_columns)
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(panel_size[0] * columns, panel_size[1] * rows + legend_height)
    bottom = (legend_height + 0.55) / figure.get_figheight()
    axes = figure.subplots(rows, columns)
    for panel, (key, title, unit) in zip(axes.flat, panels, strict=False):
        dress(panel, title, unit)
        panel.set_xlabel("training step", color=INK, fontsize=9)
        drawn = [_draw(panel, group, key, *style) for group, style in zip(groups, styles, strict=True)]
        if not any(drawn):
            panel.set_yticks([])
            panel.text(0.5, 0.5, "not recorded", transform=panel.transAxes, ha="center", va="center", color=GREY)
        elif key != "mixing_weight":
            panel.set_ylim(0.0, None)
        panel.set_xlim(0, None)
    for panel in axes.flat[len(panels) :]:
        panel.set_visible(False)
    figure.legend(
        [Line2D([], [], color=colour, linestyle=dash, linewidth=1.7) for colour, dash in styles],
        labels,
        loc="lower left",
        bbox_to_anchor=(0.045, 0.42 / figure.get_figheight()),
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        handlelength=3.6,
        borderaxespad=0.0,
        ncols=num_columns,
    )
    figure.text(0.012, 0.06 / figure.get_figheight(), note, fontsize=8, color=GREY, va="bottom")
    figure.tight_layout(h_pad=1.8, w_pad=2.2, rect=(0.0, bottom, 1.0, 1.0))
    return figure


def _draw(panel: Any, group: Group, key: str, colour: str, dash: Any) -> bool:
    band = band_of(group, key)
    if band is None:
        return False
    marker = {} if key in TRAINING_KEYS else {"marker": "o", "ms": 3.5}
    panel.plot(band.steps, band.mean, color=colour, linestyle=dash, linewidth=1.7, zorder=3, **marker)
    low, high = band.mean - band.sd, band.mean + band.sd
    panel.fill_between(band.steps, low, high, where=~np.isnan(band.sd), color=colour, alpha=0.15, linewidth=0)
    if key == "macro_f1" and (shuffled := band_of(group, "shuffled_macro_f1")) is not None:
        panel.plot(shuffled.steps, shuffled.mean, color=colour, linestyle=":", marker="x", ms=4, linewidth=0.9)
    return True


def _styles(groups: Sequence[Group], baseline: Group) -> list[tuple[str, Any]]:
    others = zip(COLOURS, DASHES, strict=True)
    return [(BASELINE_COLOUR, "-") if group is baseline else next(others) for group in groups]


def _legend_label(group: Group, baseline: Group) -> str:
    tail = f"  ({counted(len(group.runs), 'run')}{', baseline' if group is baseline else ''})"
    return textwrap.shorten(group.label, LABEL_WIDTH * 2, placeholder="…") + tail


def effects_figure(effects: Sequence[SettingEffect]) -> "Figure":
    """One panel a setting: marginal mean and 95 % interval of each value, side by side on one scale."""
    columns = min(3, len(effects))
    rows = math.ceil(len(effects) / columns)
    figure = new_figure(max(5.2, 3.6 * columns), 3.3 * rows + 0.45)
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for panel, effect in zip(axes, effects, strict=False):
        _effect_panel(panel, effect)
        panel.set_ylabel(SCORES[effect.score].heading if panel in axes[::columns] else "", fontsize=9, color=INK)
    for panel in axes[len(effects) :]:
        panel.set_visible(False)
    note = "Dot: marginal mean over the other settings; bar: 95 % interval; square: the baseline's value."
    figure.text(0.012, 0.08 / figure.get_figheight(), note, fontsize=8, color=GREY, va="bottom")
    figure.tight_layout(h_pad=1.6, w_pad=1.6, rect=(0.0, 0.36 / figure.get_figheight(), 1.0, 1.0))
    return figure


def _effect_panel(panel: Any, effect: SettingEffect) -> None:
    dress(panel, textwrap.shorten(effect.name, 40, placeholder="…"), "")
    places = range(len(effect.effects))
    means = [one.mean for one in effect.effects]
    if are_numbers(one.value for one in effect.effects):
        # Values of a scale are joined; choices have no order to join along.
        panel.plot(places, means, color="#B0B0B0", linewidth=1.2, zorder=1)
    for place, one in zip(places, effect.effects, strict=True):
        colour, marker = (BASELINE_COLOUR, "s") if one.is_reference else (COLOURS[0], "o")
        if not math.isnan(one.low):
            panel.plot([place, place], [one.low, one.high], color=colour, linewidth=2.2, solid_capstyle="butt")
        panel.plot([place], [one.mean], color=colour, marker=marker, ms=6, zorder=3)
    values = [textwrap.shorten(shown_value(one.value), MAX_EFFECT_LABEL, placeholder="…") for one in effect.effects]
    labels = [f"{value}\nn={one.num_runs}" for value, one in zip(values, effect.effects, strict=True)]
    panel.set_xlim(-0.6, len(labels) - 0.4)
    is_crowded = max(map(len, values)) * len(labels) > 34
    panel.set_xticks(list(places), labels, **({"rotation": 30, "ha": "right"} if is_crowded else {}))
    panel.tick_params(axis="x", labelsize=8)
