"""Scores that another tool gave: joined by study, with intervals and paired differences, or refused in one line."""

from pathlib import Path

import pytest
from tests.unit.comparison.run_folders import marks, pairs
from tests.unit.evaluation.scores import EXAMINER

from orapo.errors import DataError
from orapo.experiment.written_reports import ScoreFile

PAIRS = pairs(*marks(0, 4, 0.5))


def written(folder: Path, text: str, name: str = "scores.jsonl") -> Path:
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_scores_are_measured_over_the_studies_that_have_them(ending: str, tmp_path: Path) -> None:
    text = {
        "jsonl": '{"study_id": "s0", "green": 0.5, "radcliq": 2}\n{"study_id": "s2", "green": 1, "radcliq": null}\n'
        '{"system": "against", "study_id": "s0", "green": 0.25}\n{"study_id": "elsewhere", "green": 0}\n',
        "csv": "system,study_id,green,radcliq\n,s0,0.5,2\nsystem,s2,1,\nagainst,s0,0.25,\n,elsewhere,0,\n",
    }[ending]
    file = ScoreFile(written(tmp_path, text, f"scores.{ending}"))
    own = EXAMINER.scored("own", file.added("system", PAIRS))
    other = EXAMINER.scored("other", file.added("against", PAIRS))
    assert own.estimates["score/green"].value == 0.75
    assert own.estimates["score/green"].low <= 0.75 <= own.estimates["score/green"].high
    assert own.estimates["score/radcliq"].value == 2
    assert other.estimates["score/green"].value == 0.25
    assert "score/radcliq" not in other.estimates
    assert EXAMINER.differences(own, other)["score/green"].value == 0.5
    assert file.added("most_common_report", PAIRS) == PAIRS


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"study_id": "s0", "green": "a report"}\n', "line 1: green must be a finite number"),
        ('{"study_id": "s0", "green": NaN}\n', "line 1: green must be a finite number"),
        ('{"study_id": "s0", "green": true}\n', "line 1: green must be a finite number"),
        ('{"green": 1}\n', "line 1: study_id is needed"),
        ('{"study_id": "s0", "green": 1}\n{"study_id": "s0", "green": 2}\n', "line 2: study s0 stands there twice"),
        ('{"study_id": "s0", "system": "base", "green": 1}\n', "system is 'base', allowed: system, shuffled_images"),
        ('{"study_id": "s0"}\n', "holds no score"),
        ('{"study_id": "elsewhere", "green": 1}\n', "no score for any of the 4 test studies"),
    ],
)
def test_what_can_not_be_joined_is_refused(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told) as error:
        ScoreFile(written(tmp_path, text)).added("system", PAIRS)
    assert "a report" not in str(error.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must end in .csv or .jsonl"):
        ScoreFile(written(tmp_path, "", "scores.txt"))


def test_a_name_that_the_server_has_is_refused(tmp_path: Path) -> None:
    file = ScoreFile(written(tmp_path, '{"study_id": "s0", "green": 1}\n'))
    with pytest.raises(DataError, match="green has values of the metric server already"):
        file.added("system", file.added("system", PAIRS))
