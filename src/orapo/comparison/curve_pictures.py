"""Pictures of many runs: curves with bands over seeds, and the effects of swept settings."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from orapo.chexpert import OBSERVATIONS
from orapo.comparison.curves import Band, training_band, validation_band
from orapo.comparison.effects import SettingEffect
from orapo.comparison.groups import Group
from orapo.comparison.run_folder import OBSERVATION_KEYS
from orapo.comparison.swept import shown_value
from orapo.evaluation.figures import GREY, INK, WINDOWS_PER_CURVE, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette without yellow, too light for a line on white, and orange, too near to vermillion; black is
# the baseline's.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#6B6B6B")
BASELINE_COLOUR = "#000000"
# Lines differ in dash as well: colours alone don't survive a grey print.
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)), (0, (3, 3)), (0, (8, 2)))
MAX_CURVES = 1 + len(COLOURS)
LABEL_WIDTH = 64
PANELS = (
    ("reward", "Reward of the rollouts", "mean reward (0 to 1)"),
    ("zero_reward_rate", "Zero-reward rate", "fraction of rollouts (0 to 1)"),
    ("mixing_weight", "Mixing weight w of the oracle term", "mean weight (0 to 1)"),
    ("macro_f1", "Validation macro F1", "mean F1 of 14 observations"),
)
MAX_EFFECT_LABEL = 26


def drawn_groups(groups: Sequence[Group], baseline: Group) -> tuple[Group, ...]:
    """The baseline and the first others that have curves, as many as can be told apart."""
    with_curves = [group for group in groups if _has_curves(group)]
    others = [group for group in with_curves if group is not baseline][: MAX_CURVES - 1]
    return ((baseline,) if _has_curves(baseline) else ()) + tuple(others)


def _has_curves(group: Group) -> bool:
    return any(len(steps) for run in group.runs for steps, _ in (*run.training.values(), *run.validation.values()))


def curves_figure(groups: Sequence[Group], baseline: Group) -> "Figure":
    """Four panels over the training step, one line and band a group; the groups are those of ``drawn_groups``."""
    note = (
        f"Line: mean over a group's runs (training curves: running mean over 1/{WINDOWS_PER_CURVE} of a run). "
        "Band: ±1 SD over runs, where at least two have the step.\n"
        "Thin dotted line with crosses: the control with shuffled images, at each validation. "
        "The axis of the mixing weight need not start at 0."
    )
    return _panels_figure(groups, baseline, PANELS, columns=2, panel_size=(5.0, 3.45), note=note)


def has_observations(groups: Sequence[Group]) -> bool:
    """Whether any run validated single observations."""
    return any(key in run.validation for group in groups for run in group.runs for key in OBSERVATION_KEYS)


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
    labels = [_legend_label(group, baseline) for group in groups]
    num_columns = 2 if labels and max(map(len, labels)) <= LABEL_WIDTH else 1
    legend_height = 0.18 * math.ceil(len(labels) / num_columns)
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(panel_size[0] * columns, panel_size[1] * rows + legend_height)
    bottom = (legend_height + 0.55) / figure.get_figheight()
    axes = figure.subplots(rows, columns)
    for panel, (key, title, unit) in zip(axes.flat, panels, strict=False):
        dress(panel, title, unit)
        panel.set_xlabel("training step", color=INK, fontsize=9)
        drawn = [_draw(panel, group, key, *_style(group, groups, baseline)) for group in groups]
        if not any(drawn):
            panel.set_yticks([])
            panel.text(0.5, 0.5, "not recorded", transform=panel.transAxes, ha="center", va="center", color=GREY)
        elif key != "mixing_weight":
            panel.set_ylim(0.0, None)
        panel.set_xlim(0, None)
    for panel in axes.flat[len(panels) :]:
        panel.set_visible(False)
    _legend(figure, groups, labels, baseline, num_columns)
    figure.text(0.012, 0.06 / figure.get_figheight(), note, fontsize=8, color=GREY, va="bottom")
    figure.tight_layout(h_pad=1.8, w_pad=2.2, rect=(0.0, bottom, 1.0, 1.0))
    return figure


def _draw(panel: Any, group: Group, key: str, colour: str, dash: Any) -> bool:
    is_validated = key == "macro_f1" or key in OBSERVATION_KEYS
    band = validation_band(group, key) if is_validated else training_band(group, key)
    if band is None:
        return False
    marker = {"marker": "o", "ms": 3.5} if is_validated else {}
    panel.plot(band.steps, band.mean, color=colour, linestyle=dash, linewidth=1.7, zorder=3, **marker)
    _fill(panel, band, colour)
    if key == "macro_f1" and (shuffled := validation_band(group, "shuffled_macro_f1")) is not None:
        panel.plot(shuffled.steps, shuffled.mean, color=colour, linestyle=":", marker="x", ms=4, linewidth=0.9)
    return True


def _fill(panel: Any, band: Band, colour: str) -> None:
    has_band = ~np.isnan(band.sd)
    low, high = band.mean - band.sd, band.mean + band.sd
    panel.fill_between(band.steps, low, high, where=has_band, color=colour, alpha=0.15, linewidth=0)


def _style(group: Group, groups: Sequence[Group], baseline: Group) -> tuple[str, Any]:
    if group is baseline:
        return BASELINE_COLOUR, "-"
    place = [other for other in groups if other is not baseline].index(group)
    return COLOURS[place], DASHES[place]


def _legend_label(group: Group, baseline: Group) -> str:
    tail = f"  ({len(group.runs)} run{'s' if len(group.runs) > 1 else ''}{', baseline' if group is baseline else ''})"
    return textwrap.shorten(group.label, LABEL_WIDTH * 2, placeholder="…") + tail


def _legend(
    figure: "Figure", groups: Sequence[Group], labels: Sequence[str], baseline: Group, num_columns: int
) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for group in groups:
        colour, dash = _style(group, groups, baseline)
        handles.append(Line2D([], [], color=colour, linestyle=dash, linewidth=1.7))
    if handles:
        place = (0.045, 0.42 / figure.get_figheight())
        style = {
            "frameon": False,
            "fontsize": 8.5,
            "labelcolor": INK,
            "handlelength": 3.6,
            "borderaxespad": 0.0,
            "ncols": num_columns,
        }
        figure.legend(handles, labels, loc="lower left", bbox_to_anchor=place, **style)


def effects_figure(effects: Sequence[SettingEffect], score_name: str) -> "Figure":
    """One panel a setting: marginal mean and 95 % interval of each value, side by side on one scale."""
    columns = min(3, len(effects))
    rows = math.ceil(len(effects) / columns)
    figure = new_figure(max(5.2, 3.6 * columns), 3.3 * rows + 0.45)
    axes = np.atleast_1d(figure.subplots(rows, columns, sharey=True, squeeze=False)).ravel()
    for panel, effect in zip(axes, effects, strict=False):
        _effect_panel(panel, effect)
        panel.set_ylabel(score_name if panel in axes[::columns] else "", fontsize=9, color=INK)
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
    is_number = all(isinstance(one.value, int | float) and not isinstance(one.value, bool) for one in effect.effects)
    if is_number:
        # Values of a scale are joined; choices have no order to join along.
        panel.plot(places, means, color="#B0B0B0", linewidth=1.2, zorder=1)
    for place, one in zip(places, effect.effects, strict=True):
        is_reference = shown_value(one.value) == shown_value(effect.reference)
        colour, marker = (BASELINE_COLOUR, "s") if is_reference else (COLOURS[0], "o")
        if not math.isnan(one.low):
            panel.plot([place, place], [one.low, one.high], color=colour, linewidth=2.2, solid_capstyle="butt")
        panel.plot([place], [one.mean], color=colour, marker=marker, ms=6, zorder=3)
    labels = [_tick_label(shown_value(one.value), one.num_runs) for one in effect.effects]
    panel.set_xlim(-0.6, len(labels) - 0.4)
    is_crowded = max(len(label.split("\n")[0]) for label in labels) * len(labels) > 34
    panel.set_xticks(list(places), labels, **({"rotation": 30, "ha": "right"} if is_crowded else {}))
    panel.tick_params(axis="x", labelsize=8)


def _tick_label(value: str, num_runs: int) -> str:
    return f"{textwrap.shorten(value, MAX_EFFECT_LABEL, placeholder='…')}\nn={num_runs}"
