"""Label a table of reports from the command line: ``orapo label reports.csv labels.csv``."""

import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from orapo.errors import DataError, OrapoError
from orapo.labeler.arguments import LabelTask, parse
from orapo.labeler.progress import progress_bar
from orapo.labeler.row_labels import RowLabels, label_rows
from orapo.labeler.tables.labels import open_labels, open_text, part_file
from orapo.labeler.tables.reports import BadRow, ReportRow, ReportTable, open_reports

EXIT_OK, EXIT_ERROR, EXIT_BAD_ROWS = 0, 1, 2
EXIT_INTERRUPTED = 128 + signal.SIGINT
_MOST_BAD_ROWS_SHOWN = 20
_ROWS_BETWEEN_PROGRESS = 256


class BadRows:
    """Prints the first bad rows on standard error, one line each, and counts all of them."""

    def __init__(self, path: Path, place_word: str) -> None:
        """``place_word`` names a place in the file, such as "line"."""
        self._where = f"{path} {place_word}"
        self._unshown: Counter[str] = Counter()
        self.num = 0

    def add(self, row: BadRow) -> None:
        self.num += 1
        if self.num <= _MOST_BAD_ROWS_SHOWN:
            print(f"{self._where} {row.place}: {row.reason}; not labelled", file=sys.stderr)
        else:
            self._unshown[row.reason] += 1

    def tell_rest(self) -> None:
        """Counts of those that were not shown, by reason."""
        if self._unshown:
            reasons = ", ".join(f"{num} times {reason}" for reason, num in self._unshown.most_common())
            print(f"and {self._unshown.total()} more bad rows: {reasons}", file=sys.stderr)

    def passed(self, rows: Iterator[ReportRow | BadRow]) -> Iterator[ReportRow]:
        """The rows that can be labelled; the others are added here."""
        for row in rows:
            if isinstance(row, BadRow):
                self.add(row)
            else:
                yield row


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and gives its exit code; what is wrong is one line on standard error."""
    previous = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that part files go
    try:
        task = parse(arguments)
        if task is not None:
            return _label_table(task)
        from orapo.labeler.self_test import run_self_test

        return EXIT_OK if run_self_test() else EXIT_ERROR
    except KeyboardInterrupt:
        print("interrupted; nothing is written", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OrapoError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename or 'a file'}: {error.strerror or type(error).__name__}", file=sys.stderr)
    finally:
        signal.signal(signal.SIGTERM, previous)
    return EXIT_ERROR


def _label_table(task: LabelTask) -> int:
    started = time.perf_counter()
    with open_reports(task.reports, report_column=task.report_column, id_column=task.id_column) as table:
        bad_rows = BadRows(task.reports, table.place_word)
        num_labelled = _write_labels(task, table, bad_rows)
    seconds = time.perf_counter() - started
    bad_rows.tell_rest()
    print(
        f"{num_labelled} reports labelled, {bad_rows.num} bad rows, {seconds:.1f} s, "
        f"{num_labelled / max(seconds, 1e-9):.0f} reports a second",
        file=sys.stderr,
    )
    return EXIT_BAD_ROWS if bad_rows.num else EXIT_OK


def _write_labels(task: LabelTask, table: ReportTable, bad_rows: BadRows) -> int:
    """Writes all that is asked for and gives the number of reports labelled; nothing stays unless all is done."""
    num_labelled = 0
    with ExitStack() as open_things:
        write = open_things.enter_context(_open_outputs(task, table))
        tell = open_things.enter_context(progress_bar(table))
        labelled = label_rows(
            bad_rows.passed(table.rows()),
            quirks=task.quirks,
            num_workers=task.num_workers,
            with_evidence=task.evidence is not None,
        )
        for labels in open_things.enter_context(closing(labelled)):
            if labels.failure:
                told = f"the labeler failed ({labels.failure}), which is a fault of its own"
                bad_rows.add(BadRow(labels.row.place, told))
                continue
            write(labels)
            num_labelled += 1
            if not num_labelled % _ROWS_BETWEEN_PROGRESS:
                tell(num_labelled)
        if not num_labelled and not bad_rows.num:
            raise DataError(f"{task.reports} has no rows; a header line and at least one row are needed")
    return num_labelled


@contextmanager
def _open_outputs(task: LabelTask, table: ReportTable) -> Iterator[Callable[[RowLabels], None]]:
    """A function that writes the labels of a row, and its evidence, to files that take their names at the end."""
    id_name, has_integer_ids = table.columns.id_name, table.has_integer_ids
    with ExitStack() as files:
        part = files.enter_context(part_file(task.labels))
        evidence_part = files.enter_context(part_file(task.evidence)) if task.evidence else None
        writer = files.enter_context(open_labels(part, task.labels, id_name=id_name, has_integer_ids=has_integer_ids))
        evidence = None
        if task.evidence and evidence_part:
            is_gzipped = task.evidence.name.lower().endswith(".gz")
            evidence = files.enter_context(open_text(evidence_part, is_gzipped=is_gzipped))

        def write(labels: RowLabels) -> None:
            writer.write(labels.row.row_id, labels.codes)
            if evidence is not None:
                row_id = json.dumps(labels.row.row_id, ensure_ascii=False)
                evidence.write(f'{{"id": {row_id}, "mentions": {labels.evidence}}}\n')

        yield write
