"""The results page: one HTML file with tables and curves, which opens without a server and without a connection."""

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from orapo.comparison.compare import Comparison
from orapo.comparison.curve_data import curve_data
from orapo.comparison.page_template import as_data, fill, paragraph
from orapo.comparison.pictures import Picture, effects_pictures
from orapo.comparison.tables import Table, contents, counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = """<h2 id="curves-title">Curves</h2>
<div class="controls"><span id="legend-controls"></span></div>
<div class="curves"><ul id="legend" aria-label="Groups drawn"></ul><div id="charts"></div></div>
<p id="reading" class="hidden" role="status"></p>
<p class="note">Line: mean over a group's runs; training curves are running means. Band: ±1 SD over runs. Move over a
chart, or into it by Tab and then ← and →, to read its values; each chart's heading chooses the quantity.</p>"""

HEAT = (
    "Colour: the share of the column's largest difference, orange up, purple down; columns do not compare. Frame: what "
    "was rewarded. Bold: the interval excludes 0."
)


def results_page(comparison: Comparison, tables: Iterable[Table]) -> str:
    """The page of ``comparison_tables``, with interactive curves below the first and the effects' picture."""
    first, *others = ("\n".join(_table(table, place)) for place, table in enumerate(tables))
    curves = curve_data(comparison)
    parts = [first, *([CURVES] if curves["groups"] else [])]
    parts += [part for picture in effects_pictures(comparison) for part in _picture(picture)]
    return _page(comparison, [*parts, *others], as_data(curves))


def cross_page(comparison: Comparison, tables: Sequence[Table]) -> str:
    """The page of the cross table, drawn as a heat map."""
    parts = ["\n".join(_table(table, place)) for place, table in enumerate(tables)]
    return _page(comparison, [*parts, paragraph(HEAT, "note")], "null")


def _page(comparison: Comparison, parts: list[str], data: str) -> str:
    title = contents(comparison)
    parts = [f"<h1>{escape(title)}</h1>", paragraph(_overview(comparison)), *parts]
    if comparison.problems:
        items = "".join(f"<li>{escape(problem)}</li>" for problem in comparison.problems)
        parts.append(f'<h2>Not read</h2><ul class="warn">{items}</ul>')
    return fill("results_page.html", title=title, body="\n".join(parts), data=data)


def _overview(comparison: Comparison) -> str:
    settings = ", ".join(setting.name for setting in comparison.swept) or "nothing but the seed"
    missing = len(comparison.unfinished)
    tail = f" {counted(missing, 'run')} without test scores." if missing else ""
    differ = f"The groups differ in: {settings}. " if comparison.runs else ""
    return f"{differ}The baseline is {comparison.baseline.label}.{tail}"


def _table(table: Table, place: int) -> Iterator[str]:
    yield f"<h2>{escape(table.title)}</h2>"
    frame = table.frame
    classes = frame.map(lambda _: "")
    classes.loc[:, [heading for heading in frame if heading in table.texts]] = "text"
    classes.iloc[list(table.bold)] += " bold"
    for row, heading in table.marked:
        classes.loc[row, heading] += " marked"
    style = frame.style.hide(axis="index").format(escape="html").format_index(escape="html", axis=1)
    attributes = f'class="sortable{" heat" if table.is_heat_map else ""}" aria-label="{escape(table.title)}"'
    style = style.set_uuid(f"t{place}").set_td_classes(classes).set_table_attributes(attributes)
    style.cell_ids = False
    yield f'<div class="scroll" tabindex="0">{style.to_html()}</div>'
    yield from (paragraph(note, "note") for note in table.notes)
    yield from (paragraph(warning, "warn") for warning in table.warnings)


def _picture(picture: Picture) -> list[str]:
    data = base64.b64encode(svg_bytes(picture.figure)).decode()
    alt = escape(picture.description)
    image = f'<img src="data:image/svg+xml;base64,{data}" alt="{alt}">'
    return [f"<h2>{escape(picture.title)}</h2>", image, paragraph(picture.description, "note")]


def svg_bytes(figure: "Figure") -> bytes:
    """A figure as SVG: the same figure gives the same bytes, letters are outlines and need no font."""
    import matplotlib as mpl

    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "orapo", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()
