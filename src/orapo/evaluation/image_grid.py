"""The same studies under several settings: a row a study, a column of images a setting, a last column of text."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orapo.errors import DataError
from orapo.evaluation.figures import INK, new_figure, save_figure

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE = 2.1
_GAP = 0.12
_HEADER = 0.36
_TEXT_WIDTH = 3.4
_TEXT_COLUMNS = 42


def image_grid(titles: Sequence[str], rows: "Sequence[tuple[Sequence[Image], str]]", path: Path) -> None:
    """Draws the grid.

    Args:
        titles: of the columns of images, then of the text.
        rows: for each study its images, grey, 8 bits, one for each column, and its text, in which line breaks stay.
        path: the picture to write, as PNG.

    Raises:
        DataError: no row, or a row without just one image for each column.
    """
    columns = len(titles) - 1
    if not rows or any(len(images) != columns for images, _ in rows):
        raise DataError(f"an image grid of {columns} columns needs at least 1 row of {columns} images each")
    width = (columns + 1) * _GAP + columns * _SIDE + _TEXT_WIDTH
    height = _HEADER + len(rows) * (_SIDE + _GAP)
    figure = new_figure(width, height)
    lefts = [_GAP + column * (_SIDE + _GAP) for column in range(columns + 1)]
    for left, title in zip(lefts, titles, strict=True):
        figure.text(left / width, (height - 0.1) / height, title, color=INK, fontsize=10.5, weight="bold", va="top")
    for row, (images, text) in enumerate(rows):
        top = height - _HEADER - row * (_SIDE + _GAP)
        for left, image in zip(lefts, images, strict=False):
            box = (left / width, (top - _SIDE) / height, _SIDE / width, _SIDE / height)
            panel = figure.add_axes(box)
            panel.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            panel.axis("off")
        lines = [line for part in text.split("\n") for line in textwrap.wrap(part, _TEXT_COLUMNS) or [""]]
        figure.text(
            lefts[-1] / width, top / height, "\n".join(lines), color=INK, fontsize=9, va="top", parse_math=False
        )
    save_figure(figure, path)
