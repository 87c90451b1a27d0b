"""The tables of an evaluation: a system beside its controls, every number with its interval."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from orapo.chexpert import OBSERVATIONS
from orapo.evaluation.clinical_measures import AVERAGES, OBSERVATION_SETS, RATIOS, READINGS
from orapo.evaluation.mark_measures import DIFFERENCE, KINDS, SIDES
from orapo.evaluation.resampling import Difference, Estimate
from orapo.evaluation.system_measures import SystemScores
from orapo.evaluation.text_measures import OVERLAP

WIDTH = 124
"""Columns of the tables, on a terminal too: cut off, an interval would mislead."""

_NUMBERS = 23
"""Columns of a number with its interval."""

_LONGEST_TITLE = 40

SET_TITLES = {"all_14": "14 observations", "competition_5": "the 5 of the CheXpert competition"}
READING_TITLES = {"uncertain_not_positive": "uncertain is not positive", "uncertain_positive": "uncertain is positive"}
TEXT_TITLES = {
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "bleu_4": "BLEU-4",
    "chrf": "chrF",
    "cider_d": "CIDEr-D (0 to 10)",
    "attribute_f1": "attribute F1",
    "mean_words": "words per report",
    "repetition": "repeated 4-grams",
    "empty_report_fraction": "empty report share",
    "seconds_per_image": "seconds per image",
    "cost_usd_per_image": "US dollars per image",
}
MARK_TITLES = {"with_mark": "with the mark", "without_mark": "without it", DIFFERENCE: "difference"}


@dataclass(frozen=True)
class EvaluationTables:
    """What the tables say.

    Attributes:
        headline: what was evaluated, on what.
        systems: the system first, then its controls, by key.
        against_title: of the second system, "" for none.
        differences: system minus the second one, by measure.
        reading: the reading of uncertain labels that is printed; the file has both.
        num_with_report: studies that text is compared on.
        num_studies: all of them.
        confidence: of the intervals.
    """

    headline: str
    systems: Mapping[str, SystemScores]
    against_title: str
    differences: Mapping[str, Difference]
    reading: str
    num_with_report: int
    num_studies: int
    confidence: float


def tables_text(tables: EvaluationTables, *, everything: bool) -> str:
    """Plain text, ``WIDTH`` columns wide; both readings of uncertain labels, or the chosen one."""
    stream = io.StringIO()
    console = Console(file=stream, width=WIDTH, force_terminal=False, color_system=None)
    for part in _parts(tables, list(READINGS) if everything else [tables.reading]):
        console.print(part)
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def _parts(tables: EvaluationTables, readings: Sequence[str]) -> Iterator[RenderableType]:
    yield Text(tables.headline, style="bold")
    computed = {key: system for key, system in tables.systems.items() if not system.not_computed}
    for reading in readings:
        for observation_set in OBSERVATION_SETS:
            yield _clinical_table(computed, reading, observation_set)
        yield _observation_table(computed, reading)
        yield from _mark_table(computed, reading)
    yield _text_table(tables, computed)
    if tables.differences:
        yield _difference_table(tables, readings)
    yield from _notes(tables)


def _clinical_table(systems: Mapping[str, SystemScores], reading: str, observation_set: str) -> Table:
    table = _table(f"Clinical: {SET_TITLES[observation_set]}, {READING_TITLES[reading]}")
    for heading in ("average", "P", "R", "F1"):
        table.add_column(heading, justify="left" if heading == "average" else "right", no_wrap=True)
    for system in systems.values():
        for number, average in enumerate(AVERAGES):
            cells = [_cell(system.estimates[f"{reading}/{observation_set}/{average}/{kind}"]) for kind in RATIOS]
            table.add_row("" if number else _short(system.title), average, *cells, end_section=average == AVERAGES[-1])
    return table


def _observation_table(systems: Mapping[str, SystemScores], reading: str) -> Table:
    own, shuffled = systems["system"], systems.get("shuffled_images")
    table = _table(f"Each observation: {_short(own.title)}, {READING_TITLES[reading]}")
    for heading in ("support", "P", "R", "F1", "shuffled F1"):
        table.add_column(heading, justify="right", no_wrap=True)
    for observation in OBSERVATIONS:
        name = f"{reading}/{observation.value}"
        cells = [_cell(own.estimates[f"{name}/{kind}"]) for kind in RATIOS]
        other = "-" if shuffled is None else f"{shuffled.estimates[f'{name}/f1'].value:.3f}"
        table.add_row(observation.value, f"{own.counts[f'{name}/support']:.0f}", *cells, other)
    return table


def _mark_table(systems: Mapping[str, SystemScores], reading: str) -> Iterator[Table]:
    """One table where the studies' source draws a spurious mark; none otherwise."""
    start = f"{reading}/mark/"
    marked = [system for system in systems.values() if any(name.startswith(start) for name in system.estimates)]
    if not marked:
        return
    observation = next(name for name in marked[0].estimates if name.startswith(start)).split("/")[2]
    table = _table(f"{observation}, studies with and without the spurious mark, {READING_TITLES[reading]}")
    for heading in ("studies", "F1", "recall", "false positive rate"):
        table.add_column(heading, justify="left" if heading == "studies" else "right", no_wrap=True)
    for system in marked:
        for side in (*SIDES, DIFFERENCE):
            cells = [_cell(system.estimates[f"{start}{observation}/{side}/{kind}"]) for kind in KINDS]
            title = _short(system.title) if side == SIDES[0] else ""
            table.add_row(title, MARK_TITLES[side], *cells, end_section=side == DIFFERENCE)
    yield table


