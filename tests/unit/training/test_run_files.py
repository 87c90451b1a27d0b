"""What rollouts.jsonl tells of a fact leads back to the words of the report."""

import json
import os
from pathlib import Path

import pytest
from tests.conftest import make_study

from orapo.errors import CheckpointError
from orapo.records import MentionSpan
from orapo.reward import OfflineJudge, WeightedReward
from orapo.training.run_files import AppendedFile, breakdown_row, csv_row, fact_row

REPORT = (
    "IMPRESSION:\n1. NO  Pneumothorax,\nor Left   EFFUSION.\n2) **Moderate** cardiomegaly; possible edema.\n\n"
    "- <b>Rib</b> fracture."
)


def test_places_in_a_row_are_those_of_the_report() -> None:
    (judged,) = OfflineJudge().judge([REPORT])
    rows = json.loads(json.dumps([fact_row(fact) for fact in judged.facts]))
    assert [
        (
            REPORT[row["start"] : row["end"]],
            [
                (m["observation"], m["state"], REPORT[m["start"] : m["end"]], REPORT[m["cue_start"] : m["cue_end"]])
                for m in row["mentions"]
            ],
        )
        for row in rows
    ] == [
        (
            "NO  Pneumothorax,\nor Left   EFFUSION",
            [
                ("Pneumothorax", "negative", "Pneumothorax", "NO"),
                ("Pleural Effusion", "negative", "EFFUSION", "NO"),
            ],
        ),
        ("Moderate** cardiomegaly", [("Cardiomegaly", "positive", "cardiomegaly", "")]),
        ("possible edema", [("Edema", "uncertain", "edema", "possible")]),
    ]
    assert rows[0]["text"] == "NO Pneumothorax, or Left EFFUSION"
    assert "Rib</b> fracture" in judged.rejected  # markup within a sentence is no statement
    assert [MentionSpan.from_row(m) for row in rows for m in row["mentions"]] == [
        mention for fact in judged.facts for mention in fact.mentions
    ]


def test_what_a_checkpoint_knows_of_a_file_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda file: forced.append(Path(f"/proc/self/fd/{file}").readlink()))
    file = AppendedFile(tmp_path / "metrics.csv")
    file.append("1\n")
    assert file.state_dict()["num_bytes"] == 2
    assert forced == [tmp_path / "metrics.csv"]


def test_a_file_shorter_than_its_size_in_an_older_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("1\n")
    with pytest.raises(CheckpointError, match="was shortened or changed"):
        AppendedFile(tmp_path / "metrics.csv").cut({"num_bytes": 3})


def test_a_resumed_file_keeps_the_columns_it_began_with(tmp_path: Path) -> None:
    file = AppendedFile(tmp_path / "metrics.csv")
    file.append(csv_row({"step": 1, "reward": 0.5, "gone": 2.0}, ("step", "reward", "gone"), file))
    file.append(csv_row({"step": 2, "reward": 0.25, "term_facts": 0.25}, ("step", "reward", "term_facts"), file))
    assert (tmp_path / "metrics.csv").read_text() == "step,reward,gone\n1,0.5,2\n2,0.25,\n"


def test_a_row_tells_the_terms_and_whether_the_reward_counts_as_zero() -> None:
    study = make_study("a", "Small left effusion.")
    (found,) = WeightedReward({"rouge_l": 1, "attributes": 1, "facts": 1}).score(["Effusion."], [study])
    row = json.loads(json.dumps(breakdown_row(found)))
    assert row["terms"] == {"rouge_l": 0.5, "attributes": 0.0, "facts": 0.0}
    assert (row["reward"], row["is_zero"]) == (pytest.approx(1 / 6), True)
