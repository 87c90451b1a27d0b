"""A run whose prompt tells of the prior study: trained, evaluated and used with it, and refused where there is none."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.configs import composed

from orapo.data.phantoms import PhantomSource
from orapo.data.source import load_prior_images
from orapo.experiment.command_line import run_command
from orapo.experiment.evaluate_command import evaluate_command
from orapo.experiment.generate_command import generate_command
from orapo.experiment.run import train
from orapo.experiment.train_command import train_command
from orapo.records import Split

SMALL = [
    "data.source.num_train=60",
    "data.source.num_validate=2",
    "data.source.num_test=6",
    "data.subset.num_studies=12",
    "training.num_steps=2",
    "training.batch_size=4",
    "training.validate_every_steps=null",
    "training.learning_rate=0.002",
    "trainer.accelerator=cpu",
]
CONTEXT = "prompt.context=[indication,prior_report,prior_image]"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of the base for follow-up studies."""
    folder = tmp_path_factory.mktemp("run")
    config = composed("+experiment=followup", *SMALL, CONTEXT)
    train(config, folder)
    return folder


def reports_of(run: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in (run / "test_reports.jsonl").read_text().splitlines()]
    return {row["study_id"]: row["generated_report"] for row in rows}


@pytest.mark.slow
def test_the_models_folder_says_what_its_prompt_told(run: Path) -> None:
    saved = json.loads((run / "model" / "orapo_model.json").read_text())
    assert saved["context"] == ["indication", "prior_report", "prior_image"]
    assert (run / "metrics.csv").read_text().count("\n") == 3


@pytest.mark.slow
def test_an_evaluation_tells_the_same_and_shuffles_the_priors(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate.py", f"run={run}", "bootstrap.num_resamples=100"])
    run_command(evaluate_command, "evaluate")
    (file,) = (run / "evaluation").rglob("evaluation.json")
    scores = json.loads(file.read_text())["scores"]
    rows = [json.loads(line) for line in (file.parent / "reports.jsonl").read_text().splitlines()]
    assert {row["study_id"]: row["generated_report"] for row in rows} == reports_of(run)
    own, other = (scores[name]["measures"] for name in ("system", "shuffled_priors"))
    assert 0 <= own["change_recall"]["value"] <= own["change_accuracy"]["value"] <= 1
    assert own["rouge_l"] != other["rouge_l"], "another prior is told"
    assert "shuffled priors" in capsys.readouterr().out


@pytest.mark.slow
def test_a_context_given_by_hand_is_the_one_that_the_test_told(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = PhantomSource(num_test=6, followup=True)
    study = source.study(Split.TEST, 3)
    prior = study.context.prior
    assert prior is not None
    for name, (image,) in {
        "now": source.load_images(study),
        "before": load_prior_images(source.load_images, study),
    }.items():
        image.save(tmp_path / f"{name}.png")

    def written(*context: str) -> dict[str, Any]:
        own = [f"image={tmp_path}/now.png", f"checkpoint={run}", "format=json", *context]
        monkeypatch.setattr(sys, "argv", ["generate.py", *own])
        run_command(generate_command, "generate", tells_hydra=False)
        row: dict[str, Any] = json.loads(capsys.readouterr().out)
        return row

    told = written(
        f"context.prior_image={tmp_path}/before.png",
        f"context.indication='{study.context.indication}'",
        f"context.prior_report='{prior.report}'",
        f"context.prior_days_before={prior.days_before}",
    )
    assert told["report"] == reports_of(run)[study.study_id]


def test_a_prior_that_no_study_has_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["+experiment=followup", *SMALL, "data=phantoms", f"paths.logs={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    with pytest.raises(SystemExit):
        run_command(train_command)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "prompt.context asks for prior_image, which none of the 12 training studies of phantoms has" in line
