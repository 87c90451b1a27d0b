"""Who writes the reports that are evaluated: what every kind of system has in common, and files of reports."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from orapo.data.evaluation_studies import EvaluationStudies
from orapo.errors import DataError

REPORT_COLUMNS = ("report", "generated_report")
"""Names under which a file may hold its reports; the second is that of a run's test_reports.jsonl."""


@dataclass(frozen=True)
class Written:
    """The reports of one system, one a study.

    Attributes:
        reports: in the order of the studies; may be empty.
        seconds: that each took; None where it isn't known.
        cost_usd: that each cost; None for what runs on this machine, or isn't known.
        counts: what else is to be told, by name.
    """

    reports: tuple[str, ...]
    seconds: tuple[float, ...] | None = None
    cost_usd: tuple[float, ...] | None = None
    counts: Mapping[str, float] = field(default_factory=dict)


class NotComputed(Exception):
    """A row of the table that can't be filled; its text says why."""


class System(Protocol):
    """Writes reports for studies."""

    @property
    def described(self) -> dict[str, Any]:
        """Kind and name, for evaluation.json."""
        ...

    def write(self, studies: EvaluationStudies, images_of: Sequence[int] | None) -> Written:
        """One report a study.

        Args:
            studies: all that are evaluated.
            images_of: for each study the one whose images are shown; None shows its own.

        Raises:
            NotComputed: the system has no images to be shuffled.
        """
        ...


class ReportFile:
    """Reports that something else wrote: CSV with a head, or JSON lines, with study_id and report."""

    def __init__(self, path: Path, missing: str = "refuse") -> None:
        """Reads the file.

        Args:
            path: ends in .csv or .jsonl.
            missing: "refuse" a study without a report, or take it as "empty".

        Raises:
            DataError: the file can't be read, or has a study twice; never with a report's text.
        """
        self._path = path
        self._missing = missing
        self._reports = dict(_rows(path))

    @property
    def described(self) -> dict[str, Any]:
        """Kind, name and how many reports it holds."""
        return {"kind": "reports", "name": str(self._path), "num_reports": len(self._reports)}

    def write(self, studies: EvaluationStudies, images_of: Sequence[int] | None) -> Written:
        """The file's reports in the order of the studies."""
        if images_of is not None:
            raise NotComputed("a file of reports has no images to shuffle")
        ids = [study.study_id for study in studies.studies]
        lacking = [study_id for study_id in ids if study_id not in self._reports]
        if lacking and (self._missing == "refuse" or len(lacking) == len(ids)):
            raise DataError(
                f"{self._path} has no report for {len(lacking)} of {len(ids)} test studies, first {lacking[0]!r}; "
                "add them, limit the studies by data.max_test_studies, or count them as empty by missing_reports=empty"
            )
        counts = {"missing_reports": len(lacking), "reports_of_other_studies": len(set(self._reports) - set(ids))}
        return Written(tuple(self._reports.get(study_id, "") for study_id in ids), counts=counts)


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    readers = {".csv": _csv_rows, ".jsonl": _json_rows}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path} is no file of reports: its name must end in .csv or .jsonl")
    seen = set()
    for where, row in readers[path.suffix.lower()](path):
        report = next((row[name] for name in REPORT_COLUMNS if row.get(name) is not None), None)
        study_id = row.get("study_id")
        if study_id is None or not isinstance(report, str):
            raise DataError(f"{path}, {where}: study_id and report are needed, as columns or keys with text")
        if str(study_id) in seen:
            raise DataError(f"{path}, {where}: study {str(study_id)!r} stands there twice")
        seen.add(str(study_id))
        yield str(study_id), report


def _csv_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or []
            if "study_id" not in names or not set(REPORT_COLUMNS) & set(names):
                raise DataError(f"{path} needs the columns study_id and report in its first line")
            for row in reader:
                yield f"line {reader.line_num}", row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} can't be read as CSV: {_reason(error)}") from None


def _json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                yield f"line {number}", _json_row(line, f"{path}, line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read as JSON lines: {_reason(error)}") from None


def _json_row(line: str, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        row = None
    if not isinstance(row, dict):
        raise DataError(f"{where}: not a JSON object")
    return row


def _reason(error: Exception) -> str:
    # The decoders' own messages may quote what they read.
    return error.strerror or "" if isinstance(error, OSError) else type(error).__name__
