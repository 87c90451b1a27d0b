"""Figures of a run: the learning curve, and the style shared by all figures of this package.

Drawn on matplotlib's Agg canvas through ``Figure`` alone: no window, no global state, no display needed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by readers with any common colour blindness.
BLUE = "#0072B2"
VERMILLION = "#D55E00"
GREEN = "#00805C"
AMBER = "#B36B00"
GREY = "#6B6B6B"
INK = "#222222"

DOTS_PER_INCH = 150

WINDOWS_PER_CURVE = 15
"""A training curve of n steps is drawn as its running mean over n // 15 of them, the single steps faintly behind."""

Curves = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Steps and values, both [n], by quantity; steps without a value are left out."""

_NOTHING = (np.empty(0), np.empty(0))


def new_figure(width_inches: float, height_inches: float) -> "Figure":
    """An empty white figure on the Agg canvas."""
    # matplotlib takes a second to import; whoever only reads scores shouldn't pay for it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", path: Path) -> None:
    """Writes the figure at its exact size; the ending of ``path`` chooses the format, folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # No software version or date inside: the same data gives the same bytes.
    figure.savefig(path, metadata={"Software": None} if path.suffix == ".png" else None)


class Score(NamedTuple):
    """The score that validation is drawn by: its column of validation.csv, and its title."""

    column: str
    title: str
    unit: str
    floor: str


REPORTS = Score("macro_f1", "Validation macro F1", "mean F1 of 14 observations", "always-positive report")
ANSWERS = Score("accuracy", "Validation accuracy", "share of right answers", "majority answer")


def learning_curve(
    training: Curves, validation: Curves, path: Path, *, floor: float | None = None, score: Score = REPORTS
) -> None:
    """Draws reward, the score of validation, zero-reward rate and mixing weight against the training step.

    Args:
        training: ``reward``, ``zero_reward_rate`` and ``mixing_weight``; a panel without values says so.
        validation: the score's column, and that with ``shuffled_`` before it.
        path: the picture to write, 1350 x 870 pixels as PNG.
        floor: of the report or answer that looks at nothing, on the same studies, drawn as a line when given.
        score: what validation is drawn by.
    """
    figure = new_figure(9.0, 5.8)
    axes = figure.subplots(2, 2, sharex=True)
    _training_panel(axes[0, 0], training, "reward", "Reward of the rollouts", "mean reward (0 to 1)", GREEN)
    _validation_panel(axes[0, 1], validation, score, floor)
    _training_panel(
        axes[1, 0], training, "zero_reward_rate", "Zero-reward rate", "fraction of rollouts (0 to 1)", VERMILLION
    )
    _training_panel(
        axes[1, 1], training, "mixing_weight", "Mixing weight w of the oracle term", "mean weight (0 to 1)", BLUE
    )
    # Fractions start at 0 and get their own top; only the weight, which moves within a narrow band, is zoomed in.
    for panel in (axes[0, 0], axes[0, 1], axes[1, 0]):
        panel.set_ylim(0.0, None)
    for panel in axes[1]:
        panel.set_xlabel("training step", color=INK)
    last_steps = (steps.max() for steps, _ in (*training.values(), *validation.values()) if len(steps))
    axes[0, 0].set_xlim(0, max(last_steps, default=0.0) or 1.0)
    smoothing = f"Thick: running mean over 1/{WINDOWS_PER_CURVE} of the run; faint: single steps."
    note = f"{smoothing} The axis of the mixing weight does not start at 0."
    figure.text(0.012, 0.012, note, fontsize=8, color=GREY)
    figure.tight_layout(h_pad=1.6, w_pad=2.0, rect=(0.0, 0.03, 1.0, 1.0))
    save_figure(figure, path)


def _training_panel(panel: Any, curves: Curves, key: str, title: str, unit: str, colour: str) -> None:
    dress(panel, title, unit)
    steps, values = curves.get(key, _NOTHING)
    if not len(values):
        _say_absent(panel)
        return
    window = max(1, len(values) // WINDOWS_PER_CURVE)
    if window > 1:
        panel.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
    panel.plot(steps, running_mean(values, window), color=colour, linewidth=2.0, solid_capstyle="round")


def _validation_panel(panel: Any, curves: Curves, score: Score, floor: float | None) -> None:
    dress(panel, score.title, score.unit)
    shuffled = f"shuffled_{score.column}"
    styles = [(score.column, "own images", BLUE, "o", "-"), (shuffled, "shuffled images", AMBER, "s", "--")]
    drawn = 0
    for key, label, colour, marker, dash in styles:
        steps, values = curves.get(key, _NOTHING)
        if len(values):
            style = {"color": colour, "linestyle": dash, "marker": marker, "ms": 4.5, "linewidth": 2.0}
            # Not clipped: the first and last markers sit on the frame.
            panel.plot(steps, values, label=label, clip_on=False, zorder=3, **style)
            drawn += 1
    if floor is not None:
        panel.axhline(floor, color=GREY, linestyle=":", linewidth=1.5, label=score.floor)
    if drawn:
        panel.legend(frameon=False, fontsize=8.5, loc="upper left", labelcolor=INK)
    else:
        _say_absent(panel)


def dress(panel: Any, title: str, unit: str) -> None:
    """Adds title, unit of the y axis and a light grid."""
    panel.set_title(title, loc="left", fontsize=10.5, color=INK, fontweight="bold")
    panel.set_ylabel(unit, fontsize=9, color=INK)
    panel.tick_params(labelsize=8.5, colors=GREY, labelbottom=True)
    panel.locator_params(axis="both", nbins=6)
    panel.ticklabel_format(useOffset=False)
    panel.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        panel.spines[side].set_color("#B0B0B0")


def _say_absent(panel: Any) -> None:
    panel.yaxis.set_ticks([])
    panel.text(0.5, 0.5, "not recorded in this run", transform=panel.transAxes, ha="center", va="center", color=GREY)


def running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Centred mean [n] over up to ``window`` values; near the ends over those that exist, never padded."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    first = np.maximum(index - (window - 1) // 2, 0)
    end = np.minimum(index + window // 2 + 1, len(values))
    return np.asarray((sums[end] - sums[first]) / (end - first), dtype=np.float64)
