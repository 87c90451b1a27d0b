"""Generated reports in the form that other evaluators read."""

import json
from collections.abc import Sequence
from pathlib import Path

from orapo.empty_reports import says_nothing
from orapo.errors import DataError
from orapo.evaluation.report_pairs import ReportPair

RADEVAL_FILE = "radeval.json"


def write_radeval(path: Path, pairs: Sequence[ReportPair]) -> int:
    """Writes what RadEval 2's ``evaluator(refs=..., hyps=...)`` takes: the lists ``references`` and ``hypotheses``.

    ``study_ids`` stands beside them, in the order of the scores of ``per_sample=True``. Studies whose oracle report
    says nothing are left out; empty generated reports stay.

    Returns:
        How many studies were written.

    Raises:
        DataError: no study has an oracle report.
    """
    kept = [pair for pair in pairs if not says_nothing(pair.oracle_report)]
    if not kept:
        raise DataError(f"export=radeval: none of the {len(pairs)} studies has an oracle report to compare with")
    content = {
        "references": [_one_line(pair.oracle_report) for pair in kept],
        "hypotheses": [_one_line(pair.generated_report) for pair in kept],
        "study_ids": [pair.study_id for pair in kept],
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return len(kept)


def _one_line(report: str) -> str:
    """RadEval's other formats hold a report a line; its metrics read words, not line breaks."""
    return " ".join(report.split())
