"""Exports are read back as their readers read them: RadEval, ReXrank and CXR-Report-Metric (pandas), CRIMSON."""

import json
import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.errors import DataError
from orapo.evaluation.exports import EXPORTS, NO_REPORT, export_reports
from orapo.evaluation.report_pairs import ReportPair

ROOT = Path(__file__).parents[3]
RADEVAL = Path(os.environ.get("ORAPO_RADEVAL_PYTHON", ROOT / ".venv-radeval" / "bin" / "python"))


def pair(study_id: str, oracle: str, generated: str) -> ReportPair:
    states = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
    return ReportPair(study_id, oracle, generated, states, states)


PAIRS = [
    pair("s1", "No edema.\nHeart normal.", "Ödem."),
    pair("s2", " ", "Clear."),
    pair("s3", "Clear.", ""),
    pair("s4", 'He said "no", I think', "None"),
]


def test_radeval_reads_lists_of_equal_length(tmp_path: Path) -> None:
    told = export_reports("radeval", tmp_path, PAIRS)
    assert told == {"radeval.json": "3 pairs of reports for RadEval"}
    assert json.loads((tmp_path / "radeval.json").read_text(encoding="utf-8")) == {
        "references": ["No edema. Heart normal.", "Clear.", 'He said "no", I think'],
        "hypotheses": ["Ödem.", "", "None"],
        "study_ids": ["s1", "s3", "s4"],
    }


@pytest.mark.slow
@pytest.mark.skipif(not RADEVAL.is_file(), reason="radeval needs an environment of its own: make radeval")
def test_radeval_itself_scores_the_export(tmp_path: Path) -> None:
    export_reports("radeval", tmp_path, [pair("s1", "No edema.", "No edema."), pair("s2", "Clear lungs.", "")])
    script = (
        "import json; from radeval import RadEval; data = json.load(open('radeval.json'))\n"
        "evaluator = RadEval(metrics=['rouge'], per_sample=True, show_progress=False)\n"
        "print(json.dumps(evaluator(refs=data['references'], hyps=data['hypotheses'])['rougeL']))"
    )
    done = subprocess.run([RADEVAL, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [1.0, 0.0]


@pytest.mark.parametrize("name", ["rexrank", "cxr_report_metric"])
def test_tables_come_back_from_pandas_without_a_missing_cell(name: str, tmp_path: Path) -> None:
    told = export_reports(name, tmp_path, PAIRS)
    true, predicted = (pd.read_csv(tmp_path / f"{name}_{kind}_reports.csv") for kind in ("gt", "predicted"))
    assert list(true.columns) == list(predicted.columns) == ["study_id", "report"]
    assert list(true.report) == ["No edema. Heart normal.", "Clear.", 'He said "no", I think']
    # Both evaluators call str methods on every cell: what pandas reads as NaN would stop them.
    assert [report.lstrip() for report in predicted.report] == ["Ödem.", NO_REPORT, NO_REPORT]
    assert told[f"{name}_predicted_reports.csv"] == "3 generated reports, 2 without a report as '.'"
    assert list(true.study_id) == list(predicted.study_id), "in one order"
    if name == "rexrank":
        assert list(true.study_id) == ["s1", "s3", "s4"]
    else:
        assert [int(study_id) for study_id in true.study_id] == [0, 1, 2], "its RadGraph takes whole numbers"
        ids = json.loads((tmp_path / "cxr_report_metric_study_ids.json").read_text())
        assert ids == {"0": "s1", "1": "s3", "2": "s4"}


def test_crimson_takes_the_file_as_its_arguments(tmp_path: Path) -> None:
    def evaluate_batch(
        reference_findings_list: list[str],
        predicted_findings_list: list[str],
        patient_contexts: list[object] | None = None,
        include_guidelines: bool = True,
        batch_size: int = 1,
    ) -> int:
        """The signature of crimson-score 0.2.0."""
        assert len(reference_findings_list) == len(predicted_findings_list)
        return len(reference_findings_list)

    export_reports("crimson", tmp_path, PAIRS)
    assert evaluate_batch(**json.loads((tmp_path / "crimson.json").read_text())) == 3
    assert json.loads((tmp_path / "crimson_study_ids.json").read_text()) == ["s1", "s3", "s4"]


@pytest.mark.parametrize("name", EXPORTS)
def test_without_an_oracle_report_there_is_nothing_to_export(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"export={name}: none of the 1 studies"):
        export_reports(name, tmp_path, [pair("1", "", "Clear.")])
    assert not list(tmp_path.iterdir())
