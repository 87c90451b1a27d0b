"""Run folders, and folders of evaluations, below the folders that the user names."""

import os
from collections.abc import Iterable
from pathlib import Path

from orapo.comparison.evaluation_folder import EVALUATION
from orapo.comparison.run_state import RUN_STATE
from orapo.errors import DataError

RUN_MARKS = ("config.yaml", RUN_STATE, "metrics.csv", EVALUATION)
"""A folder that holds one of these is a run, or an evaluation; what lies below a run belongs to it."""


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


def _runs_below(path: Path) -> list[Path]:
    entries = list(os.scandir(path))
    if any(entry.name in RUN_MARKS for entry in entries):
        return [path]
    folders = sorted((entry.name for entry in entries if entry.is_dir()), key=_job_order)
    return [run for name in folders for run in _runs_below(path / name)]


def _job_order(name: str) -> tuple[int, int, str]:
    """Job folders of a sweep by number, before everything else by name."""
    number = name.partition("_")[0]
    return (0, int(number), name) if number.isdecimal() and len(number) < 9 else (1, 0, name)
