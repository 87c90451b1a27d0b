"""The tables of a run's own test or of evaluate.py: a system beside its controls, scores with intervals."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from orapo.chexpert import OBSERVATIONS
from orapo.display import visible
from orapo.empty_reports import says_nothing
from orapo.evaluation.answers import ACCURACY, ANSWERED
from orapo.evaluation.clinical import AVERAGES, OBSERVATION_SETS, RATIOS, READINGS
from orapo.evaluation.examiner import REFUSED, SCORE, SystemScores
from orapo.evaluation.mark_measures import DIFFERENCE, KINDS, SIDES
from orapo.evaluation.resampling import Difference, Estimate
from orapo.evaluation.text_measures import ATTRIBUTES, OVERLAP

WIDTH = 124
"""Columns of the tables, on a terminal too: cut off, an interval would mislead."""

_NUMBERS = 23
"""Columns of a number with its interval."""

_LONGEST_TITLE = 40
_LONGEST_NAME = 22
_MOST_GROUPS = 6
"""Of questions; the files have all."""

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
    "change_accuracy": "accuracy of stated changes",
    "change_recall": "recall of changes",
    "mean_words": "words per report",
    "repetition": "repeated 4-grams",
    "empty_report_fraction": "empty report share",
    "seconds_per_image": "seconds per image",
    "cost_usd_per_image": "US dollars per image",
}
MARK_TITLES = {"with_mark": "with the mark", "without_mark": "without it", DIFFERENCE: "difference"}


@dataclass(frozen=True)
class EvaluationTables:
    """The content of the tables.

    Attributes:
        headline: what was evaluated, on what, and on how many studies.
        systems: the system first, then its controls, by key.
        against_title: of the second system, "" for none.
        differences: system minus the second one, by measure.
        reading: the reading of uncertain labels that is printed; the file has both.
        confidence: of the intervals.
    """

    headline: str
    systems: Mapping[str, SystemScores]
    against_title: str
    differences: Mapping[str, Difference]
    reading: str
    confidence: float


def tables_text(tables: EvaluationTables, *, everything: bool) -> str:
    """Plain text, ``WIDTH`` columns wide; both readings of uncertain labels, or the chosen one."""
    stream = io.StringIO()
    console = Console(file=stream, width=WIDTH, force_terminal=False, color_system=None)
    for part in _parts(tables, list(READINGS) if everything else [tables.reading]):
        console.print(part)
    return "".join(f"{visible(line.rstrip())}\n" for line in stream.getvalue().split("\n")[:-1])


def _parts(tables: EvaluationTables, readings: Sequence[str]) -> Iterator[RenderableType]:
    yield Text(tables.headline, style="bold")
    computed = {key: system for key, system in tables.systems.items() if not system.not_computed}
    if ACCURACY in computed["system"].estimates:
        yield _answer_table(computed)
        yield _text_table(computed)
        if tables.differences:
            yield _difference_table(tables, ())
        yield from _notes(tables)
        return
    for reading in readings:
        for observation_set in OBSERVATION_SETS:
            yield _clinical_table(computed, reading, observation_set)
        for reader in readers_of(computed["system"]):
            read = {key: one for key, one in computed.items() if f"{reader}/{REFUSED}" in one.estimates}
            yield _clinical_table(read, f"{reader}/{reading}", "all_14")
        yield _observation_table(computed, reading)
        yield from _mark_table(computed, reading)
    yield _text_table(computed)
    if tables.differences:
        yield _difference_table(tables, readings)
    yield from _notes(tables)


def readers_of(system: SystemScores) -> tuple[str, ...]:
    """The second readers that measured a system."""
    return tuple(name.removesuffix(f"/{REFUSED}") for name in system.estimates if name.endswith(f"/{REFUSED}"))


def _reading_title(reading: str) -> str:
    reader, _, own = reading.rpartition("/")
    return READING_TITLES[own] + (f", read by {reader}" if reader else "")


def _clinical_table(systems: Mapping[str, SystemScores], reading: str, observation_set: str) -> Table:
    title = f"Clinical: {SET_TITLES[observation_set]}, {_reading_title(reading)}"
    table = _table(title, "P", "R", "F1", words="average")
    for system in systems.values():
        for number, average in enumerate(AVERAGES):
            cells = [_cell(system.estimates[f"{reading}/{observation_set}/{average}/{kind}"]) for kind in RATIOS]
            table.add_row("" if number else _short(system.title), average, *cells, end_section=average == AVERAGES[-1])
    return table


def _answer_table(systems: Mapping[str, SystemScores]) -> Table:
    """A row a system: all questions with intervals, and the first ``_MOST_GROUPS`` groups without."""
    own = systems["system"]
    groups = [name.removeprefix(f"{ACCURACY}/") for name in own.estimates if name.startswith(f"{ACCURACY}/")]
    shown = groups[:_MOST_GROUPS]
    left = f"; {len(groups) - len(shown)} more groups in the files" if len(groups) > len(shown) else ""
    table = _table(f"Accuracy of answers; by group, with its number of questions{left}", "all", "with an answer")
    for group in shown:
        table.add_column(f"{_short(group, 9)} {own.counts[f'{group}/support']:.0f}", justify="right")
    for system in systems.values():
        found = system.estimates
        cells = [_cell(found[name]) if name in found else "-" for name in (ACCURACY, ANSWERED)]
        cells += [f"{found[f'{ACCURACY}/{group}'].value:.3f}" for group in shown]
        table.add_row(_short(system.title, _LONGEST_NAME), *cells)
    return table


def _observation_table(systems: Mapping[str, SystemScores], reading: str) -> Table:
    own = systems["system"]
    others = {
        title: systems[key] for key, title in (("base", "base"), ("shuffled_images", "shuffled")) if key in systems
    }
    headings = ("support", "P", "R", "F1", *(f"{title} F1" for title in others))
    table = _table(f"Each observation: {_short(own.title)}, {READING_TITLES[reading]}", *headings)
    for observation in OBSERVATIONS:
        name = f"{reading}/{observation.value}"
        cells = [_cell(own.estimates[f"{name}/{kind}"]) for kind in RATIOS]
        cells += [f"{other.estimates[f'{name}/f1'].value:.3f}" for other in others.values()]
        table.add_row(observation.value, f"{own.counts[f'{name}/support']:.0f}", *cells)
    return table


def _mark_table(systems: Mapping[str, SystemScores], reading: str) -> Iterator[Table]:
    """One table where the studies' source draws a spurious mark; none otherwise."""
    start = f"{reading}/mark/"
    marked = [system for system in systems.values() if any(name.startswith(start) for name in system.estimates)]
    if not marked:
        return
    observation = next(name for name in marked[0].estimates if name.startswith(start)).split("/")[2]
    title = f"{observation}, studies with and without the spurious mark, {READING_TITLES[reading]}"
    table = _table(title, "F1", "recall", "false positive rate", words="studies")
    for system in marked:
        for side in (*SIDES, DIFFERENCE):
            cells = [_cell(system.estimates[f"{start}{observation}/{side}/{kind}"]) for kind in KINDS]
            name = _short(system.title) if side == SIDES[0] else ""
            table.add_row(name, MARK_TITLES[side], *cells, end_section=side == DIFFERENCE)
    yield table


