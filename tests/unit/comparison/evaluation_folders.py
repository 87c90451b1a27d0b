"""Folders as evaluate.py leaves them, by its own writers, with reports chosen by the test."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tests.unit.comparison.run_folders import config, pairs

from orapo.evaluation.clinical_measures import clinical_measures
from orapo.evaluation.controls import always_positive_states
from orapo.evaluation.evaluation_table import EvaluationTables
from orapo.evaluation.report_pairs import write_report_pairs
from orapo.evaluation.resampling import Bootstrap
from orapo.evaluation.system_measures import SystemScores, observation_counts, system_measures
from orapo.experiment.evaluation_files import FORMAT, write_evaluation


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
    tested, bootstrap = pairs(called, true), Bootstrap(num_resamples=200)
    count = len(tested)
    costs = None if cost_usd is None else [cost_usd] * count
    estimates = bootstrap.estimates(system_measures(tested, [1] * count, [0.5] * count, costs))
    floor = clinical_measures(always_positive_states(count), [pair.oracle_states for pair in tested])
    scores = {
        "system": SystemScores(name, estimates, observation_counts(tested)),
        "shuffled_images": SystemScores("shuffled images", {}, {}, not_computed="shuffled_images=false"),
        "always_positive": SystemScores("always positive", bootstrap.estimates(floor), {}, note="no text"),
        "label_frequencies": SystemScores("label frequencies", {}, {}, not_computed="no training studies"),
        "most_common_report": SystemScores("most common report", estimates, observation_counts(tested)),
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
    tables = EvaluationTables(name, scores, "", {}, "uncertain_not_positive", count, count, 0.95)
    write_evaluation(content, tables, folder)
    write_report_pairs(folder / "reports.jsonl", tested)
    return folder
