"""Label batches in several processes: in order, with a bounded queue, and with an end for every process."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from orapo.errors import OrapoError
from orapo.labeler.labeler import Labeler
from orapo.labeler.quirks import Mode
from orapo.labeler.row_labels import TextLabels, label_texts

_WAITING_PER_WORKER = 4

Batch = TypeVar("Batch")


def label_in_processes(
    batches: Iterable[Batch],
    texts_of: Callable[[Batch], list[str]],
    *,
    quirks: Mode,
    num_workers: int,
    with_evidence: bool,
) -> Iterator[tuple[Batch, list[TextLabels]]]:
    """Each batch with its labels, in order; at most a few batches per worker are in memory.

    Args:
        batches: read as needed.
        texts_of: gives the reports of a batch.
        quirks: mode of the labeler.
        num_workers: processes.
        with_evidence: as in ``label_texts``.

    Raises:
        OrapoError: a worker process died.
    """
    executor = ProcessPoolExecutor(
        num_workers, multiprocessing.get_context("spawn"), _start_worker, (quirks, with_evidence)
    )
    waiting: deque[tuple[Batch, Future[list[TextLabels]]]] = deque()
    try:
        for batch in batches:
            with _interrupts_held_back():  # the executor starts workers when it is given work
                waiting.append((batch, executor.submit(_label_here, texts_of(batch))))
            if len(waiting) >= num_workers * _WAITING_PER_WORKER:
                yield _first_of(waiting)
        while waiting:
            yield _first_of(waiting)
    except BrokenProcessPool as error:
        raise OrapoError("a worker process died (out of memory, or killed); nothing is written") from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _first_of(waiting: deque[tuple[Batch, Future[list[TextLabels]]]]) -> tuple[Batch, list[TextLabels]]:
    batch, labels = waiting.popleft()
    return batch, labels.result()


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


def _start_worker(quirks: Mode, with_evidence: bool) -> None:
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


def _label_here(texts: list[str]) -> list[TextLabels]:
    return label_texts(_labeler_here, texts, _evidence_here)
