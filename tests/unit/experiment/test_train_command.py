"""What may be edited in a run's config before it is resumed."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from tests.configs import composed

from orapo.errors import CheckpointError, SettingError
from orapo.experiment.train_command import saved_config
from orapo.training.checkpoint_files import RUN


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with a config and a checkpoint that carries it."""
    text = OmegaConf.to_yaml(composed("data=study_table", "data.csv=a.csv", "data.root=a"), resolve=True)
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "checkpoints").mkdir()
    torch.save({RUN: {"config": text}}, tmp_path / "checkpoints" / "last.ckpt")
    return tmp_path


def resumed(run: Path, key: str, value: Any) -> DictConfig:
    config = OmegaConf.load(run / "config.yaml")
    OmegaConf.update(config, key, value)
    OmegaConf.save(config, run / "config.yaml")
    return saved_config(run, [f"resume={run}"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trainer.accelerator", "gpu"),
        ("trainer.devices", 2),
        ("trainer.num_nodes", 2),
        ("training.num_workers", 3),
        ("training.eval_batch_size", 3),
        ("training.studies_per_micro_batch", 3),
        ("model.gradient_checkpointing", True),
        ("data.csv", "moved.csv"),
    ],
)
def test_what_fits_a_run_to_a_machine_may_be_edited_and_is_told(
    key: str, value: Any, run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert OmegaConf.select(resumed(run, key, value), key) == value
    (told,) = caplog.messages
    assert told.startswith(f"config.yaml was edited: {key} is {value!r}, was ")


@pytest.mark.parametrize(
    ("key", "value"), [("seed", 5), ("training.batch_size", 3), ("trainer.precision", "bf16-mixed")]
)
def test_what_is_learned_may_not_be_edited(key: str, value: Any, run: Path) -> None:
    with pytest.raises(
        SettingError, match=rf"was edited since the run's checkpoint: {key} is {value!r}, was .*; put it"
    ):
        resumed(run, key, value)


def test_a_finished_run_without_its_checkpoints_cannot_go_on(run: Path) -> None:
    (run / "summary.json").write_text("{}")
    (run / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(CheckpointError, match="the run is finished, and its checkpoints are gone"):
        saved_config(run, [f"resume={run}"])
