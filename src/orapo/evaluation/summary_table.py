"""The table at the end of a run: what was learned, beside the controls, and where everything lies."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orapo.chexpert import OBSERVATIONS
from orapo.evaluation.clinical import ClinicalScores, PrecisionRecallF1

PLAIN_WIDTH = 80
"""Columns of the table where there is no terminal to ask: logs, files, continuous integration."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What the end of a run has to say; all scores on the same N test studies.

    Attributes:
        base: the policy before training.
        trained: the policy after training.
        shuffled: the trained policy, each study judged by the report of another study's images; None where there is
            only one study.
        always_positive: the report that affirms all 14 observations.
        base_seconds_per_image: to generate one report before training, batched as configured; None if not measured.
        trained_seconds_per_image: the same after training.
        run_folder: where everything lies.
        files: what lies there, file or folder name to a few words.
    """

    base: ClinicalScores
    trained: ClinicalScores
    shuffled: ClinicalScores | None
    always_positive: ClinicalScores
    base_seconds_per_image: float | None
    trained_seconds_per_image: float | None
    run_folder: str
    files: Mapping[str, str]


def print_run_summary(summary: RunSummary, stream: TextIO | None = None) -> None:
    """Prints the summary to ``stream`` (standard output by default), in colour only on a terminal."""
    console = Console(file=stream)
    _print(summary, console if console.is_terminal else _plain_console(stream))


def run_summary_text(summary: RunSummary) -> str:
    """The same summary as plain text, 80 columns wide, paths unbroken."""
    stream = io.StringIO()
    _print(summary, _plain_console(stream))
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def _plain_console(stream: TextIO | None) -> Console:
    return Console(file=stream, width=PLAIN_WIDTH, force_terminal=False, color_system=None)


def _print(summary: RunSummary, console: Console) -> None:
    console.print()
    console.print(_systems_table(summary))
    console.print(_note(summary), highlight=False)
    console.print()
    console.print(_observations_table(summary))
    # Paths must stay whole so that they can be copied: no wrapping, whatever the width.
    console.print(Text(f"Everything lies in {summary.run_folder}", style="bold"), soft_wrap=True)
    name_width = max((len(name) for name in summary.files), default=0)
    for name, meaning in summary.files.items():
        console.print(Text(f"  {name:<{name_width}}  {meaning}"), soft_wrap=True)


def _systems_table(summary: RunSummary) -> Table:
    table = Table(
        title=f"Test: {summary.trained.num_studies} studies, 14 observations",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    for average in ("macro", "micro"):
        for name in ("P", "R", "F1"):
            table.add_column(f"{average}\n{name}", justify="right", no_wrap=True)
    table.add_column("seconds\nper image", justify="right", no_wrap=True)
    rows = [
        ("base policy", summary.base, summary.base_seconds_per_image, ""),
        ("trained policy", summary.trained, summary.trained_seconds_per_image, "bold"),
        ("  with shuffled images", summary.shuffled, None, ""),
        ("always-positive report", summary.always_positive, None, ""),
    ]
    for name, scores, seconds, style in rows:
        if scores is None:
            continue
        cells = [*_ratio_cells(scores.macro), *_ratio_cells(scores.micro)]
        table.add_row(name, *cells, "-" if seconds is None else f"{seconds:.3f}", style=style)
    return table


def _observations_table(summary: RunSummary) -> Table:
    table = Table(
        title="F1 of each observation",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    for heading in ("support", "base", "trained", "change", "shuffled"):
        table.add_column(heading, justify="right", no_wrap=True)
    for observation in OBSERVATIONS:
        base = summary.base.per_observation[observation]
        trained = summary.trained.per_observation[observation]
        change = trained.f1 - base.f1
        table.add_row(
            observation.value,
            str(trained.support),
            f"{base.f1:.3f}",
            f"{trained.f1:.3f}",
            Text(f"{change:+.3f}", style="green" if change > 0 else "red" if change < 0 else ""),
            "-" if summary.shuffled is None else f"{summary.shuffled.per_observation[observation].f1:.3f}",
        )
    return table


def _note(summary: RunSummary) -> str:
    mapping = "positive" if summary.trained.uncertain_is_positive else "not positive"
    return (
        f"Macro F1: mean of the 14 F1 values. 0/0 counts as 0. Uncertain is {mapping}.\n"
        "Shuffled images: each report was written for another study's images. The closer\n"
        "to the trained policy, the less it reads the image."
    )


def _ratio_cells(scores: PrecisionRecallF1) -> list[str]:
    return [f"{value:.3f}" for value in (scores.precision, scores.recall, scores.f1)]
