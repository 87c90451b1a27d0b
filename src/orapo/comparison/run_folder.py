"""Run folders: found among others, and read without importing what trained them."""

import csv
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orapo.chexpert import OBSERVATIONS
from orapo.comparison.run_state import RUN_STATE, RunState, StateRecord, read_state
from orapo.comparison.scores import SCORES
from orapo.errors import DataError
from orapo.foreign import read_json, read_text, read_yaml

LARGEST = 1e100
"""Of a number of a run: what is larger, or infinite, comes of a damaged file, and stops sums and pictures."""

FIRST_STAGE = "first"
"""Below a run's folder: the ordinary run of the stage before it."""

EVALUATION = "evaluation.json"
RUN_MARKS = ("config.yaml", RUN_STATE, "metrics.csv", EVALUATION)
"""A folder that holds one of these is a run, or an evaluation; what lies below a run belongs to it."""

TRAINING_KEYS = ("reward", "zero_reward_rate", "mixing_weight")
BESIDE_REWARD = ("reward_precision", "completion_tokens", "repetition")
"""Columns of metrics.csv that show what a reward was earned with; older runs lack the last."""

VALIDATION_KEYS = ("macro_f1", "shuffled_macro_f1")
ANSWER_VALIDATION_KEYS = ("accuracy", "shuffled_accuracy")
"""The same where questions are asked."""
OBSERVATION_KEYS = tuple(f"{observation.value}/f1" for observation in OBSERVATIONS)
"""Columns of validation.csv that older runs don't have."""

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Steps and values, both [n]."""


@dataclass(frozen=True)
class Run:
    """What a run folder says.

    Attributes:
        folder: as found.
        state: where the run stands.
        reason: one line, why it is not finished; empty where no reason is known.
        settings: the config, flat: ``objective.alpha`` to its value; empty where the run never wrote one.
        overrides: of the command line; None where no record holds them.
        last_step: training steps done.
        num_steps: training steps planned; None where the config says passes instead.
        scores: keys of ``SCORES`` to what the summary says; empty without one.
        curves: of ``TRAINING_KEYS`` and ``VALIDATION_KEYS`` (where questions are asked ``ANSWER_VALIDATION_KEYS``), and
            of those of ``BESIDE_REWARD`` and ``OBSERVATION_KEYS`` that the run wrote.
    """

    folder: Path
    state: RunState
    reason: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] | None = None
    last_step: int = 0
    num_steps: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)

    @property
    def seed(self) -> int | None:
        """None where the config has none."""
        return seed if type(seed := self.settings.get("seed")) is int else None

    @property
    def name(self) -> str:
        """The last two parts of the folder's path."""
        return "/".join(self.folder.resolve().parts[-2:])

    @property
    def reports(self) -> Path:
        """The file of test reports."""
        return self.folder / "test_reports.jsonl"


def find_runs(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The folders of runs and evaluations in ``paths``: a path is one itself, or any folder above. Each counts once.

    A sweep's jobs come in the order of their numbers. A run's own evaluations count where they are named themselves.

    Raises:
        DataError: a path that is no folder, or holds no run.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise DataError(f"{path} is not a folder; name a run, a sweep, an evaluation, or a folder above them")
        below = _runs_below(path)
        if not below:
            raise DataError(f"{path} holds no run and no evaluation: no {', '.join(RUN_MARKS)} in it or below")
        for folder in below:
            found.setdefault(folder.resolve(), folder)
    return tuple(found.values())


def _runs_below(above: Path) -> list[Path]:
    """Follows links, and looks into each folder once, whatever links lead back to it."""
    runs: list[Path] = []
    waiting, seen = [above], set[tuple[int, int]]()
    while waiting:
        path = waiting.pop()
        told = path.stat()
        if (told.st_dev, told.st_ino) in seen:
            continue
        seen.add((told.st_dev, told.st_ino))
        entries = list(os.scandir(path))
        if any(entry.name in RUN_MARKS for entry in entries):
            runs.append(path)
            continue
        names = (entry.name for entry in entries if os.path.isdir(entry))
        waiting += [path / name for name in sorted(names, key=_job_order, reverse=True)]
    return runs


def _job_order(name: str) -> tuple[int, int, str]:
    """Job folders of a sweep by number, before everything else by name."""
    number = name.partition("_")[0]
    return (0, int(number), name) if number.isdecimal() and len(number) < 9 else (1, 0, name)


def read_run(folder: Path) -> Run:
    """Reads a run folder; files that can't be read give a ``DAMAGED`` run with the reason, never an exception."""
    try:
        return _read_run(folder)
    except (DataError, OSError) as error:
        return Run(folder, RunState.DAMAGED, reason=" ".join(str(error).split()))


def _read_run(folder: Path) -> Run:
    settings = read_settings(folder / "config.yaml")
    record = read_state(folder)
    content = read_summary(folder / "summary.json")
    summary = None if content is None else flat_settings(content)
    state, reason = _state(folder, None if record is None else record.seen_from_here(), summary is not None)
    steps, training = read_columns(folder / "metrics.csv", TRAINING_KEYS, BESIDE_REWARD)
    num_steps = settings.get("training.num_steps") or (summary or {}).get("counts.training_steps")
    keys = ANSWER_VALIDATION_KEYS if "reward.terms.answer" in settings else VALIDATION_KEYS
    _, validation = read_columns(folder / "validation.csv", keys, OBSERVATION_KEYS)
    return Run(
        folder=folder,
        state=state,
        reason=reason,
        settings=settings,
        overrides=_overrides_of_folder(folder) if record is None else record.overrides,
        last_step=int(steps[-1]) if len(steps) else 0,
        num_steps=num_steps if type(num_steps) is int else None,
        scores={} if summary is None else _scores(summary, folder / "summary.json"),
        curves=training | validation,
    )


def _state(folder: Path, record: StateRecord | None, has_summary: bool) -> tuple[RunState, str]:
    # The summary is a run's last act: a later refused attempt to resume it does not undo that.
    if has_summary:
        return RunState.FINISHED, ""
    if record is not None:
        if record.state is RunState.FINISHED:
            return RunState.UNFINISHED, "the command ended, but summary.json is not there"
        return record.state, record.reason
    has_checkpoint = (folder / "checkpoints" / "last.ckpt").is_file()
    return RunState.UNFINISHED, "has a checkpoint" if has_checkpoint else ""


def read_settings(path: Path) -> dict[str, Any]:
    """A run's config, flat; empty without the file.

    Raises:
        DataError: the file is not YAML, or no mapping.
    """
    if not path.is_file():
        return {}
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} is no mapping of settings")
    return flat_settings(content)


