"""The results page: one HTML file with tables and curves, which opens without a server and without a connection."""

import base64
import io
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from orapo.comparison.compare import Comparison
from orapo.comparison.effects import SettingEffect
from orapo.comparison.groups import Group
from orapo.comparison.page_template import as_data, fill, paragraph
from orapo.comparison.pictures import PANELS, band_of, drawn_groups, effects_figure
from orapo.comparison.run_folder import BESIDE_REWARD, OBSERVATION_KEYS, TRAINING_KEYS, VALIDATION_KEYS
from orapo.comparison.scores import SCORES
from orapo.comparison.tables import Table, contents, counted

CURVES = """<h2 id="curves-title">Curves</h2>
<div class="controls"><span id="legend-controls"></span></div>
<div class="curves"><ul id="legend" aria-label="Groups drawn"></ul><div id="charts"></div></div>
<p id="reading" class="hidden" role="status"></p>
<p class="note">Line: mean over a group's runs; training curves are running means. Band: ±1 SD over runs. Move over a
chart, or into it by Tab and then ← and →, to read its values; each chart's heading chooses the quantity.</p>"""

MAX_POINTS = 120
"""Of a curve: hundreds of groups stay a page that opens at once."""

QUANTITIES: dict[str, tuple[str, str]] = {
    **{key: (title, unit) for key, title, unit in PANELS},
    "shuffled_macro_f1": ("Validation macro F1, images shuffled", "mean F1 of 14 observations"),
    "reward_precision": ("Precision of the rollouts", "0 to 1"),
    "completion_tokens": ("Length of the rollouts", "tokens"),
    "repetition": ("Repeated 4-grams of the rollouts", "fraction (0 to 1)"),
    **{key: (f"{key.removesuffix('/f1')}, validation F1", "0 to 1") for key in OBSERVATION_KEYS},
}
"""Title and unit by the key of a curve."""

HEAT = (
    "Colour: the share of the column's largest difference, orange up, purple down; columns do not compare. Frame: what "
    "was rewarded. Bold: the interval excludes 0."
)


def results_page(comparison: Comparison, tables: Sequence[Table]) -> str:
    """The page of the tables: a heat map alone, others with curves below the first and a picture of the effects."""
    first, *others = ("\n".join(_table(table, place)) for place, table in enumerate(tables))
    title = contents(comparison)
    parts = [f"<h1>{escape(title)}</h1>", paragraph(_overview(comparison)), first]
    curves = None
    if tables[0].is_heat_map:
        others.append(paragraph(HEAT, "note"))
    else:
        curves = _curve_data(comparison)
        parts += [CURVES] if curves["groups"] else []
        parts += _effects(comparison.effects) if comparison.effects else []
    parts += others
    if comparison.problems:
        items = "".join(f"<li>{escape(problem)}</li>" for problem in comparison.problems)
        parts.append(f'<h2>Not read</h2><ul class="warn">{items}</ul>')
    return fill("results_page.html", title=title, body="\n".join(parts), data=as_data(curves))


def _overview(comparison: Comparison) -> str:
    settings = ", ".join(comparison.swept) or "nothing but the seed"
    missing = len(comparison.unfinished)
    tail = f" {counted(missing, 'run')} without test scores." if missing else ""
    differ = f"The groups differ in: {settings}. " if comparison.runs else ""
    return f"{differ}The baseline is {comparison.baseline.label}.{tail}"


def _table(table: Table, place: int) -> Iterator[str]:
    yield f"<h2>{escape(table.title)}</h2>"
    frame = pd.DataFrame(list(table.rows))
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


def _effects(effects: Sequence[SettingEffect]) -> list[str]:
    """A picture as SVG: the same effects give the same bytes, letters are outlines and need no font."""
    import matplotlib as mpl

    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "orapo", "svg.fonttype": "path"}):
        effects_figure(effects).savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    data = base64.b64encode(file.getvalue()).decode()
    told = (
        f"Marginal mean of {SCORES[effects[0].score].heading} for each value of each setting, with its 95 % interval."
    )
    image = f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(told)}">'
    return ["<h2>Effects of the settings</h2>", image, paragraph(told, "note")]


def _curve_data(comparison: Comparison) -> dict[str, Any]:
    """What the page's script draws: groups with curves, the baseline and the best first; quantities that some have."""
    first = drawn_groups(comparison.groups, comparison.baseline)
    others = [group for group in comparison.groups if not any(group is one for one in first)]
    groups = [(group, _curves(group)) for group in (*first, *others)]
    found = {key for _, curves in groups for key in curves}
    return {
        "quantities": {key: told for key, told in QUANTITIES.items() if key in found},
        "numDrawn": len(first),
        "groups": [
            {
                "label": group.label,
                "runs": len(group.runs),
                "isBaseline": group is comparison.baseline,
                "curves": curves,
            }
            for group, curves in groups
            if curves
        ],
    }


def _curves(group: Group) -> dict[str, list[list[float | None]]]:
    """Of each quantity steps, means and SDs, the last null where fewer than two runs have the step."""
    curves = {}
    for key in (*TRAINING_KEYS, *BESIDE_REWARD, *VALIDATION_KEYS, *OBSERVATION_KEYS):
        if (band := band_of(group, key)) is not None:
            kept = band.thinned(MAX_POINTS)
            curves[key] = [list(map(_short, values)) for values in (kept.steps, kept.mean, kept.sd)]
    return curves


def _short(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.5g}")