def _text_table(tables: EvaluationTables, systems: Mapping[str, SystemScores]) -> Table:
    worded = [system for system in systems.values() if "mean_words" in system.estimates]
    table = _table(f"Text: {tables.num_with_report} of {tables.num_studies} studies have a report to compare with")
    for system in worded:
        table.add_column(_short(system.title), justify="right", max_width=_NUMBERS, overflow="fold")
    for name, title in TEXT_TITLES.items():
        cells = [_cell(system.estimates[name], name) if name in system.estimates else "-" for system in worded]
        if any(cell != "-" for cell in cells):
            table.add_row(title, *cells)
    return table


def _difference_table(tables: EvaluationTables, readings: Sequence[str]) -> Table:
    table = _table(f"Difference to {tables.against_title} (paired over studies)")
    table.add_column("difference", justify="right", no_wrap=True)
    table.add_column("p", justify="right", no_wrap=True)
    names = [
        f"{reading}/{observations}/{average}/f1"
        for reading in readings
        for observations in OBSERVATION_SETS
        for average in AVERAGES
    ]
    for name in (*names, *OVERLAP, "attribute_f1", "mean_words", "repetition"):
        if name in tables.differences:
            found = tables.differences[name]
            cell = f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
            table.add_row(TEXT_TITLES.get(name, name), cell, f"{found.p_value:.3f}")
    return table


def _notes(tables: EvaluationTables) -> Iterator[str]:
    for system in tables.systems.values():
        if system.not_computed:
            yield f"{system.title}: not computed: {system.not_computed}"
        elif system.note:
            yield f"{system.title}: {system.note}"
    yield (
        f"Brackets: {tables.confidence:.0%} percentile bootstrap over studies. 0/0 counts as 0, in example ratios too: "
        "a study without any finding, rightly reported so, scores 0 there."
    )


def _table(title: str) -> Table:
    style = {"title_justify": "left", "title_style": "bold", "box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0)}
    table = Table(title=f"\n{title}", **style)  # type: ignore[arg-type]
    table.add_column("", no_wrap=True)
    return table


def _short(title: str) -> str:
    """The end of a long name, which tells paths apart."""
    return title if len(title) <= _LONGEST_TITLE else f"...{title[3 - _LONGEST_TITLE :]}"


def _cell(estimate: Estimate, name: str = "") -> str:
    digits = {"mean_words": 1, "seconds_per_image": 4, "cost_usd_per_image": 4}.get(name, 3)
    value, low, high = (f"{number:.{digits}f}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"
