"""Each preset of conf/model on the architecture it names: its adapter where it belongs, its licence told."""

import re
from pathlib import Path

import pytest
import torch
from benchmarks.model_shapes import PUBLISHED_WEIGHTS, model_config
from hydra import compose, initialize_config_dir
from transformers import AutoModelForImageTextToText

from orapo.policy.memory import adapted_modules
from orapo.policy.settings import LoraSettings

CONF = Path(__file__).parents[3] / "conf"
OWN = ("tiny", "sighted", "checkpoint", "qwen2_5_vl_3b_full")
PRESETS = sorted(file.stem for file in (CONF / "model").glob("*.yaml") if file.stem not in OWN)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_an_adapter_is_on_every_projection_of_the_language_model(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        model = compose("config", [f"model={name}"]).model
    config = model_config(model.path)
    with torch.device("meta"):
        loaded = AutoModelForImageTextToText.from_config(config)
    lora = LoraSettings(model.lora.rank, model.lora.alpha, target_modules=model.lora.target_modules)
    decoder = set(loaded.get_decoder().modules())
    adapted = adapted_modules(loaded, lora)
    assert len(adapted) == 7 * config.get_text_config().num_hidden_layers
    assert decoder.issuperset(adapted)


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
