"""How far the labelling is, for someone who watches a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orapo.labeler.tables.reports import ReportTable


@contextmanager
def progress_bar(table: ReportTable) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of rows labelled so far; it draws on a terminal, else it does nothing."""
    if not sys.stderr.isatty():
        yield lambda num_done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.fields[told]}"), BarColumn())
    console = Console(stderr=True)
    with Progress(*columns, TaskProgressColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0, told="0 reports")
        yield lambda num_done: bar.update(task, completed=table.fraction_read(), told=f"{num_done:,} reports")
