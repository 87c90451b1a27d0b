"""Folders as evaluate.py leaves them, by its own writers, with reports chosen by the test."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from tests.unit.comparison.run_folders import config, pairs

from orapo.evaluation.clinical import clinical_measures
from orapo.evaluation.controls import always_positive_states
from orapo.evaluation.evaluation_table import EvaluationTables
from orapo.evaluation.examiner import Examiner, SystemScores
from orapo.evaluation.report_pairs import write_report_pairs
from orapo.evaluation.resampling import Bootstrap
from orapo.experiment.evaluation_files import FORMAT, write_evaluation
from orapo.labeler import Labeler


def write_evaluation_folder(
    folder: Path,
    called: np.ndarray,
    true: np.ndarray,
    name: str = "openai_gpt-4.1",
    cost_usd: float | None = 0.002,
    run: str | None = None,
    **settings: Any,
) -> Path:
    """Writes evaluation.json, table.txt, table.csv and reports.jsonl of a system whose reports call ``called``."""
    folder.mkdir(parents=True)
    bootstrap = Bootstrap(num_resamples=200)
    tested = tuple(replace(pair, seconds=0.5, cost_usd=cost_usd) for pair in pairs(called, true))
    count, examiner = len(tested), Examiner(Labeler(), bootstrap)
    floor = clinical_measures(always_positive_states(count), [pair.oracle_states for pair in tested])
    scores = {
        "system": examiner.scored(name, tested),
        "shuffled_images": SystemScores("shuffled images", not_computed="shuffled_images=false"),
        "always_positive": examiner.of_labels("always positive", floor, "no text"),
        "label_frequencies": SystemScores("label frequencies", not_computed="no training studies"),
        "most_common_report": examiner.scored("most common report", tested),
    }
    content = {
        "format": FORMAT,
        "name": name,
        "system": {"kind": "api"},
        "data": {"source": "phantoms", "num_studies": count},
        "scores": {key: row.to_dict() for key, row in scores.items()},
        "against": None,
        "bootstrap": asdict(bootstrap),
        "seed": 0,
        "settings": {"run": run, "data": config(**settings)["data"], "bootstrap": asdict(bootstrap)},
    }
    tables = EvaluationTables(name, scores, "", {}, "uncertain_not_positive", 0.95)
    write_evaluation(content, tables, folder)
    write_report_pairs(folder / "reports.jsonl", tested)
    return folder
