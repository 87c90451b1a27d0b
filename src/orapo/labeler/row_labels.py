"""Label many reports in order: here, or in several processes with a bounded queue between."""

import json
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from orapo.chexpert import OBSERVATIONS, label_state_to_code
from orapo.errors import OrapoError
from orapo.labeler.labeler import Labeler
from orapo.labeler.tables.reports import ReportRow
from orapo.labeler.types import LabeledReport

if TYPE_CHECKING:
    from concurrent.futures import Future

_MOST_REPORTS = 256
_MOST_CHARACTERS = 2**20
_WAITING_PER_WORKER = 4


class RowLabels(NamedTuple):
    """What came of one row.

    Attributes:
        place: of the row, as in ``ReportRow``.
        row_id: of the row.
        codes: "1", "0", "-1" or "" in the order of ``OBSERVATIONS``.
        evidence: one line of JSON, "" where none was asked for.
        failure: the kind of error if the labeler failed on this report, else "".
    """

    place: int
    row_id: str
    codes: tuple[str, ...]
    evidence: str
    failure: str


def label_rows(rows: Iterable[ReportRow], *, quirks: str, num_workers: int, with_evidence: bool) -> Iterator[RowLabels]:
    """Labels every row, in the order of ``rows``, the same with any number of workers.

    Args:
        rows: read as needed, a few batches ahead.
        quirks: mode of the labeler.
        num_workers: processes; 1 labels in this one.
        with_evidence: fill ``RowLabels.evidence``.

    Raises:
        SettingError: an unknown mode.
        OrapoError: a worker process died.
    """
    if num_workers == 1:
        labeler = Labeler(quirks)
        return (labels for batch in _batches(rows) for labels in label_batch(labeler, batch, with_evidence))
    return _label_in_processes(rows, quirks, num_workers, with_evidence)


def label_batch(labeler: Labeler, batch: list[ReportRow], with_evidence: bool) -> list[RowLabels]:
    """Labels some rows; a report on which the labeler fails is told, and the others are labelled."""
    return [_label_row(labeler, row, with_evidence) for row in batch]


def _label_row(labeler: Labeler, row: ReportRow, with_evidence: bool) -> RowLabels:
    try:
        labeled = labeler.label(row.report)
    except Exception as error:  # whatever it is, its words may quote the report: only its kind is told
        return RowLabels(row.place, row.row_id, (), "", type(error).__name__)
    codes = tuple(label_state_to_code(labeled.states[observation]) for observation in OBSERVATIONS)
    evidence = evidence_line(row.row_id, labeled) if with_evidence else ""
    return RowLabels(row.place, row.row_id, codes, evidence, "")


def evidence_line(row_id: str, labeled: LabeledReport) -> str:
    """The mentions of a report as one line of JSON, without the line's end; it quotes the report."""
    mentions = [
        {
            "observation": mention.observation.value,
            "state": mention.state.value,
            "sentence": mention.sentence,
            "matched": mention.matched_text,
            "cue": mention.cue,
        }
        for mention in labeled.mentions
    ]
    return json.dumps({"id": row_id, "mentions": mentions}, ensure_ascii=False)


def _batches(rows: Iterable[ReportRow]) -> Iterator[list[ReportRow]]:
    """Bounded in reports and in characters, so that a few giant reports don't fill the queue."""
    batch: list[ReportRow] = []
    num_characters = 0
    for row in rows:
        batch.append(row)
        num_characters += len(row.report)
        if len(batch) == _MOST_REPORTS or num_characters >= _MOST_CHARACTERS:
            yield batch
            batch, num_characters = [], 0
    if batch:
        yield batch


def _label_in_processes(
    rows: Iterable[ReportRow], quirks: str, num_workers: int, with_evidence: bool
) -> Iterator[RowLabels]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    Labeler(quirks)  # what is wrong with the lexicon or the mode is told here, not by a dying worker
    executor = ProcessPoolExecutor(
        num_workers, multiprocessing.get_context("spawn"), _start_worker, (quirks, with_evidence)
    )
    waiting: deque[Future[list[RowLabels]]] = deque()
    try:
        for batch in _batches(rows):
            with _interrupts_held_back():  # the executor starts workers when it is given work
                waiting.append(executor.submit(_label_batch_here, batch))
            if len(waiting) >= num_workers * _WAITING_PER_WORKER:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool as error:
        raise OrapoError("a worker process died (out of memory, or killed); nothing is written") from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes started inside inherit the blocked signal: Ctrl-C is for the command, which then ends its workers."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


_labeler_here: Labeler
_evidence_here: bool


def _start_worker(quirks: str, with_evidence: bool) -> None:
    global _labeler_here, _evidence_here
    _labeler_here, _evidence_here = Labeler(quirks), with_evidence
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Workers wait for work for ever; when the command is killed outright, nobody else would end them."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _label_batch_here(batch: list[ReportRow]) -> list[RowLabels]:
    return label_batch(_labeler_here, batch, _evidence_here)