def flat_settings(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted keys; lists and empty sections stay as they are."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            flat |= flat_settings(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def read_summary(path: Path) -> dict[str, Any] | None:
    """The content of summary.json; None without the file.

    Raises:
        DataError: the file is not a JSON object.
    """
    if not path.is_file():
        return None
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} is no JSON object")
    return content


def _scores(summary: Mapping[str, Any], path: Path) -> dict[str, float]:
    scores = {}
    for key, one in SCORES.items():
        # There are no shuffled images where there is only one study.
        if one.summary and (value := summary.get(one.summary)) is not None:
            if not isinstance(value, int | float) or abs(value) > LARGEST:
                raise DataError(f"{path}: {one.summary} is {value!r}, a number is needed")
            scores[key] = float(value)
    if "macro_f1" not in scores and "accuracy" not in scores:
        raise DataError(f"{path}: trained.clinical.macro.f1 is missing")
    return scores


def read_columns(
    path: Path, keys: Sequence[str], optional: Sequence[str] = ()
) -> tuple[NDArray[np.float64], dict[str, Curve]]:
    """All steps of a run's CSV, and the curve of each key with its gaps left out; nothing without the file.

    Columns that are ``optional`` have a curve where they are there.

    A last line without its end is being written at this moment and does not count.

    Raises:
        DataError: a column is missing, or a cell is no number; names file and line.
    """
    empty = np.empty(0)
    text = read_text(path) if path.is_file() else ""
    lines = text.split("\n")[:-1]
    if not lines:
        return empty, dict.fromkeys(keys, (empty, empty))
    try:
        header, *rows = csv.reader(lines)
    except csv.Error as error:
        raise DataError(f"{path} is no table: {error}") from None
    missing = [key for key in ("step", *keys) if key not in header]
    if missing:
        raise DataError(f"{path} lacks the column {', '.join(missing)}")
    keys = (*keys, *(key for key in optional if key in header))
    places = [header.index(key) for key in ("step", *keys)]
    table = np.empty((len(rows), len(places)))
    for number, row in enumerate(rows):
        try:
            table[number] = [float(row[place] or math.nan) for place in places]
        except (ValueError, IndexError) as error:
            raise DataError(f"{path}, line {number + 2}: {len(row)} cells, not all of them numbers") from error
    steps, *columns = table.T
    if np.isnan(steps).any() or (np.abs(table) > LARGEST).any():
        raise DataError(f"{path}: a step is no number, or a number is infinite or too large")
    gaps = map(np.isnan, columns)
    return steps, {key: (steps[~gap], own[~gap]) for key, own, gap in zip(keys, columns, gaps, strict=True)}


_JOB_FOLDER = re.compile(r"\d+_(?=.*=)")


def _overrides_of_folder(folder: Path) -> tuple[str, ...] | None:
    """What the name of a sweep's job folder tells, ``3_objective.alpha=0.3,seed=1``; None for other folders."""
    name = folder.resolve().name
    start = _JOB_FOLDER.match(name)
    if start is None:
        return None
    return tuple(re.split(r",(?=[\w@.+~-]+=)", name[start.end() :]))
