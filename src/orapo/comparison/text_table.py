"""The comparison as text on the terminal."""

from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

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
    signed,
    spread,
    step_of,
    steps_cell,
)
from orapo.comparison.cells import score_columns as columns_of
from orapo.comparison.compare import Comparison
from orapo.comparison.effects import OVER_SEEDS, SettingEffect
from orapo.comparison.evaluation_cells import TABLES, estimate_cell, evaluations_note
from orapo.comparison.groups import Group
from orapo.comparison.published import PublishedRow, PublishedTable, comparability
from orapo.comparison.run_folder import Run
from orapo.comparison.run_state import RunState
from orapo.comparison.swept import shown_value

PLAIN_WIDTH = 190
"""Columns where there is no terminal to ask; wide, for files and pipes don't wrap."""

UNBOUNDED = 10_000
DISPENSABLE = ("macro_precision", "macro_recall", "shuffled_macro_f1", "micro_f1")

MAX_OWN_ROWS = 5
STATE_STYLES = {RunState.FAILED: "red", RunState.DAMAGED: "red", RunState.KILLED: "red", RunState.RUNNING: "cyan"}


def print_comparison(comparison: Comparison, stream: TextIO | None = None) -> None:
    """Prints the tables to ``stream`` (standard output by default), in colour only on a terminal."""
    console = Console(file=stream)
    if not console.is_terminal:
        console = Console(file=stream, width=PLAIN_WIDTH, force_terminal=False, color_system=None)
    columns, left_out = _fitting_columns(comparison, console)
    # Numbers are never cut: what is still too wide runs over the terminal's edge.
    console.width = max(console.width, _needed(_groups_table(comparison, columns), console))
    console.print(_groups_table(comparison, columns))
    if left_out:
        names = ", ".join(HEADINGS[key] for key in left_out)
        console.print(f"This terminal is too narrow for {names}: --csv and --page show all.", style="yellow")
    console.print(p_over_seeds_note(comparison), highlight=False, style="dim")
    for label, found in comparison.significance.items():
        if found.note:
            console.print(Text(f"No p (studies) for {label}: {found.note}.", style="yellow"))
    _print_evaluations(comparison, console)
    if comparison.effects:
        console.print()
        console.print(_effects_table(comparison.effects))
        console.print(effects_note(comparison.effects), highlight=False, style="dim")
    if comparison.unfinished:
        console.print()
        console.print(_unfinished_table(comparison.unfinished))
    for table in comparison.published:
        console.print()
        console.print(_published_table(table, comparison))
        console.print(Text(f"{comparability(table, comparison.groups)} {table.note}".strip(), style="yellow"))
    for problem in comparison.problems:
        console.print(Text(f"not read: {problem}", style="red"))


def _print_evaluations(comparison: Comparison, console: Console) -> None:
    if not comparison.evaluations:
        return
    for name, keys in TABLES:
        table = _evaluations_table(comparison, name, keys)
        console.width = max(console.width, _needed(table, console))
        console.print()
        console.print(table)
    console.print(evaluations_note(comparison), highlight=False, style="dim")


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _fitting_columns(comparison: Comparison, console: Console) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The scores that fit the terminal's width, and those that do not, given up in the order of ``DISPENSABLE``."""
    shown = columns_of(comparison)
    given_up: list[str] = []
    for key in (key for key in DISPENSABLE if key in shown and key != comparison.sort):
        if _needed(_groups_table(comparison, shown), console) <= console.width:
            break
        shown = tuple(other for other in shown if other != key)
        given_up.append(key)
    return shown, tuple(given_up)


def _needed(table: Table, console: Console) -> int:
    return console.measure(table, options=console.options.update(max_width=UNBOUNDED)).minimum


def _groups_table(comparison: Comparison, columns: tuple[str, ...]) -> Table:
    table = _table(f"{contents(comparison)}, sorted by {comparison.sort}")
    table.add_column("group", overflow="fold", min_width=16)
    table.add_column("runs", overflow="fold")
    headings = ["step", *(HEADINGS[key] for key in columns), "Δ macro F1 [95 %]", "p\n(studies)", "p\n(seeds)"]
    rows = [_numbers(comparison, group, columns) for group in comparison.groups]
    for heading, *cells in zip(headings, *rows, strict=True):
        lines = heading.replace(", ", ",\n")
        # Said outright, for else a narrow terminal cuts numbers off.
        width = max(map(len, [*lines.split("\n"), *cells]))
        table.add_column(lines, justify="right", no_wrap=True, min_width=width)
    for group, cells in zip(comparison.groups, rows, strict=True):
        # A label is text: square brackets in it are no markup.
        style = "bold" if group is comparison.baseline else ""
        table.add_row(Text(group.label), Text(runs_cell(group)), *map(Text, cells), style=style)
    return table


def _numbers(comparison: Comparison, group: Group, columns: tuple[str, ...]) -> list[str]:
    return [steps_cell(group), *(spread(group.spread(key)) for key in columns), *p_cells(comparison, group)]


