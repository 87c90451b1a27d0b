"""A run at work, as its folder shows it: progress, time left, curves, and the latest rollout with its facts."""

import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orapo.comparison.run_folder import FIRST_STAGE, Curve, Run, find_runs, read_columns, read_run
from orapo.comparison.run_state import RunState
from orapo.display import visible
from orapo.errors import DataError
from orapo.foreign import parse_json

METRICS, VALIDATION, ROLLOUTS = "metrics.csv", "validation.csv", "rollouts.jsonl"
SHOWN = {
    "reward": "reward",
    "zero_reward_rate": "zero-reward rate",
    "mixing_weight": "oracle weight w",
    "kl": "KL to the reference",
    "reward_precision": "precision",
    "reward_recall": "recall",
    "completion_tokens": "tokens a rollout",
    "repetition": "repeated 4-grams",
    "loss": "loss",
}
"""Column of metrics.csv to what it is called."""
VALIDATED = {
    "macro_f1": "validation macro F1",
    "shuffled_macro_f1": "  images shuffled",
    "accuracy": "validation accuracy",
    "shuffled_accuracy": "  images shuffled",
}
_SECONDS = ("seconds_rollout", "seconds_reward", "seconds_reference", "seconds_update")
_BLOCKS = "▁▂▃▄▅▆▇█"
_CURVE_WIDTH = 32
_SPEED_STEPS = 20
_TAIL_BYTES = 1 << 20
_LONGEST_LEFT = 1e10
"""Seconds, three hundred years: what is told to be longer comes of a damaged file."""


def newest_run(path: Path) -> Path:
    """The run in or below a folder that wrote last.

    Raises:
        DataError: there is none.
    """
    return max(find_runs([path]), key=_last_written)


def _last_written(folder: Path) -> float:
    times = [0.0]
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):  # a file under another name by now
            times.append(entry.stat(follow_symlinks=False).st_mtime)
    return max(times)


def is_at_work(folder: Path) -> bool:
    """Whether its process is alive, or on another machine."""
    return read_run(folder).state is RunState.RUNNING


def view(folder: Path, *, shows_private: bool) -> RenderableType:
    """What a run's folder shows now.

    Args:
        folder: of the run.
        shows_private: whether the latest rollout of private studies is shown.
    """
    first = folder / FIRST_STAGE
    # Until the run itself has made a step, its first stage is what is at work.
    folder = first if first.is_dir() and not (folder / METRICS).is_file() else folder
    run = read_run(folder)
    if run.state is RunState.DAMAGED:
        return _text(run.reason, "red")
    try:
        _, trained = read_columns(folder / METRICS, (), (*SHOWN, *_SECONDS))
        _, validated = read_columns(folder / VALIDATION, (), tuple(VALIDATED))
    except DataError as error:
        return _text(str(error), "red")
    is_hidden = run.settings.get("data.is_private") is not False and not shows_private
    hidden = Text("latest rollout: private; --show-private shows it", style="dim")
    return Group(_head(run, trained), _table(trained | validated), hidden if is_hidden else _rollout(folder))


def seconds_left(run: Run, curves: dict[str, Curve]) -> float | None:
    """Seconds of training left at the speed of the last steps, without validations and test; None where unknown."""
    columns = [curves[name][1][-_SPEED_STEPS:].mean() for name in _SECONDS if name in curves and len(curves[name][1])]
    if run.num_steps is None or not columns:
        return None
    return float(sum(columns)) * max(0, run.num_steps - run.last_step)


def _head(run: Run, curves: dict[str, Curve]) -> RenderableType:
    of = "" if run.num_steps is None else f" of {run.num_steps}"
    line = Text.assemble((visible(run.name), "bold"), f"  {run.state}  step {run.last_step}{of}")
    left = seconds_left(run, curves)
    if run.state is RunState.RUNNING and left is not None and left < _LONGEST_LEFT:
        line.append(f"  about {timedelta(seconds=round(left))} of training left")
    if run.reason:
        line.append(_text(f"  {run.reason}", "red"))
    if run.num_steps is None:
        return line
    return Group(line, Padding(ProgressBar(total=run.num_steps, completed=run.last_step, width=60), 0))


def _table(curves: dict[str, Curve]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "now", "last tenth"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_column("from the first step", no_wrap=True)
    for key, name in (SHOWN | VALIDATED).items():
        if key in curves and len(values := curves[key][1]):
            tenth = values[-max(1, len(values) // 10) :].mean()
            table.add_row(name, f"{values[-1]:.4g}", f"{tenth:.4g}", sparkline(values))
    return table


def sparkline(values: "np.ndarray[Any, Any]") -> str:
    """A curve of blocks, from its least to its greatest value."""
    parts = [part.mean() for part in np.array_split(values, min(len(values), _CURVE_WIDTH))]
    low, high = min(parts), max(parts)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((part - low) * scale)] for part in parts)


def _rollout(folder: Path) -> RenderableType:
    row = latest_row(folder / ROLLOUTS)
    if row is None:
        return Text("no rollout is written yet", style="dim")
    try:
        return _told(row)
    except (KeyError, TypeError, ValueError, AttributeError):
        return Text(f"the last line of {ROLLOUTS} is no rollout", style="dim")


def _told(row: dict[str, Any]) -> RenderableType:
    head = f"latest rollout: step {row['step']}, study {row['study_id']}, reward {row['reward']:.3f}"
    if "question" in row:
        parts = (row["question"], row["generated_report"], f"right answer: {row['answer']}")
        return Group(_text(head, "bold"), *map(_text, parts))
    told = [_text(head, "bold"), _text(row["generated_report"])]
    for fact in row["facts"]:
        told.append(Text.assemble("  ", _text(fact["text"]), (f"  {visible(_verdict(fact['text'], row))}", "dim")))
    told += [_text(f"  {text}  refused: {reason}", "dim") for text, reason in row["rejected"].items()]
    counts = (("✓ hit", "true_positives"), ("✗ wrong", "false_positives"), ("○ missed", "false_negatives"))
    told += [_text(f"{name}: {', '.join(row[key])}") for name, key in counts if row[key]]
    return Group(*told)


def _text(text: str, style: str = "") -> Text:
    """Escapes whatever would steer the terminal."""
    return Text(visible(text), style)


def _verdict(fact: str, row: dict[str, Any]) -> str:
    """As in "entailed: Edema; contradicted: Pneumothorax"; of a fact that no verdict rests on, that."""
    verdicts = row["verdicts"].items()
    found = [f"{told['judgement']}: {name}" for name, told in verdicts if fact in told["supporting_facts"]]
    return "; ".join(found) or "no verdict"


def latest_row(path: Path) -> dict[str, Any] | None:
    """The last whole line that is a JSON object; None without one. A line that is being written does not count."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        *lines, _ = file.read().split(b"\n")
    for line in reversed(lines):
        try:
            row = parse_json(line, str(path))
        except DataError:  # the first one is cut where reading began
            return None
        if isinstance(row, dict):
            return row
    return None
