"""Other architectures from end to end: train, resume, generate, evaluate, as the commands do it."""

import copy
import csv
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from tests.configs import composed
from tests.conftest import noise_image
from tests.tiny_models import write

from orapo.errors import RunInterrupted
from orapo.experiment.command_line import run_command
from orapo.experiment.evaluate_command import evaluate_command
from orapo.experiment.generate_command import generate_command
from orapo.experiment.run import train
from orapo.training.module import OrapoModule

pytestmark = pytest.mark.slow

PHANTOMS = ["data.source.num_train=60", "data.source.num_validate=2", "data.source.num_test=2"]
SMALL = [
    *PHANTOMS,
    "data.subset.num_studies=8",
    "data.max_report_tokens=12",
    "rollout.per_study=2",
    "rollout.min_new_tokens=1",
    "training.batch_size=3",
    "training.num_steps=2",
    "training.validate_every_steps=null",
    "training.studies_per_micro_batch=2",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",  # an evaluation runs in the precision of the weights, and greedy choices hang on it
    "training.num_workers=0",
]
ADAPTER = ["+model.lora.rank=2", "+model.lora.alpha=4", "+model.lora._target_=orapo.policy.settings.LoraSettings"]


def config_for(folder: Path, *overrides: str) -> DictConfig:
    return composed(*SMALL, "model=checkpoint", f"model.path={folder}", *overrides)


def trained(config: DictConfig, folder: Path) -> dict[str, torch.Tensor]:
    folder.mkdir(exist_ok=True)
    train(config, folder)
    return dict(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])


@pytest.mark.parametrize("name", ["qwen3_vl", "gemma3", "smolvlm"])
def test_a_run_trains_goes_on_and_its_model_writes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    start = write(name, tmp_path / name)
    config = config_for(start)
    whole = trained(copy.deepcopy(config), tmp_path / "whole")
    step = OrapoModule.training_step

    def interrupted(self: Any, batch: Any, batch_index: int) -> None:
        step(self, batch, batch_index)
        os.kill(os.getpid(), signal.SIGINT)

    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.setattr(OrapoModule, "training_step", interrupted)
    with pytest.raises(RunInterrupted, match="after step 1 of 2"):
        train(copy.deepcopy(config), run)
    monkeypatch.setattr(OrapoModule, "training_step", step)
    saved = OmegaConf.load(run / "config.yaml")
    assert isinstance(saved, DictConfig)
    resumed = trained(saved, run)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())
    rows = [*csv.DictReader((run / "metrics.csv").open())]
    assert [float(row["oracle_loss"]) > 0 for row in rows] == [True, True]

    reports = []
    image = tmp_path / "scan.png"
    noise_image(0, (90, 70)).save(image)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    for model in (run, run / "model"):
        arguments = [f"checkpoint='{model}'", f"image='{image}'", "format=json", "accelerator=cpu"]
        monkeypatch.setattr(sys, "argv", ["generate.py", *arguments, "max_new_tokens=12", "longest_side=512"])
        capfd.readouterr()
        run_command(generate_command, "generate", tells_hydra=False)
        (line,) = capfd.readouterr().out.splitlines()
        reports.append(json.loads(line)["report"])
    assert reports[0]
    assert reports[0] == reports[1], "a run's model folder says what it was trained with"

    arguments = [*PHANTOMS, f"checkpoint='{run / 'model'}'", "data.max_report_tokens=12", "data.subset.num_studies=8"]
    arguments += ["bootstrap.num_resamples=100", "accelerator=cpu", f"paths.evaluations={tmp_path}/evaluations"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    run_command(evaluate_command, "evaluate")
    (file,) = (tmp_path / "evaluations").rglob("evaluation.json")
    evaluated = json.loads(file.read_text())["scores"]["system"]["measures"]
    tested = json.loads((run / "summary.json").read_text())
    assert evaluated["mean_words"]["value"] == pytest.approx(tested["trained"]["text"]["mean_words"])


def test_an_adapter_of_another_architecture_trains(tmp_path: Path) -> None:
    start = write("gemma3", tmp_path / "gemma3")
    weights = trained(config_for(start, "model.trainable=language", *ADAPTER), tmp_path / "run")
    assert weights
    assert all("lora_" in name for name in weights)
    assert (tmp_path / "run" / "model" / "adapter_config.json").is_file()
