"""What an evaluation leaves behind: evaluation.json, table.txt, table.csv, reports.jsonl."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orapo.evaluation.evaluation_table import EvaluationTables, tables_text
from orapo.evaluation.system_measures import SystemScores

FORMAT = 1
"""Of evaluation.json; counted up when a key changes its meaning, together with its reader in orapo.comparison."""

FILES = {
    "evaluation.json": "all numbers with intervals, settings, versions, seeds",
    "table.txt": "the tables, both readings of uncertain labels",
    "table.csv": "one row a system and measure",
    "reports.jsonl": "every study: both reports, both label states",
}
CSV_COLUMNS = ("system", "measure", "value", "low", "high", "not_computed")


def write_evaluation(content: Mapping[str, Any], tables: EvaluationTables, folder: Path) -> None:
    """Writes evaluation.json, table.txt and table.csv."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / "evaluation.json").write_text(text, encoding="utf-8")
    (folder / "table.txt").write_text(tables_text(tables, everything=True), encoding="utf-8")
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        for key, system in tables.systems.items():
            writer.writerows(_csv_rows(key, system))


def _csv_rows(key: str, system: SystemScores) -> list[tuple[object, ...]]:
    if system.not_computed:
        return [(key, "", "", "", "", system.not_computed)]
    measured = [(key, name, found.value, found.low, found.high, "") for name, found in system.estimates.items()]
    return [*measured, *((key, name, count, "", "", "") for name, count in system.counts.items())]
