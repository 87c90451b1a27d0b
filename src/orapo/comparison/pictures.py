"""Which pictures a comparison has, and writing them as files."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orapo.comparison.compare import Comparison
from orapo.comparison.cross import CrossTable, cross_figure
from orapo.comparison.curve_pictures import (
    curves_figure,
    drawn_groups,
    effects_figure,
    has_observations,
    observations_figure,
)
from orapo.comparison.tables import HEADINGS, counted
from orapo.evaluation.figures import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A figure with its title and description.

    Attributes:
        name: of its file, without the ending.
        title: a heading.
        description: a sentence on what is drawn.
        figure: drawn.
    """

    name: str
    title: str
    description: str
    figure: "Figure"


def comparison_pictures(comparison: Comparison) -> tuple[Picture, ...]:
    """Curves of the baseline and the best groups, and the effects of the swept settings, if there are any."""
    pictures = []
    groups = drawn_groups(comparison.groups, comparison.baseline)
    if groups:
        left_out = len(comparison.groups) - len(groups)
        told = f" Not drawn: {counted(left_out, 'further group')}." if left_out else ""
        text = f"Curves of the baseline and the first groups by {comparison.sort}, over the training step.{told}"
        pictures.append(Picture("curves", "Curves", text, curves_figure(groups, comparison.baseline)))
    if has_observations(groups):
        text = "F1 of each observation on the validation split, of the same groups."
        figure = observations_figure(groups, comparison.baseline)
        pictures.append(Picture("observations", "Single observations", text, figure))
    return (*pictures, *effects_pictures(comparison))


def effects_pictures(comparison: Comparison) -> tuple[Picture, ...]:
    """The effects of the swept settings, where there are any."""
    if not comparison.effects:
        return ()
    score = HEADINGS[comparison.effects[0].score]
    text = f"Marginal mean of {score} for each value of each setting, with its 95 % interval."
    return (Picture("effects", "Effects of the settings", text, effects_figure(comparison.effects, score)),)


def cross_pictures(crossed: CrossTable) -> tuple[Picture, ...]:
    """The cross table as a heat map."""
    text = "What each reward did to each measure: trained minus base policy."
    return (Picture("cross", "Rewarded and measured", text, cross_figure(crossed)),)


def write_pictures(pictures: tuple[Picture, ...], folder: Path) -> tuple[Path, ...]:
    """Writes each picture as PNG into a folder, which is made."""
    paths = tuple(folder / f"{picture.name}.png" for picture in pictures)
    for picture, path in zip(pictures, paths, strict=True):
        save_figure(picture.figure, path)
    return paths
