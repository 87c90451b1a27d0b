"""What an evaluation leaves behind: evaluation.json, table.txt, table.csv, reports.jsonl."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orapo.display import spreadsheet_cell
from orapo.evaluation.evaluation_table import EvaluationTables, tables_text
from orapo.evaluation.examiner import SystemScores
from orapo.whole_file import naming, write_whole

FORMAT = 1
"""Of evaluation.json; counted up when a key changes its meaning, together with its reader in orapo.comparison."""

FILES = {
    "evaluation.json": "all numbers with intervals, settings, versions, seeds",
    "table.txt": "the tables; of reports, both readings of uncertain labels",
    "table.csv": "one row a system and measure",
    "reports.jsonl": "every study: both reports, both label states, or the answer",
}
CSV_COLUMNS = ("system", "measure", "value", "low", "high", "not_computed")


def write_evaluation(content: Mapping[str, Any], tables: EvaluationTables, folder: Path) -> None:
    """Writes table.txt, table.csv and, last, evaluation.json: what has it is whole."""
    write_whole(folder / "table.txt", tables_text(tables, everything=True))
    with naming(folder / "table.csv"), (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        for key, system in tables.systems.items():
            writer.writerows(map(spreadsheet_cell, row) for row in _csv_rows(key, system))
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(folder / "evaluation.json", text)


def reports_name(key: str) -> str:
    """The file of a row's reports: the system's own, and those of what it is set beside, for other tools to score."""
    return "reports.jsonl" if key == "system" else f"reports_{key}.jsonl"


def tested(num_studies: int, at_most: int | None) -> str:
    """As in "200 test studies"; a score of a capped test says so wherever it stands."""
    is_capped = at_most is not None and num_studies == at_most
    return f"{'the first ' if is_capped else ''}{num_studies} test studies{' (capped)' if is_capped else ''}"


def _csv_rows(key: str, system: SystemScores) -> list[tuple[object, ...]]:
    if system.not_computed:
        return [(key, "", "", "", "", system.not_computed)]
    measured = [(key, name, found.value, found.low, found.high, "") for name, found in system.estimates.items()]
    return [*measured, *((key, name, count, "", "", "") for name, count in system.counts.items())]
