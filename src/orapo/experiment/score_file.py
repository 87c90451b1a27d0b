"""Scores that another tool gave single reports, joined to them by study: ``evaluate.py scores=FILE``."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orapo.data.tables import read_csv
from orapo.errors import DataError
from orapo.evaluation.report_pairs import ReportPair
from orapo.json_lines import read_json_lines

ROWS = ("system", "shuffled_images", "most_common_report", "against")
"""Rows of the table that have reports, and so may have scores."""


class ScoreFile:
    """One row a report: ``study_id``, a column a metric, and in ``system`` which row of the table (none: the system).

    A metric has a score where its tool gave one; a blank or null is none.
    """

    def __init__(self, path: Path | None) -> None:
        """Reads the file; None means no scores.

        Raises:
            DataError: the file can't be read, a row lacks its study or holds something else than numbers, a study
                occurs twice, or a row of the table has no reports.
        """
        self._path = path
        self._scores: dict[tuple[str, str], dict[str, float]] = {}
        for line, row in [] if path is None else _rows(path):
            key = str(row.get("system") or "system"), str(row.get("study_id") or "").strip()
            if key[0] not in ROWS:
                raise DataError(f"{path}, line {line}: system is {key[0]!r}, allowed: {', '.join(ROWS)}")
            if not key[1]:
                raise DataError(f"{path}, line {line}: study_id is needed")
            if key in self._scores:
                raise DataError(f"{path}, line {line}: study {key[1]!r} stands there twice")
            named = {name: value for name, value in row.items() if name not in ("system", "study_id")}
            self._scores[key] = {
                name: _number(value, f"{path}, line {line}: {name}")
                for name, value in named.items()
                if value is not None and value != ""
            }
        if path is not None and not any(self._scores.values()):
            raise DataError(f"{path} holds no score: study_id and a column for each metric are needed")

    def added(self, key: str, pairs: tuple[ReportPair, ...]) -> tuple[ReportPair, ...]:
        """The reports of one row of the table with their scores.

        Raises:
            DataError: no test study has a score of the system, or a metric has scores from elsewhere already.
        """
        found = {study_id: scores for (system, study_id), scores in self._scores.items() if system == key}
        known = {pair.study_id for pair in pairs}
        if self._path is not None and key == "system" and not known & found.keys():
            raise DataError(f"{self._path} has no score for any of the {len(pairs)} test studies")
        for pair in pairs:
            if twice := found.get(pair.study_id, {}).keys() & pair.scores.keys():
                raise DataError(f"{self._path}: {min(twice)} has values of the metric server already; rename one")
        return tuple(replace(pair, scores={**pair.scores, **found.get(pair.study_id, {})}) for pair in pairs)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if path.suffix.lower() == ".jsonl":
        yield from read_json_lines(path)
    elif path.suffix.lower() == ".csv":
        yield from read_csv(path).rows
    else:
        raise DataError(f"{path} is no file of scores: its name must end in .csv or .jsonl")


def _number(value: Any, where: str) -> float:
    # What stands there may be a report: only that it is no number is told.
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where} must be a finite number; leave it out where the tool gave none")
    return number
