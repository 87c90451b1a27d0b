"""One HTML page with everything, in one file: opens without a server and without a connection."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from orapo.comparison.cells import (
    ABSENT,
    HEADINGS,
    contents,
    counted,
    interval,
    number,
    p_cells,
    p_over_seeds_note,
    runs_cell,
    score_columns,
    signed,
    spread,
    step_of,
    steps_cell,
)
from orapo.comparison.compare import Comparison
from orapo.comparison.evaluation_cells import TABLES, estimate_cell, evaluations_note
from orapo.comparison.groups import ASCENDING, Group
from orapo.comparison.pictures import Picture
from orapo.comparison.published import PublishedTable, comparability
from orapo.comparison.swept import shown_value
from orapo.comparison.text_table import PUBLISHED_HEADINGS, effects_note, published_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table: what is shown, what it is sorted by ("" goes last), and its CSS class."""

    text: str
    value: str | float = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """One column: its heading, and whether it is sorted as a number."""

    text: str
    is_number: bool = True
    sorted_by: str = ""


def results_page(comparison: Comparison, pictures: Sequence[Picture]) -> str:
    """The page.

    Args:
        comparison: what is shown.
        pictures: as ``comparison_pictures`` draws them.
    """
    title = contents(comparison)
    parts = [f"<h1>{escape(title)}</h1>", _paragraph(_overview(comparison))]
    parts += _groups_section(comparison)
    parts += _evaluations_section(comparison)
    parts += [part for picture in pictures for part in _picture(picture)]
    parts += _effects_section(comparison)
    parts += _unfinished_section(comparison)
    parts += [part for table in comparison.published for part in _published_section(table, comparison)]
    if comparison.problems:
        items = "".join(f"<li>{escape(problem)}</li>" for problem in comparison.problems)
        parts.append(f'<h2>Not read</h2><ul class="warn">{items}</ul>')
    template = files("orapo.comparison").joinpath("results_page.html").read_text(encoding="utf-8")
    # The body goes in last: a label may hold anything.
    return template.replace("{{title}}", escape(title)).replace("{{body}}", "\n".join(parts))


def _overview(comparison: Comparison) -> str:
    settings = ", ".join(setting.name for setting in comparison.swept) or "nothing but the seed"
    missing = len(comparison.unfinished)
    tail = f" {counted(missing, 'run')} without test scores." if missing else ""
    differ = f"The groups differ in: {settings}. " if comparison.runs else ""
    return f"{differ}The baseline is {comparison.baseline.label}.{tail}"


def _paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def _table(headings: Sequence[Heading], rows: Iterable[tuple[str, Sequence[Cell]]], is_sortable: bool = True) -> str:
    head = "".join(_head(heading, is_sortable) for heading in headings)
    body = "".join(f'<tr class="{kind}">{"".join(map(_cell, cells))}</tr>\n' for kind, cells in rows)
    kind = "sortable" if is_sortable else "plain"
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'
    )


def _head(heading: Heading, is_sortable: bool) -> str:
    kind = "number" if heading.is_number else "text"
    text = escape(heading.text)
    state = f' aria-sort="{heading.sorted_by}"' if heading.sorted_by else ""
    shown = f'<button type="button">{text}</button>' if is_sortable else text
    return f'<th scope="col" class="{"" if heading.is_number else "text"}" data-kind="{kind}"{state}>{shown}</th>'


def _cell(cell: Cell) -> str:
    value = "" if isinstance(cell.value, float) and math.isnan(cell.value) else str(cell.value)
    return f'<td class="{cell.kind}" data-value="{escape(value)}">{escape(cell.text)}</td>'


def _groups_section(comparison: Comparison) -> list[str]:
    keys = score_columns(comparison)
    order = "ascending" if comparison.sort in ASCENDING else "descending"
    headings = [
        Heading("group", False, order if comparison.sort == "name" else ""),
        Heading("runs"),
        Heading("step", sorted_by=order if comparison.sort == "last_step" else ""),
        *(Heading(HEADINGS[key], sorted_by=order if key == comparison.sort else "") for key in keys),
        Heading("Δ macro F1 [95 %]"),
        Heading("p (studies)"),
        Heading("p (seeds)"),
    ]
    rows = [(_kind(comparison, group), _group_cells(comparison, group, keys)) for group in comparison.groups]
    notes = [_paragraph(p_over_seeds_note(comparison), "note")]
    found = comparison.significance.items()
    notes += [_paragraph(f"No p (studies) for {label}: {one.note}.", "warn") for label, one in found if one.note]
    return ["<h2>Test scores</h2>", _table(headings, rows), *notes]


def _kind(comparison: Comparison, group: Group) -> str:
    return "baseline" if group is comparison.baseline else ""


