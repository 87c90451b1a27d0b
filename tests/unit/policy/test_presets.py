"""Each preset of conf/model on the architecture it names: its adapter where it belongs, its licence told."""

import re
from pathlib import Path

import pytest
import torch
from benchmarks.model_shapes import PUBLISHED_WEIGHTS, model_config
from tests.configs import CONF, composed
from tests.conftest import chat, noise_image
from tests.tiny_models import write
from transformers import AutoModelForImageTextToText

from orapo.experiment.config import read_experiment
from orapo.policy.embedded import EMBEDDED
from orapo.policy.loading import load_policy
from orapo.policy.memory import adapted_modules
from orapo.policy.settings import ModelSettings

OWN = (*EMBEDDED.values(), "checkpoint", "qwen2_5_vl_3b_full")
PRESETS = sorted(file.stem for file in (CONF / "model").glob("*.yaml") if file.stem not in OWN)


def preset(name: str, *overrides: str) -> ModelSettings:
    return read_experiment(composed(f"model={name}", *overrides)).model


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_an_adapter_is_on_every_projection_of_the_language_model(name: str) -> None:
    settings = preset(name)
    config = model_config(settings.path)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    assert settings.lora is not None
    adapted = adapted_modules(model, settings.lora)
    assert len(adapted) == 7 * config.get_text_config().num_hidden_layers
    assert set(model.get_decoder().modules()).issuperset(adapted)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_loads_its_architecture_and_writes_prompts(name: str, tmp_path: Path) -> None:
    folder = write(model_config(preset(name).path).model_type, tmp_path / "model")
    policy = load_policy(preset(name, f"model.path={folder}"))
    assert policy.model.dtype == torch.bfloat16
    assert {"lora_" in trained for trained in policy.trainable_names()} == {True}
    small, large = (policy.processor([noise_image(0, size)], chat("Write."))[0] for size in ((448, 448), (2048, 1536)))
    assert len(small) <= len(large) <= 2 * 512


def test_a_preset_names_its_licence_and_what_was_not_run() -> None:
    for name in PRESETS:
        if name != "qwen2_5_vl_3b":
            comment = re.findall(r"^# .*", (CONF / "model" / f"{name}.yaml").read_text(), re.MULTILINE)
            assert any("Licence: " in line for line in comment), name
            assert any("not run it with its real weights" in line for line in comment), name


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED_WEIGHTS)
def test_shapes_count_to_what_is_published(name: str) -> None:
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(model_config(name))
    assert sum(weight.numel() for weight in model.parameters()) == PUBLISHED_WEIGHTS[name]
