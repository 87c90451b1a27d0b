"""What ``orapo label`` takes, checked before any work starts."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from orapo.errors import DataError, SettingError
from orapo.labeler.quirks import QUIRK_MODES, Mode
from orapo.labeler.tables.reports import table_ending
from orapo.settings import MOST_WORKERS

_EVIDENCE_ENDINGS = (".jsonl", ".jsonl.gz")
_DESCRIPTION = "Label chest X-ray reports with the 14 CheXpert observations, offline, by rules."
_EPILOG = """
tables
  .csv and .csv.gz are comma-separated UTF-8 with a header line; cells in quotes may hold commas and line breaks.
  .parquet works alike. Files of any length are read and written a few rows at a time.

labels
  The id column, then the 14 observations in the order of the original CheXpert labeler: 1 positive, 0 negative,
  -1 uncertain, blank unmentioned (numbers and nulls in Parquet). LABELS takes its name only when all rows are done;
  an older file of that name is replaced.

bad rows
  A wrong number of cells, a blank or null id or report ("nan" counts as blank), bytes that are no UTF-8. They are told
  on standard error by file and line (Parquet: row, from 1) and left out; the others are labelled. Blank lines are no
  rows. A broken quotation is an error: where the next row starts would be a guess.

exit code
  0 every row is labelled; 1 it could not run and nothing is written (self-test: a sentence failed);
  2 labelled, but some rows were bad; 130 interrupted and nothing is written.
"""


@dataclass(frozen=True, slots=True)
class LabelTask:
    """A table to label.

    Attributes:
        reports: table to read.
        labels: table to write.
        report_column: name of the column with the reports.
        id_column: name of the column with the ids; None leaves the choice to ``open_reports``.
        evidence: file for the evidence, if any.
        num_workers: processes, at least 1.
        quirks: mode of the labeler.
    """

    reports: Path
    labels: Path
    report_column: str
    id_column: str | None
    evidence: Path | None
    num_workers: int
    quirks: Mode


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingError(f"{message}; see orapo label --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="orapo label",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("reports", nargs="?", type=Path, metavar="REPORTS", help="table to read: .csv, .csv.gz or .parquet")
    add("labels", nargs="?", type=Path, metavar="LABELS", help="table to write: .csv, .csv.gz or .parquet")
    add("--column", default="report", metavar="NAME", help="column with the reports (default: report)")
    add(
        "--id",
        metavar="NAME",
        help="column with the ids (default: study_id if there is one, else the number of the row, from 1, as 'row')",
    )
    add(
        "--evidence",
        type=Path,
        metavar="FILE",
        help="also write, for each report, a line of JSON with every mention: observation, state, sentence, matched "
        "words, cue, start and end of the words in the report (characters from 0, end excluded), and what is stated of "
        "it: certainty, side, place, severity, size_mm, change (.jsonl or .jsonl.gz). IT QUOTES THE REPORTS: keep it "
        "where the reports themselves must stay",
    )
    add("--workers", type=int, default=1, metavar="N", help="processes (default: 1; 0: one for each core)")
    add(
        "--quirks",
        choices=QUIRK_MODES,
        default="none",
        help="none: what the report means (default); original: with accidents of the original labeler",
    )
    add("--self-test", action="store_true", help="prove the installation on bundled sentences, and exit")
    return parser


def parse(arguments: Sequence[str] | None) -> LabelTask | None:
    """The task of a command line (None: this process's own), or None for the self-test.

    Raises:
        SettingError: an argument is missing, unknown or out of range.
        DataError: a file that can't be written, or that would overwrite another one of the task.
    """
    given = _parser().parse_args(arguments)
    if given.self_test:
        return None
    if given.reports is None or given.labels is None:
        raise SettingError("two files are needed, REPORTS to read and LABELS to write; see orapo label --help")
    table_ending(given.reports)
    table_ending(given.labels)
    if given.evidence is not None and not given.evidence.name.lower().endswith(_EVIDENCE_ENDINGS):
        raise DataError(f"--evidence is {given.evidence}; allowed endings: {', '.join(_EVIDENCE_ENDINGS)}")
    _check_outputs(given.reports, [path for path in (given.labels, given.evidence) if path is not None])
    return LabelTask(
        reports=given.reports,
        labels=given.labels,
        report_column=given.column,
        id_column=given.id,
        evidence=given.evidence,
        num_workers=_num_workers(given.workers),
        quirks=given.quirks,
    )


def _check_outputs(reports: Path, outputs: list[Path]) -> None:
    taken = [reports]
    for path in outputs:
        if not path.parent.is_dir():
            raise DataError(f"there is no folder {path.parent} to write {path.name} in; make it first")
        if path.is_dir():
            raise DataError(f"{path} is a folder; name a file")
        if not os.access(path.parent, os.W_OK):
            raise DataError(f"folder {path.parent} can't be written to; name another one")
        if any(_is_same_file(path, other) for other in taken):
            raise DataError(f"{path} would be written over a file of the same command; name another one")
        taken.append(path)


def _is_same_file(path: Path, other: Path) -> bool:
    if path.exists() and other.exists():
        return path.samefile(other)
    return path.resolve() == other.resolve()


def _num_workers(asked: int) -> int:
    if not 0 <= asked <= MOST_WORKERS:
        raise SettingError(f"--workers is {asked}; allowed: 0 (one for each core), 1, ... {MOST_WORKERS}")
    return asked or num_cores()


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