def _group_cells(comparison: Comparison, group: Group, keys: Sequence[str]) -> list[Cell]:
    spreads = [group.spread(key) for key in keys]
    found = comparison.significance.get(group.label)
    studies = None if found is None else found.studies.get("macro_f1")
    seeds = None if found is None else found.seeds.get("macro_f1")
    told = p_cells(comparison, group)
    step = max(run.last_step for run in group.runs)
    return [
        Cell(group.label, group.label),
        Cell(runs_cell(group), len(group.runs), "wrap"),
        Cell(steps_cell(group), step),
        *(Cell(spread(one), one.mean) for one in spreads),
        Cell(told[0], "" if studies is None else studies.value),
        Cell(told[1], "" if studies is None else studies.p_value),
        Cell(told[2], "" if seeds is None else seeds.p),
    ]


def _evaluations_section(comparison: Comparison) -> list[str]:
    if not comparison.evaluations:
        return []
    keys = [key for _, of_table in TABLES for key in of_table]
    headings = [Heading("evaluation", False), Heading("studies"), *(Heading(HEADINGS[key]) for key in keys)]
    headings.append(Heading("folder", False))
    rows = []
    for group, one in comparison.evaluations:
        numbers = [Cell(estimate_cell(one, key), one.scores.get(key, math.nan)) for key in keys]
        folder = Cell(str(one.folder), str(one.folder), "path")
        rows.append(
            ("", [Cell(group.label, group.label), Cell(str(one.num_studies), one.num_studies), *numbers, folder])
        )
    return ["<h2>Evaluations</h2>", _table(headings, rows), _paragraph(evaluations_note(comparison), "note")]


def _picture(picture: Picture) -> list[str]:
    data = base64.b64encode(svg_bytes(picture.figure)).decode()
    alt = escape(picture.description)
    image = f'<img src="data:image/svg+xml;base64,{data}" alt="{alt}">'
    return [f"<h2>{escape(picture.title)}</h2>", image, _paragraph(picture.description, "note")]


def svg_bytes(figure: "Figure") -> bytes:
    """A figure as SVG: the same figure gives the same bytes, letters are outlines and need no font."""
    import matplotlib as mpl

    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "orapo", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _effects_section(comparison: Comparison) -> list[str]:
    if not comparison.effects:
        return []
    texts = ("setting", "value")
    numbers = ("runs", "mean", "95 %", "against the baseline's value", "95 %")
    headings = [*(Heading(text, False) for text in texts), *(Heading(text) for text in numbers)]
    rows = []
    for effect in comparison.effects:
        for one in effect.effects:
            is_reference = shown_value(one.value) == shown_value(effect.reference)
            cells = [
                Cell(effect.name + ("" if effect.is_matched else " *"), effect.name),
                Cell(shown_value(one.value), shown_value(one.value), "text"),
                Cell(str(one.num_runs), one.num_runs),
                Cell(number(one.mean), one.mean),
                Cell(interval(one.low, one.high), one.low),
                Cell("reference" if is_reference else signed(one.difference), one.difference),
                Cell("" if is_reference else interval(one.difference_low, one.difference_high, is_signed=True)),
            ]
            rows.append(("baseline" if is_reference else "", cells))
    heading = f"<h2>Effects in numbers: {escape(HEADINGS[comparison.effects[0].score])}</h2>"
    return [heading, _table(headings, rows), _paragraph(effects_note(comparison.effects), "note")]


def _unfinished_section(comparison: Comparison) -> list[str]:
    if not comparison.unfinished:
        return []
    headings = [
        Heading("folder", False),
        Heading("state", False),
        Heading("step"),
        Heading("seed"),
        Heading("why", False),
    ]
    rows = []
    for run in comparison.unfinished:
        seed = "" if run.seed is None else run.seed
        cells = [
            Cell(str(run.folder), str(run.folder), "path"),
            Cell(run.state, run.state, "text"),
            Cell(step_of(run), run.last_step),
            Cell(str(seed) or ABSENT, seed),
            Cell(run.reason or ABSENT, run.reason, "text"),
        ]
        rows.append(("", cells))
    return ["<h2>Runs without test scores</h2>", _table(headings, rows)]


def _published_section(table: PublishedTable, comparison: Comparison) -> list[str]:
    headings = [Heading(text, text in ("P", "R", "F1")) for text in PUBLISHED_HEADINGS]
    rows = []
    for is_own, cells, _ in published_lines(table, comparison):
        numbers = [cell.removeprefix("≈ ").split(" ")[0].replace(ABSENT, "") for cell in cells]
        kinds = ["" if heading.is_number else "text" for heading in headings]
        shown = [Cell(text, value, kind) for text, value, kind in zip(cells, numbers, kinds, strict=True)]
        rows.append(("own" if is_own else "", shown))
    title = f"Table {table.number} of the paper: {table.title} ({table.average} average; {table.test_set})"
    notes = [_paragraph(comparability(table, comparison.groups), "warn")]
    if table.note:
        notes.append(_paragraph(table.note, "note"))
    return [f"<h2>{escape(title)}</h2>", *notes, _table(headings, rows)]
