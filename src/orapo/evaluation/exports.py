"""Generated reports in other evaluators' formats; studies whose oracle report says nothing are left out."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orapo.display import spreadsheet_cell
from orapo.empty_reports import says_nothing
from orapo.errors import DataError
from orapo.evaluation.report_pairs import ReportPair

NO_REPORT = "."
"""In place of a report that a table's reader would take for a missing cell, such as an empty one or "None"."""

_MISSING_CELLS = frozenset(("", "na", "n/a", "nan", "null", "none", "#n/a", "<na>", "-nan", "1.#ind", "1.#qnan"))


def export_reports(name: str, folder: Path, pairs: Sequence[ReportPair]) -> dict[str, str]:
    """Writes one of ``EXPORTS`` into a folder.

    Returns:
        Each file with what it is.

    Raises:
        DataError: no study has an oracle report.
    """
    kept = [pair for pair in pairs if not says_nothing(pair.oracle_report)]
    if not kept:
        raise DataError(f"export={name}: none of the {len(pairs)} studies has an oracle report to compare with")
    return EXPORTS[name](folder, kept)


def _radeval(folder: Path, pairs: Sequence[ReportPair]) -> dict[str, str]:
    """What RadEval 2's ``evaluator(refs=..., hyps=...)`` takes, in one file with the studies' ids."""
    content = {
        "references": [_one_line(pair.oracle_report) for pair in pairs],
        "hypotheses": [_one_line(pair.generated_report) for pair in pairs],
        "study_ids": [pair.study_id for pair in pairs],
    }
    return {_json(folder / "radeval.json", content): f"{len(pairs)} pairs of reports for RadEval"}


def _crimson(folder: Path, pairs: Sequence[ReportPair]) -> dict[str, str]:
    """The arguments of CRIMSON 0.2's ``CRIMSONScore().evaluate_batch(**arguments)``; ids, in its order, apart."""
    arguments = {
        "reference_findings_list": [_one_line(pair.oracle_report) for pair in pairs],
        "predicted_findings_list": [_one_line(pair.generated_report) for pair in pairs],
    }
    return {
        _json(folder / "crimson.json", arguments): f"{len(pairs)} pairs of reports for CRIMSON",
        _json(folder / "crimson_study_ids.json", [pair.study_id for pair in pairs]): "their studies, in this order",
    }


def _rexrank(folder: Path, pairs: Sequence[ReportPair]) -> dict[str, str]:
    """The two tables that ReXrank's scoring reads."""
    return _tables(folder, "rexrank", {pair.study_id: pair for pair in pairs})


def _cxr_report_metric(folder: Path, pairs: Sequence[ReportPair]) -> dict[str, str]:
    """The two tables that CXR-Report-Metric reads: in one order, the studies by whole numbers, which it asks for."""
    numbered = {str(number): pair for number, pair in enumerate(pairs)}
    written = _tables(folder, "cxr_report_metric", numbered)
    ids = {number: pair.study_id for number, pair in numbered.items()}
    return written | {_json(folder / "cxr_report_metric_study_ids.json", ids): "the studies by number"}


EXPORTS: Mapping[str, Callable[[Path, Sequence[ReportPair]], dict[str, str]]] = {
    "radeval": _radeval,
    "rexrank": _rexrank,
    "cxr_report_metric": _cxr_report_metric,
    "crimson": _crimson,
}


def _tables(folder: Path, start: str, pairs: Mapping[str, ReportPair]) -> dict[str, str]:
    texts = {study: _cell(pair.generated_report) for study, pair in pairs.items()}
    num_replaced = list(texts.values()).count(NO_REPORT)
    oracle = {study: _cell(pair.oracle_report) for study, pair in pairs.items()}
    told = f", {num_replaced} without a report as {NO_REPORT!r}" if num_replaced else ""
    return {
        _csv(folder / f"{start}_gt_reports.csv", oracle): "the radiologists' reports",
        _csv(folder / f"{start}_predicted_reports.csv", texts): f"{len(pairs)} generated reports{told}",
    }


def _csv(path: Path, reports: Mapping[str, str]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("study_id", "report"))
        writer.writerows(reports.items())
    return path.name


def _json(path: Path, content: Any) -> str:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path.name


def _cell(report: str) -> str:
    text = _one_line(report)
    return NO_REPORT if text.lower() in _MISSING_CELLS else str(spreadsheet_cell(text))


def _one_line(report: str) -> str:
    """Other formats hold a report a line; metrics read words, not line breaks."""
    return " ".join(report.split())
