"""Tables as text on the terminal."""

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from orapo.comparison.run_state import RunState
from orapo.comparison.tables import Table
from orapo.display import visible

PLAIN_WIDTH = 190
"""Columns where there is no terminal to ask; wide, for files and pipes don't wrap."""

UNBOUNDED = 10_000
STATE_STYLES = {RunState.FAILED: "red", RunState.DAMAGED: "red", RunState.KILLED: "red", RunState.RUNNING: "cyan"}


def print_tables(tables: Iterable[Table], problems: Iterable[str]) -> None:
    """Prints the tables, and files that could not be read; with colour on a terminal only."""
    console = Console()
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    for table in tables:
        _print(table, console)
    for problem in problems:
        console.print(Text(visible(f"not read: {problem}"), style="red"))


def _print(table: Table, console: Console) -> None:
    left_out: list[str] = []
    for heading in table.dispensable:
        if _width(_rich(table, left_out), console) <= console.width:
            break
        left_out.append(heading)
    shown = _rich(table, left_out)
    # Numbers are never cut: what is still too wide runs over the terminal's edge.
    console.width = max(console.width, _width(shown, console))
    console.print(shown)
    if left_out:
        names = ", ".join(left_out)
        console.print(f"This terminal is too narrow for {names}: --csv and --page show all.", style="yellow")
    for note in table.notes:
        console.print(visible(note), highlight=False, style="dim")
    for warning in table.warnings:
        console.print(Text(visible(warning), style="yellow"))
    console.print()


def _width(table: RichTable, console: Console) -> int:
    return console.measure(table, options=console.options.update(max_width=UNBOUNDED)).minimum


def _rich(table: Table, left_out: list[str]) -> RichTable:
    shown = RichTable(
        title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    headings = [heading for heading in table.rows[0] if heading not in left_out]
    for heading in headings:
        if heading in table.texts:
            shown.add_column(heading, overflow="fold", min_width=16 if heading == headings[0] else None)
            continue
        lines = heading.replace(", ", ",\n").replace(" (", "\n(")
        # Said outright, for else a narrow terminal cuts numbers off.
        width = max(map(len, [*lines.split("\n"), *(visible(row[heading]) for row in table.rows)]))
        shown.add_column(lines, justify="right", no_wrap=True, min_width=width)
    for place, row in enumerate(table.rows):
        # A cell is text: square brackets in it are no markup.
        style = STATE_STYLES.get(RunState(row["state"]), "yellow") if "state" in row else ""
        cells = [Text(visible(row[heading]), style=style if heading == "state" else "") for heading in headings]
        shown.add_row(*cells, style="bold" if place in table.bold else "")
    return shown
