"""Pictures of studies: a sheet of test studies with both reports, a card of one with its labels, a grid of settings."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation, positive_observations
from orapo.errors import DataError
from orapo.evaluation.figures import AMBER, BLUE, GREEN, GREY, INK, VERMILLION, new_figure, save_figure
from orapo.evaluation.report_pairs import ReportPair

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    Picture = Image | NDArray[np.uint8]

_SHEET_WIDTH = 10.0
_IMAGE_SIDE = 1.55
_MARGIN = 0.15
_HEADER_HEIGHT = 0.42
_CAPTION_HEIGHT = 0.18
_LINE_HEIGHT = 0.205
_REPORT_COLUMNS = 34
_MAX_LINES = 18
_FONT_SIZE = 10.5
# Left edges in inches: image, oracle report, generated report, observations.
_EDGES = (_MARGIN, 1.95, 4.98, 8.01)

_GRID_SIDE = 2.1
_GRID_GAP = 0.12
_GRID_HEADER = 0.36
_GRID_TEXT_WIDTH = 3.4
_GRID_TEXT_COLUMNS = 42


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    colour: str = INK
    italic: bool = False


_LEGEND = (
    _Line("✓ both say so", GREEN),
    _Line("○ missed by the generated report", BLUE),
    _Line("✗ false alarm of the generated report", VERMILLION),
)


def study_sheet(
    images: "Sequence[Picture]", pairs: Sequence[ReportPair], path: Path, *, uncertain_is_positive: bool = False
) -> None:
    """Draws one row per study: image, oracle report, generated report, and who calls which observation present.

    Args:
        images: one per pair, grey or RGB, 8 bits; about six fit a page.
        pairs: the studies, in the same order.
        path: the picture to write, 1500 pixels wide as PNG, as tall as its images and texts need.
        uncertain_is_positive: the mapping under which observations are compared.

    Raises:
        DataError: no studies, or not exactly one image for each pair.
    """
    if not pairs or len(images) != len(pairs):
        raise DataError(f"a study sheet needs one image for each of at least 1 study, got {len(images)}, {len(pairs)}")
    rows = [_sheet_columns(pair, uncertain_is_positive) for pair in pairs]
    heights = [
        max(_IMAGE_SIDE + _CAPTION_HEIGHT, _LINE_HEIGHT * max(map(len, columns))) + 2 * _MARGIN for columns in rows
    ]
    figure = new_figure(_SHEET_WIDTH, _HEADER_HEIGHT * 2 + sum(heights))
    top = figure.get_figheight()
    titles = ("Image", "Oracle report", "Generated report", "Observations")
    for edge, title in zip(_EDGES, titles, strict=True):
        _write(figure, edge, top - 0.14, [_Line(title)], weight="bold", size=11.5)
    top -= _HEADER_HEIGHT
    for image, pair, columns, height in zip(images, pairs, rows, heights, strict=True):
        _rule(figure, top)
        caption = _Line(textwrap.shorten(pair.study_id, width=30, placeholder="…"), GREY)
        _write(figure, _MARGIN, top - _MARGIN - _IMAGE_SIDE - 0.04, [caption], size=7.5)
        _place_image(figure, image, _MARGIN, top - _MARGIN, _IMAGE_SIDE)
        for edge, lines in zip(_EDGES[1:], columns, strict=True):
            _write(figure, edge, top - _MARGIN, lines)
        top -= height
    _rule(figure, top)
    for edge, line in zip((_MARGIN, 1.95, 4.98), _LEGEND, strict=True):
        _write(figure, edge, top - 0.12, [line])
    save_figure(figure, path)


def phantom_card(image: "Picture", report: str, labels: LabelStates, path: Path) -> None:
    """Draws one study: its image, its report, and the label states that the report mentions.

    Args:
        image: grey or RGB, 8 bits.
        report: the oracle report.
        labels: state of all 14 observations; unmentioned ones are only counted.
        path: the picture to write, 1350 pixels wide as PNG; as tall as the image or, where longer, the text.
    """
    side, text_edge = 3.2, 3.65
    mentioned = [o for o in OBSERVATIONS if labels[o] is not LabelState.UNMENTIONED]
    lines = [_STATE_LINES[labels[o]](o.value) for o in sorted(mentioned, key=lambda o: _STATE_ORDER.index(labels[o]))]
    lines.append(_Line(f"{len(OBSERVATIONS) - len(mentioned)} of 14 unmentioned", GREY, italic=True))
    report_lines = _wrapped(report, 60)
    text_height = _LINE_HEIGHT * (len(report_lines) + len(lines)) + 1.0
    height = max(side, text_height) + 2 * _MARGIN
    figure = new_figure(9.0, height)
    _place_image(figure, image, _MARGIN, height - _MARGIN, side)
    top = height - _MARGIN - 0.05
    for title, block in (("Report", report_lines), ("Labels", lines)):
        _write(figure, text_edge, top, [_Line(title)], weight="bold", size=11.5)
        _write(figure, text_edge, top - 0.28, block, size=_FONT_SIZE)
        top -= 0.28 + _LINE_HEIGHT * len(block) + 0.22
    save_figure(figure, path)


def image_grid(titles: Sequence[str], rows: "Sequence[tuple[Sequence[Image], str]]", path: Path) -> None:
    """Draws the same studies under several settings: a row a study, a column of images a setting, a last one of text.

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
    width = (columns + 1) * _GRID_GAP + columns * _GRID_SIDE + _GRID_TEXT_WIDTH
    height = _GRID_HEADER + len(rows) * (_GRID_SIDE + _GRID_GAP)
    figure = new_figure(width, height)
    lefts = [_GRID_GAP + column * (_GRID_SIDE + _GRID_GAP) for column in range(columns + 1)]
    for left, title in zip(lefts, titles, strict=True):
        figure.text(left / width, (height - 0.1) / height, title, color=INK, fontsize=10.5, weight="bold", va="top")
    for row, (images, text) in enumerate(rows):
        top = height - _GRID_HEADER - row * (_GRID_SIDE + _GRID_GAP)
        for left, image in zip(lefts, images, strict=False):
            box = (left / width, (top - _GRID_SIDE) / height, _GRID_SIDE / width, _GRID_SIDE / height)
            panel = figure.add_axes(box)
            panel.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            panel.axis("off")
        lines = [line for part in text.split("\n") for line in textwrap.wrap(part, _GRID_TEXT_COLUMNS) or [""]]
        figure.text(
            lefts[-1] / width, top / height, "\n".join(lines), color=INK, fontsize=9, va="top", parse_math=False
        )
    save_figure(figure, path)


