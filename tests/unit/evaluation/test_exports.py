import json
from pathlib import Path

import pytest

from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.errors import DataError
from orapo.evaluation.exports import write_radeval
from orapo.evaluation.report_pairs import ReportPair


def pair(study_id: str, oracle: str, generated: str) -> ReportPair:
    states = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
    return ReportPair(study_id, oracle, generated, states, states)


def test_radeval_reads_lists_of_equal_length(tmp_path: Path) -> None:
    path = tmp_path / "radeval.json"
    pairs = [pair("1", "No edema.\nHeart normal.", "Ödem."), pair("2", " ", "Clear."), pair("3", "Clear.", "")]
    assert write_radeval(path, pairs) == 2
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content == {
        "references": ["No edema. Heart normal.", "Clear."],
        "hypotheses": ["Ödem.", ""],
        "study_ids": ["1", "3"],
    }


def test_without_an_oracle_report_there_is_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the 1 studies"):
        write_radeval(tmp_path / "radeval.json", [pair("1", "", "Clear.")])