def _evaluations_table(comparison: Comparison, name: str, keys: tuple[str, ...]) -> Table:
    table = _table(f"{counted(len(comparison.evaluations), 'evaluation')}: {name}")
    table.add_column("evaluation", overflow="fold", min_width=16)
    table.add_column("studies", justify="right", no_wrap=True)
    rows = [[estimate_cell(one, key) for key in keys] for _, one in comparison.evaluations]
    for heading, *cells in zip([HEADINGS[key].replace(", ", ",\n") for key in keys], *rows, strict=True):
        table.add_column(heading, justify="right", no_wrap=True, min_width=max(map(len, cells)))
    for (group, one), cells in zip(comparison.evaluations, rows, strict=True):
        table.add_row(Text(group.label), str(one.num_studies), *map(Text, cells))
    return table


def _effects_table(effects: tuple[SettingEffect, ...]) -> Table:
    table = _table(f"Effect of each setting on {HEADINGS[effects[0].score]}: marginal means over the other settings")
    for heading in ("setting", "value"):
        table.add_column(heading, overflow="fold")
    for heading in ("runs", "mean", "95 %", "against the baseline's value", "95 %"):
        table.add_column(heading, justify="right", no_wrap=True)
    for effect in effects:
        for place, one in enumerate(effect.effects):
            name = effect.name + ("" if effect.is_matched else " *") if place == 0 else ""
            is_reference = shown_value(one.value) == shown_value(effect.reference)
            told = (
                ("reference", "")
                if is_reference
                else (signed(one.difference), interval(one.difference_low, one.difference_high, is_signed=True))
            )
            cells = (str(one.num_runs), number(one.mean), interval(one.low, one.high), *told)
            table.add_row(Text(name), Text(shown_value(one.value)), *cells, end_section=one is effect.effects[-1])
    return table


def effects_note(effects: tuple[SettingEffect, ...]) -> str:
    """What the intervals are of, and what a star means."""
    sources = {effect.source for effect in effects}
    parts = []
    if OVER_SEEDS in sources:
        parts.append("Intervals: bootstrap over seeds, their scatter pooled over all groups.")
    if "settings" in sources:
        parts.append("No setting was run with two seeds: intervals resample the combinations of the other settings.")
    if "" in sources:
        parts.append("No interval: one run a value, and nothing to resample.")
    if not all(effect.is_matched for effect in effects):
        parts.append("* not every value was run with the same other settings: its means mix their effects.")
    return " ".join(parts)


def _unfinished_table(runs: tuple[Run, ...]) -> Table:
    table = _table(f"{counted(len(runs), 'run')} without test scores")
    table.add_column("state", no_wrap=True)
    table.add_column("step", justify="right", no_wrap=True)
    table.add_column("seed", justify="right", no_wrap=True)
    table.add_column("folder", overflow="fold")
    table.add_column("why", overflow="fold")
    for run in runs:
        seed = ABSENT if run.seed is None else str(run.seed)
        state = Text(run.state, style=STATE_STYLES.get(run.state, "yellow"))
        table.add_row(state, step_of(run), seed, Text(str(run.folder)), Text(run.reason or ABSENT))
    return table


def own_rows(comparison: Comparison, average: str) -> tuple[Group, ...]:
    """The groups that stand beside published rows: the best by this average's F1, and the baseline."""
    key = f"{average}_f1"
    scored = [group for group in comparison.groups if group.spread(key).n]
    best = sorted(scored, key=lambda group: -group.spread(key).mean)[:MAX_OWN_ROWS]
    has_more = comparison.baseline in scored and comparison.baseline not in best
    return (*best, *([comparison.baseline] if has_more else []))


def published_lines(table: PublishedTable, comparison: Comparison) -> list[tuple[bool, tuple[str, ...], float]]:
    """Rows of a published table and one's own, best F1 first: whether own, cells, F1."""
    lines = [(False, _published_cells(row), row.f1 if row.f1 is not None else -1.0) for row in table.rows]
    for group in own_rows(comparison, table.average):
        spreads = [group.spread(f"{table.average}_{kind}") for kind in ("precision", "recall", "f1")]
        cells = (group.label, "this comparison", *(spread(one) for one in spreads), ABSENT, ABSENT)
        lines.append((True, cells, spreads[2].mean))
    return sorted(lines, key=lambda line: -line[2])


def _published_cells(row: PublishedRow) -> tuple[str, ...]:
    numbers = [ABSENT if value is None else f"{value:.3f}" for value in (row.precision, row.recall, row.f1)]
    numbers = [f"≈ {cell}" if row.is_recomputed and cell != ABSENT else cell for cell in numbers]
    return (row.name, row.venue, *numbers, row.parameters or ABSENT, row.train_size or ABSENT)


def _published_table(table: PublishedTable, comparison: Comparison) -> Table:
    shown = _table(f"Table {table.number} of the paper: {table.title} ({table.average} average; {table.test_set})")
    for heading in PUBLISHED_HEADINGS:
        shown.add_column(heading, justify="right" if heading in ("P", "R", "F1") else "left", overflow="fold")
    for is_own, cells, _ in published_lines(table, comparison):
        shown.add_row(*map(Text, cells), style="bold green" if is_own else "")
    return shown


PUBLISHED_HEADINGS = ("system", "venue", "P", "R", "F1", "parameters", "trained on")