def _text_table(systems: Mapping[str, SystemScores]) -> Table:
    worded = [system for system in systems.values() if "mean_words" in system.estimates]
    pairs = worded[0].pairs
    num_with_report = sum(not says_nothing(pair.oracle_report) for pair in pairs)
    told = f": {num_with_report} of {len(pairs)} studies have a report to compare with"
    table = _table("Text" + ("" if ACCURACY in worded[0].estimates else told))
    for system in worded:
        table.add_column(_short(system.title), justify="right", max_width=_NUMBERS, overflow="fold")
    named = dict.fromkeys(name for system in worded for name in system.estimates if name.startswith(SCORE))
    scores = {name: _short(name.removeprefix(SCORE).replace("_", " "), _LONGEST_NAME) for name in named}
    unread = {f"{reader}/{REFUSED}": f"refused, {reader}" for reader in readers_of(worded[0])}
    for name, title in (TEXT_TITLES | scores | unread).items():
        cells = [_cell(system.estimates[name], name) if name in system.estimates else "-" for system in worded]
        if any(cell != "-" for cell in cells):
            table.add_row(title, *cells)
    return table


def _difference_table(tables: EvaluationTables, readings: Sequence[str]) -> Table:
    table = _table(f"Difference to {tables.against_title} (paired over studies)", "difference", "p")
    readers = [f"{reader}/" for reader in readers_of(tables.systems["system"])]
    names = [
        f"{reader}{reading}/{observations}/{average}/f1"
        for reader in ("", *readers)
        for reading in readings
        for observations in OBSERVATION_SETS
        for average in AVERAGES
    ]
    scores = [name for name in tables.differences if name.startswith(SCORE)]
    answers = [name for name in tables.differences if name.startswith(ACCURACY)][: 1 + _MOST_GROUPS]
    for name in (*names, *answers, *OVERLAP, *ATTRIBUTES, "mean_words", "repetition", *scores):
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
    if ACCURACY in tables.systems["system"].estimates:
        yield f"Brackets: {tables.confidence:.0%} percentile bootstrap over questions."
        return
    yield (
        f"Brackets: {tables.confidence:.0%} percentile bootstrap over studies. 0/0 counts as 0, in example ratios too: "
        "a study without any finding, rightly reported so, scores 0 there."
    )


def _table(title: str, *numbers: str, words: str | None = None) -> Table:
    """An empty table whose rows have a name, then perhaps a column of words, then numbers."""
    style = {"title_justify": "left", "title_style": "bold", "box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0)}
    table = Table(title=f"\n{title}", **style)  # type: ignore[arg-type]
    for heading in ("",) if words is None else ("", words):
        table.add_column(heading, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _short(title: str, longest: int = _LONGEST_TITLE) -> str:
    """The end of a long name, which tells paths apart."""
    return title if len(title) <= longest else f"...{title[3 - longest :]}"


def _cell(estimate: Estimate, name: str = "") -> str:
    digits = {"mean_words": 1, "seconds_per_image": 4, "cost_usd_per_image": 4}.get(name, 3)
    value, low, high = (f"{number:.{digits}f}" for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"
