"""Files of what other tools wrote: reports to evaluate, and scores of single reports."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from orapo.data.evaluation_studies import EvaluationStudies
from orapo.data.tables import named, quoted, read_csv
from orapo.errors import DataError
from orapo.evaluation.report_pairs import ReportPair, Written
from orapo.json_lines import read_json_lines

REPORT_COLUMNS = ("generated_report", "report")
"""Names under which a file may hold generated reports, the first that it has; the first is that of a run's own file."""

ROWS = ("system", "shuffled_images", "most_common_report", "against")
"""Rows of the table that have reports, and so may have scores."""

_GENERATED = re.compile(
    r"generat|predict|hypothes|candidate|output|response|completion|(?:^|[\W_])(?:gen|pred|hyp)s?(?:$|[\W_])",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_SEPARATORS = re.compile(r"[\W_]")
_WORDS = re.compile(r"(?<![^\W\d_])[^\W\d_]++\W++[^\W\d_]")


class NotComputed(Exception):
    """A row of the table that can't be filled; its text says why."""


class ReportFile:
    """Reports that something else wrote: CSV with a head, or JSON lines, with study_id and a column of reports."""

    def __init__(self, path: Path, missing: str = "refuse") -> None:
        """Reads the file.

        Args:
            path: ends in .csv or .jsonl.
            missing: "refuse" a study without a report, or take it as "empty".

        Raises:
            DataError: the file can't be read, has a study twice, or two columns that could hold the generated reports;
                never with a report's text.
        """
        self._path = path
        self._missing = missing
        self._reports = {study_id: (line, report) for line, study_id, report in _reports(path)}

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
        self._check_swallowed(set(lacking))
        if lacking and (self._missing == "refuse" or len(lacking) == len(ids)):
            raise DataError(
                f"{self._path} has no report for {len(lacking)} of {len(ids)} test studies, first {lacking[0]!r}; "
                "add them, limit the studies by data.max_test_studies, or count them as empty by missing_reports=empty"
            )
        reports = tuple(self._reports.get(study_id, (0, ""))[1] for study_id in ids)
        oracle = [" ".join(study.oracle_report.split()) for study in studies.studies]
        counts = {
            "missing_reports": len(lacking),
            "reports_of_other_studies": len(set(self._reports) - set(ids)),
            "reports_equal_to_oracle": sum(
                bool(theirs) and " ".join(ours.split()) == theirs for ours, theirs in zip(reports, oracle, strict=True)
            ),
        }
        return Written(reports, counts=counts)

    def _check_swallowed(self, lacking: Set[str]) -> None:
        """Refuses a cell of a CSV that holds another study's row: a quote opened it, and none closed it.

        That is a line with an id that lacks a row, or with one that looks like the cell's own ("s12", "s47").
        """
        for study_id, (number, report) in self._reports.items() if self._path.suffix.lower() == ".csv" else ():
            form = _form(study_id)
            for line in report.splitlines()[1:]:
                cells = (cell.strip(' "') for cell in line.split(","))
                if any(cell in lacking or (form and _form(cell) == form) for cell in cells):
                    raise DataError(
                        f"{self._path}, line {number}: the report of study {named(study_id)} runs over another study's "
                        "row; is a quote missing, or a quote inside not doubled?"
                    )


def _reports(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yields (line, study, report)."""
    rows = list(_rows(path, "reports"))
    column = _report_column(path, [row for _, row in rows])
    seen: dict[str, int] = {}
    for line, row in rows:
        study_id, report = row.get("study_id"), row.get(column)
        if type(study_id) not in (str, int) or not str(study_id).strip() or not isinstance(report, str):
            raise DataError(f"{path}, line {line}: study_id and {column} are needed, as columns or keys with text")
        study_id = str(study_id).strip()
        if (first := seen.setdefault(study_id, line)) != line:
            raise DataError(f"{path}, line {line}: study {named(study_id)} stands already in line {first}")
        yield line, study_id, report.strip()


def _form(study_id: str) -> str:
    """An id with 0 for every digit; "" for one that a report may say, such as "12" or "left"."""
    return _DIGIT.sub("0", study_id) if len(study_id) > 2 and _DIGIT.search(study_id) else ""


def _report_column(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """Where the generated reports stand; beside ``generated_report``, ``report`` is the radiologist's."""
    names = {name: None for row in rows for name in row}
    column = next((name for name in REPORT_COLUMNS if name in names), None)
    if column is None or "study_id" not in names:
        raise DataError(f"{path} needs the columns study_id and report, as names in its first line or as keys")
    for name in names:
        if name != column and _could_be(name, column) and any(_WORDS.search(str(row.get(name, ""))) for row in rows):
            raise DataError(
                f"{path}: {column!r} and {name!r} could both hold the generated reports; "
                "name the column that does generated_report, and the other oracle_report"
            )
    return column


def _could_be(name: str, column: str) -> bool:
    """Whether a column's name may mean generated reports, too: another spelling, or a word such as "prediction"."""
    is_same = _SEPARATORS.sub("", name.lower()).rstrip("s") == _SEPARATORS.sub("", column)
    return is_same or (column == "report" and _GENERATED.search(name) is not None)


class ScoreFile:
    """Scores that another tool gave single reports, joined to them by study: ``evaluate.py scores=FILE``.

    One row a report: ``study_id``, a column a metric, and in ``system`` which row of the table (none: the system).
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
        for line, row in [] if path is None else _rows(path, "scores"):
            key = str(row.get("system") or "system"), str(row.get("study_id") or "").strip()
            if key[0] not in ROWS:
                raise DataError(f"{path}, line {line}: system is {quoted(key[0])}, allowed: {', '.join(ROWS)}")
            if not key[1]:
                raise DataError(f"{path}, line {line}: study_id is needed")
            if key in self._scores:
                raise DataError(f"{path}, line {line}: study {named(key[1])} stands there twice")
            scores = {name: value for name, value in row.items() if name not in ("system", "study_id")}
            self._scores[key] = {
                name: _number(value, f"{path}, line {line}: {name}")
                for name, value in scores.items()
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


def _number(value: Any, where: str) -> float:
    # What stands there may be a report: only that it is no number is told.
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where} must be a finite number; leave it out where the tool gave none")
    return number


def _rows(path: Path, what: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Lines and cells of a CSV or a .jsonl file."""
    if path.suffix.lower() == ".jsonl":
        return read_json_lines(path)
    if path.suffix.lower() == ".csv":
        return iter(read_csv(path).rows)
    raise DataError(f"{path} is no file of {what}: its name must end in .csv or .jsonl")
