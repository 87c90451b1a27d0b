"""A run that begins with the model of a stage before it: two runs, one command, resumed as one."""

import copy
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file
from tests.integration.test_training_equivalence import assert_same_weights, small_config, train_in, trained_weights

from orapo.errors import RunInterrupted, SettingError
from orapo.experiment.config import read_experiment
from orapo.experiment.first_stage import first_config
from orapo.experiment.run import train

TWO_STAGES = (
    "+row=sft_then_orapo",
    "++first.training.num_steps=2",
    "++first.training.validate_every_steps=null",
    "training.num_steps=3",
    "training.validate_every_steps=null",
    "data.source.num_test=14",
)


def begun_with(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "first" / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def both_stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("both")
    train_in(folder, small_config(*TWO_STAGES))
    return folder


@pytest.mark.slow
def test_the_run_begins_where_the_first_stage_ends(both_stages: Path, tmp_path: Path) -> None:
    first = train_in(tmp_path / "first", small_config("objective=sft", *TWO_STAGES[3:], "training.num_steps=2"))
    assert_same_weights(first, trained_weights(both_stages / "first"), atol=0)
    model = f"model.path={both_stages / 'first' / 'model'}"
    second = train_in(tmp_path / "second", small_config(model, *TWO_STAGES[3:]))
    assert_same_weights(second, trained_weights(both_stages), atol=0)
    assert "base_model: tiny\n" in (both_stages / "model" / "README.md").read_text()
    assert not torch.equal(next(iter(first.values())), next(iter(second.values())))


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "step"), [("first", 1), (".", 2)])
def test_it_is_resumed_in_either_stage(
    stage: str, step: int, both_stages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orapo.training.module import OrapoModule

    whole_step, is_in = OrapoModule.training_step, []

    def interrupted(self: Any, batch: Any, batch_index: int) -> None:
        whole_step(self, batch, batch_index)
        is_in.append((tmp_path / "checkpoints").exists() or len(is_in) >= 2)
        if len(is_in) == (step if stage == "first" else 2 + step):
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(OrapoModule, "training_step", interrupted)
        with pytest.raises(RunInterrupted, match=f"after step {step} of"):
            train(small_config(*TWO_STAGES), tmp_path)
    assert (tmp_path / stage / "checkpoints" / "last.ckpt").is_file()
    saved = OmegaConf.load(tmp_path / "config.yaml")
    assert isinstance(saved, DictConfig)
    assert_same_weights(trained_weights(both_stages), train_in(tmp_path, saved), atol=0)


@pytest.mark.slow
def test_a_first_stage_that_a_stop_left_without_its_pictures_is_completed(
    both_stages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> str:
        raise RunInterrupted("while the pictures are drawn")

    with monkeypatch.context() as patch:
        patch.setattr("orapo.experiment.run.write_pictures", interrupted)
        with pytest.raises(RunInterrupted):
            train(small_config(*TWO_STAGES), tmp_path)
    assert (tmp_path / "first" / "model").is_dir()
    train_in(tmp_path, small_config(*TWO_STAGES))
    for folder in (Path("first"), Path()):
        whole = {path.name for path in (both_stages / folder).iterdir()}
        assert whole == {path.name for path in (tmp_path / folder).iterdir()}
    assert_same_weights(trained_weights(both_stages), trained_weights(tmp_path), atol=0)


@pytest.mark.slow
def test_an_adapter_is_merged_before_the_next_one(random_model_folder: Path, tmp_path: Path) -> None:
    config = small_config(
        "model=qwen2_5_vl_3b",
        f"model.path={random_model_folder}",
        "model.dtype=float32",
        "model.lora.rank=4",
        "trainer.precision=32-true",
        "rollout.max_new_tokens=8",
        "training.eval_batch_size=4",
        "training.num_workers=0",
        *TWO_STAGES,
        "++first.training.learning_rate=0.01",
    )
    train_in(tmp_path, config)
    before = load_file(random_model_folder / "model.safetensors")
    merged = load_file(tmp_path / "first" / "merged" / "model.safetensors")
    changed = {name for name, weight in merged.items() if not torch.equal(weight, before[name])}
    assert changed
    assert all("language_model" in name or name.startswith("model.layers") for name in changed)
    assert (tmp_path / "model" / "adapter_model.safetensors").is_file()


def test_a_first_stage_of_another_config_is_not_taken_for_its_own(tmp_path: Path) -> None:
    config = small_config(*TWO_STAGES)
    other = copy.deepcopy(config)
    other.first.training.num_steps = 5
    first = first_config(other)
    assert first is not None
    (tmp_path / "first").mkdir()
    OmegaConf.save(first, tmp_path / "first" / "config.yaml")
    with pytest.raises(
        SettingError, match=r"first holds a first stage of another config: training\.num_steps is 2, was 5"
    ):
        train(config, tmp_path)


def test_what_the_first_stage_takes_from_the_run() -> None:
    config = small_config("+experiment=sft_then_orapo", "training.learning_rate=0.25", "++first.rollout.per_study=2")
    first = first_config(config)
    assert first is not None
    assert first.objective.w_min == 1.0
    assert (first.training.num_steps, first.training.num_passes) == (None, 2.0)
    assert first.training.learning_rate == 0.25
    assert (first.rollout.per_study, config.rollout.per_study) == (2, 4)
    other = "++first.data.source={_target_:orapo.data.arithmetic.Arithmetic}"
    first_of_other = first_config(small_config("+row=sft_then_orapo", other))
    assert first_of_other is not None
    assert first_of_other.data.source == {"_target_": "orapo.data.arithmetic.Arithmetic"}
    assert first_config(first) is None
    assert first_config(small_config()) is None


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("++first.trainer.devices=2", r"first\.trainer is not allowed; .* callbacks, data, objective"),
        ("++first.training.learning_rate=-1", r"first\.training\.learning_rate"),
        ("++first.training.num_step=3", r"first\.training\.num_step .*did you mean training\.num_steps"),
        ("++first.training=3", r"first\.training is 3; it must be a section"),
        (
            ["model=qwen2_5_vl_3b", "rollout=vllm", "rollout.server.api_base=http://127.0.0.1:9/v1"],
            "rollout=vllm can't follow a first stage with an adapter",
        ),
        ("++first=sft", r"first is 'sft'; it must be a mapping, or null"),
    ],
)
def test_what_cannot_be_is_refused_before_the_work(override: str | list[str], told: str) -> None:
    overrides = [override] if isinstance(override, str) else override
    with pytest.raises(SettingError, match=told):
        read_experiment(small_config("+row=sft_then_orapo", *overrides))