_STATE_ORDER = (LabelState.POSITIVE, LabelState.UNCERTAIN, LabelState.NEGATIVE)
_STATE_LINES = {
    LabelState.POSITIVE: lambda name: _Line(f"● {name}: positive", BLUE),
    LabelState.UNCERTAIN: lambda name: _Line(f"◐ {name}: uncertain", AMBER),
    LabelState.NEGATIVE: lambda name: _Line(f"○ {name}: negative", GREY),
}


def agreement(pair: ReportPair, *, uncertain_is_positive: bool = False) -> tuple[list[Observation], ...]:
    """Which observations the generated report gets right, misses and invents, each in the order of ``OBSERVATIONS``."""
    true = positive_observations(pair.oracle_states, uncertain_is_positive=uncertain_is_positive)
    called = positive_observations(pair.generated_states, uncertain_is_positive=uncertain_is_positive)
    return tuple([o for o in OBSERVATIONS if o in found] for found in (true & called, true - called, called - true))


def _sheet_columns(pair: ReportPair, uncertain_is_positive: bool) -> tuple[list[_Line], list[_Line], list[_Line]]:
    agreed, missed, false_alarms = agreement(pair, uncertain_is_positive=uncertain_is_positive)
    marks = [_Line(f"✓ {o.value}", GREEN) for o in agreed]
    marks += [_Line(f"○ {o.value}", BLUE) for o in missed]
    marks += [_Line(f"✗ {o.value}", VERMILLION) for o in false_alarms]
    marks = [
        _Line(text, mark.colour)
        for mark in marks
        for text in textwrap.wrap(mark.text, width=22, subsequent_indent="   ")
    ] or [_Line("none on either side", GREY, italic=True)]
    return _wrapped(pair.oracle_report), _wrapped(pair.generated_report), marks


def _wrapped(report: str, columns: int = _REPORT_COLUMNS) -> list[_Line]:
    """The report's lines, at most ``_MAX_LINES``; a cut report ends in an ellipsis, an empty one says so."""
    if not report.strip():
        return [_Line("(empty report)", GREY, italic=True)]
    # A young policy may write control characters, for which no font has a glyph.
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(report.split()))
    lines = textwrap.wrap(printable, width=columns, max_lines=_MAX_LINES, placeholder=" …")
    return [_Line(line) for line in lines]


def _write(
    figure: "Figure",
    left: float,
    top: float,
    lines: Sequence[_Line],
    *,
    weight: str = "normal",
    size: float = _FONT_SIZE,
) -> None:
    """Writes lines downwards from a corner given in inches from the figure's lower left."""
    width, height = figure.get_size_inches()
    for number, line in enumerate(lines):
        figure.text(
            left / width,
            (top - number * _LINE_HEIGHT * size / _FONT_SIZE) / height,
            line.text,
            color=line.colour,
            fontsize=size,
            fontweight=weight,
            fontstyle="italic" if line.italic else "normal",
            va="top",
            # Reports are text, never mathematics: a dollar sign stays one.
            parse_math=False,
        )


def _place_image(figure: "Figure", image: "Picture", left: float, top: float, side: float) -> None:
    """Shows an image within a square, its own aspect ratio kept, at the square's upper left."""
    width, height = figure.get_size_inches()
    panel: Any = figure.add_axes((left / width, (top - side) / height, side / width, side / height))
    panel.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
    panel.set_anchor("NW")
    panel.axis("off")


def _rule(figure: "Figure", top: float) -> None:
    from matplotlib.lines import Line2D

    y = top / figure.get_figheight()
    edge = _MARGIN / _SHEET_WIDTH
    figure.add_artist(Line2D([edge, 1.0 - edge], [y, y], color="#D5D5D5", linewidth=0.8))
