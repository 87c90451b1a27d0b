"""Label many rows in order, here or in several processes, in batches of bounded size."""

import json
from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple

from orapo.chexpert import OBSERVATIONS, label_state_to_code
from orapo.labeler.labeler import Labeler
from orapo.labeler.quirks import Mode
from orapo.labeler.tables.reports import ReportRow
from orapo.labeler.types import Mention

_MOST_REPORTS = 256
_MOST_CHARACTERS = 2**20
_CODE_END = ","


class RowLabels(NamedTuple):
    """What came of one row.

    Attributes:
        row: the row.
        codes: "1", "0", "-1" or "" in the order of ``OBSERVATIONS``; none after a failure.
        evidence: the mentions as JSON, "" where they weren't asked for; it quotes the report.
        failure: the kind of error if the labeler failed on this report, else "".
    """

    row: ReportRow
    codes: tuple[str, ...]
    evidence: str
    failure: str


TextLabels = tuple[str, str, str]
"""Codes joined by commas, evidence, failure: plain strings, because these travel between processes."""


def label_rows(
    rows: Iterable[ReportRow], *, quirks: Mode, num_workers: int, with_evidence: bool
) -> Generator[RowLabels, None, None]:
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
    labeler = Labeler(quirks)  # with more workers too: what is wrong with mode or lexicon isn't left to a dying worker
    labelled: Iterator[tuple[list[ReportRow], list[TextLabels]]]
    if num_workers == 1:
        labelled = ((batch, label_texts(labeler, _texts(batch), with_evidence)) for batch in _batches(rows))
    else:
        from orapo.labeler.processes import label_in_processes

        labelled = label_in_processes(
            _batches(rows), _texts, quirks=quirks, num_workers=num_workers, with_evidence=with_evidence
        )
    for batch, labels in labelled:
        for row, (codes, evidence, failure) in zip(batch, labels, strict=True):
            yield RowLabels(row, tuple(codes.split(_CODE_END)) if codes else (), evidence, failure)


def label_texts(labeler: Labeler, texts: list[str], with_evidence: bool) -> list[TextLabels]:
    """Labels some reports; one on which the labeler fails becomes a bad row, and the others are labelled."""
    return [_label_text(labeler, text, with_evidence) for text in texts]


def _label_text(labeler: Labeler, text: str, with_evidence: bool) -> TextLabels:
    try:
        labeled = labeler.label(text)
    except Exception as error:  # whatever it is, its words may quote the report: only its kind is told
        return "", "", type(error).__name__
    states = labeled.states
    codes = _CODE_END.join([label_state_to_code(states[observation]) for observation in OBSERVATIONS])
    return codes, _evidence(labeled.mentions) if with_evidence else "", ""


def _evidence(mentions: tuple[Mention, ...]) -> str:
    entries = [
        {
            "observation": mention.observation.value,
            "state": mention.state.value,
            "sentence": mention.sentence,
            "matched": mention.matched_text,
            "cue": mention.cue,
            "start": mention.start,
            "end": mention.end,
            "attributes": {name: value for name, value in mention.attributes._asdict().items() if value is not None},
        }
        for mention in mentions
    ]
    return json.dumps(entries, ensure_ascii=False)


def _texts(batch: list[ReportRow]) -> list[str]:
    return [row.report for row in batch]


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
