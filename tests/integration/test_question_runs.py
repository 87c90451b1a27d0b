"""Runs on questions: sums without images, a table of one's own with some, examined as they trained, or refused."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.configs import composed
from tests.conftest import noise_image

from orapo.errors import SettingError
from orapo.experiment.command_line import run_command
from orapo.experiment.config import read_experiment
from orapo.experiment.evaluate_command import evaluate_command
from orapo.experiment.parts import build_data
from orapo.experiment.run import train
from orapo.experiment.run_plan import refuse_mixed_shards

SMALL = [
    "data.subset.num_studies=8",
    "training.num_steps=2",
    "training.batch_size=4",
    "training.validate_every_steps=1",
    "rollout.per_study=2",
    "trainer.accelerator=cpu",
]
SUMS = ["+experiment=arithmetic", "data.source.num_train=40", "data.source.num_validate=4", "data.source.num_test=6"]


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps on short sums, which the base gets right."""
    folder = tmp_path_factory.mktemp("sums")
    short = ["data.source.least_numbers=2", "data.source.most_numbers=3"]
    train(composed(*SUMS, *SMALL, *short), folder)
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def summary_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return content


@pytest.mark.slow
def test_sums_are_trained_on_and_examined(sums: Path) -> None:
    summary = summary_of(sums)
    assert summary["trained"]["answers"]["num_questions"] == 6
    assert summary["base"]["answers"]["accuracy"] > 0.5
    assert {"test/accuracy", "test/base_accuracy", "test/majority_accuracy"} <= summary["sortable"].keys()
    assert list(summary["scores"]) == ["system", "base", "shuffled_images", "majority_answer", "random_answer"]
    assert summary["scores"]["shuffled_images"]["not_computed"] == "the questions have no images"
    first, *_ = rows_of(sums / "metrics.csv")
    assert float(first["reward"]) + float(first["zero_reward_rate"]) == 1
    assert first["reward_precision"] == ""
    assert [row["accuracy"] != "" for row in rows_of(sums / "validation.csv")] == [True] * 3
    assert set(json.loads((sums / "subset.json").read_text())["positives_after"]) == {"2 numbers", "3 numbers"}
    rollout = json.loads((sums / "rollouts.jsonl").read_text().splitlines()[0])
    assert rollout["question"].endswith("=?")
    assert not {"facts", "verdicts", "precision"} & rollout.keys()


@pytest.mark.slow
def test_an_evaluation_of_the_run_agrees(sums: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate.py", f"run={sums}", "bootstrap.num_resamples=100"])
    run_command(evaluate_command, "evaluate")
    (found,) = (sums / "evaluation").glob("*/evaluation.json")
    scores = json.loads(found.read_text())["scores"]
    trained = summary_of(sums)["scores"]
    for row in ("system", "majority_answer", "random_answer"):
        for name in ("accuracy", "accuracy/2 numbers"):
            assert scores[row]["measures"][name]["value"] == trained[row]["measures"][name]["value"]


@pytest.fixture
def table(tmp_path: Path) -> list[str]:
    """Choices, of which two in three have an image, as overrides of the config."""
    noise_image(0, (112, 112)).save(tmp_path / "a.png")
    rows = [
        {
            "id": f"q{number}",
            "question": "Which side?",
            "choices": ["left", "right"],
            "answer": "AB"[number % 2],
            "images": ["a.png"] if number % 3 else [],
            "split": ("train", "train", "validate", "test")[number % 4],
        }
        for number in range(24)
    ]
    table = tmp_path / "questions.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["data=questions", "reward=answer", f"data.path={table}", f"data.root={tmp_path}"]


@pytest.mark.slow
def test_a_table_with_images_beside_some_questions(table: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    train(composed("model=tiny", *table, *SMALL, "data.max_report_tokens=8"), folder)
    summary = summary_of(folder)
    assert summary["shuffled_images"]["answers"]["num_questions"] == 6
    assert (folder / "test_reports.jsonl").read_text().count("\n") == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ([*SUMS, "reward=fact_score"], "these data ask questions, in whose answers facts finds nothing"),
        (["reward=answer", "data.source.num_train=40"], "these data ask for reports; take reward=fact_score"),
    ],
)
def test_a_reward_of_the_other_kind_is_refused(overrides: list[str], match: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=match):
        train(composed(*overrides, *SMALL), tmp_path)
    assert not (tmp_path / "metrics.csv").exists()


@pytest.mark.slow
def test_processes_that_share_weights_out_see_images_with_all_questions_or_none(table: list[str]) -> None:
    experiment = read_experiment(composed("model=tiny", *table, *SMALL, "trainer=fsdp", "trainer.devices=2"))
    data = build_data(experiment)
    with pytest.raises(SettingError, match="trainer=fsdp needs images with all questions or with none"):
        refuse_mixed_shards(experiment, data)
