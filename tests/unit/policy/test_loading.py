"""What can't be loaded whole is refused in one line that says what is allowed; templates are found in every home."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tests.conftest import chat, noise_image
from tests.tiny_models import write
from torch import Tensor
from transformers import AutoTokenizer

from orapo.errors import CheckpointError, DataError, SettingError
from orapo.policy import hub
from orapo.policy.loading import load_policy
from orapo.policy.model import Policy
from orapo.policy.settings import LoraSettings, ModelSettings


def load(path: Path | str, **settings: Any) -> Policy:
    return load_policy(ModelSettings(path=str(path), instruction="Write.", **settings))


def refusal(path: Path | str, **settings: Any) -> str:
    with pytest.raises(CheckpointError) as refused:
        load(path, **settings)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.fixture
def folder(random_model_folder: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    copy = tmp_path / "model"
    shutil.copytree(random_model_folder, copy)
    return copy


def test_what_is_no_folder_of_a_known_architecture_is_refused(folder: Path, tmp_path: Path) -> None:
    assert "does not exist; it must be a model folder or a hub name" in refusal(tmp_path / "absent")
    assert "has no config.json; it must be a folder as `save_pretrained` writes it" in refusal(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    for model_type in ("llama", "florence2"):
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
        assert f"is of architecture '{model_type}'; it must be a decoder of images and text" in refusal(folder)
    for text, told in (
        ("{", "not JSON"),
        ('{"model_type": "unheard_of"}', "no readable config.json"),
        ("[]", "no JSON object"),
    ):
        (folder / "config.json").write_text(text)
        assert told in refusal(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"no weights")
    assert "can't be loaded" in refusal(folder)


def without_one(weights: dict[str, Tensor]) -> None:
    del weights["model.layers.1.mlp.up_proj.weight"]


def with_one_more(weights: dict[str, Tensor]) -> None:
    weights["model.layers.7.mlp.up_proj.weight"] = torch.zeros(2, 2)


def with_another_shape(weights: dict[str, Tensor]) -> None:
    weights["visual.merger.mlp.0.weight"] = torch.zeros(2, 2)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (without_one, "1 missing weights, such as model.language_model.layers.1.mlp.up_proj.weight;"),
        (with_one_more, "1 unexpected weights, such as model.language_model.layers.7.mlp.up_proj.weight;"),
        (with_another_shape, "1 mismatched weights, such as model.visual.merger.mlp.0.weight;"),
    ],
)
def test_incomplete_weights_are_refused_and_tied_ones_are_not_missed(spoil: Any, told: str, folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    assert "lm_head.weight" not in weights
    spoil(weights)
    save_file(weights, file, metadata={"format": "pt"})
    assert told in refusal(folder)


def test_another_architectures_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    # Nearly all of the names of Qwen3-VL are those of Qwen2.5-VL.
    other = write("qwen3_vl", tmp_path / "other")
    shutil.copy(other / "model.safetensors", folder)
    assert "weights, such as" in refusal(folder)


def set_template(folder: Path, home: str | None) -> None:
    """Moves the chat template to one of its homes."""
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    if home == "tokenizer_config.json":
        content = json.loads((folder / home).read_text())
        (folder / home).write_text(json.dumps(content | {"chat_template": template}))
    elif home is not None:
        (folder / home).write_text(json.dumps({"chat_template": template}))


@pytest.mark.parametrize("home", ["tokenizer_config.json", "chat_template.json"])
def test_a_template_is_found_in_either_home_and_saved(
    home: str, folder: Path, random_policy: Policy, tmp_path: Path
) -> None:
    set_template(folder, home)
    images = [noise_image(0, (84, 56))]
    wanted, _ = random_policy.processor(images, chat("Write.", len(images)))
    policy = load(folder)
    assert policy.processor(images, chat("Write.", len(images)))[0].tolist() == wanted.tolist()
    policy.save(str(tmp_path / "saved"))
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert again.chat_template == random_policy.tokenizer.chat_template


def test_a_template_that_is_missing_or_writes_no_placeholder_is_refused(folder: Path, random_policy: Policy) -> None:
    with pytest.raises(DataError, match=r"wrote 2 <\|image_pad\|> for 1 images"):
        random_policy.processor([noise_image(0, (84, 56))], chat("Look at <|image_pad|>."))
    set_template(folder, None)
    assert "has no chat template; it must stand in chat_template.jinja" in refusal(folder)


def test_a_template_with_a_system_turn(folder: Path) -> None:
    template = (folder / "chat_template.jinja").read_text()
    turn = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
    (folder / "chat_template.jinja").write_text(turn + template)
    policy = load(folder)
    ids, _ = policy.processor([noise_image(0, (84, 56))], chat("Write."))
    assert policy.tokenizer.decode(ids).startswith("<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\n")


def test_control_tokens_may_not_be_drawn_whether_or_not_they_are_special(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<tool_call>", "[TOOL]", "\n\n\n", "cardiomegaly"])
    tokenizer.save_pretrained(folder)
    policy = load(folder)
    policy.model.resize_token_embeddings(len(tokenizer) + 2)
    banned = policy.stop_rules.banned
    ids = tokenizer.convert_tokens_to_ids
    assert banned[[ids("<tool_call>"), ids("[TOOL]"), ids("<|image_pad|>"), len(tokenizer)]].all()
    assert not banned[[ids("\n\n\n"), ids("cardiomegaly"), ids("<|im_end|>")]].any()


def test_reports_end_where_the_tokenizer_and_the_generation_config_say(folder: Path) -> None:
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(config | {"eos_token_id": [40, 41]}))
    policy = load(folder)
    stops = {40, 41, policy.tokenizer.eos_token_id}
    assert set(policy.stop_rules.stop_ids.tolist()) == stops
    del config["eos_token_id"]
    (folder / "generation_config.json").write_text(json.dumps(config))
    assert policy.tokenizer.eos_token_id in load(folder).stop_rules.stop_ids.tolist()


def test_pixel_limits_are_followed_and_saved(random_model_folder: Path, tmp_path: Path) -> None:
    image = noise_image(0, (224, 224))
    policy = load(random_model_folder, min_pixels=56 * 56, max_pixels=84 * 84)
    _, small = policy.processor([image], chat("Write."))
    assert small["image_grid_thw"].tolist() == [[1, 6, 6]]
    policy.save(str(tmp_path))
    assert load(tmp_path).processor([image], chat("Write."))[1]["image_grid_thw"].tolist() == [[1, 6, 6]]
    # Twice each side of what it takes, so that opening a film no larger changes nothing that the model sees.
    assert policy.processor.max_pixels == 4 * 84 * 84
    _, large = load(random_model_folder).processor([image], chat("Write."))
    assert large["image_grid_thw"].tolist() == [[1, 16, 16]]


def test_settings_that_a_model_can_not_follow_are_refused(tmp_path: Path) -> None:
    folder = write("gemma3", tmp_path / "gemma3")
    assert "model.max_pixels is set, but the images of" in refusal(folder, max_pixels=10_000)
    lora = LoraSettings(2, 4, target_modules="nothing")
    assert "model.lora.target_modules 'nothing': " in refusal(folder, lora=lora, trainable="language")


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5"])
def test_limits_of_pixels_are_followed(name: str, tmp_path: Path) -> None:
    folder = write(name, tmp_path / name)
    images = [noise_image(0, (112, 112))]
    tokens = []
    for limits in ({}, {"min_pixels": 56 * 56, "max_pixels": 56 * 56}, {"min_pixels": 224 * 224, "max_pixels": 10**6}):
        ids, _ = load(folder, **limits).processor(images, chat("Write.", len(images)))
        tokens.append(len(ids))
    middle, few, many = tokens
    assert middle - few == 16 - 4
    assert many - middle == 64 - 16


def test_tiles_of_an_architecture_without_any_are_refused(folder: Path) -> None:
    assert "model.image_tiles is False, but" in refusal(folder, image_tiles=False)


@pytest.mark.parametrize("name", ["internvl", "qwen2_5_vl"])
def test_a_head_of_its_own_is_kept_although_the_config_ties_it(name: str, tmp_path: Path) -> None:
    folder = write(name, tmp_path / name)
    file = folder / "model.safetensors"
    weights = load_file(file)
    (embeddings,) = (weight for key, weight in weights.items() if "embed_tokens" in key)
    head = torch.randn(embeddings.shape)
    save_file(weights | {"lm_head.weight": head}, file, metadata={"format": "pt"})
    policy = load(folder)
    policy.model.resize_token_embeddings(len(head) + 1)
    torch.testing.assert_close(policy.model.get_output_embeddings().weight[: len(head)], head)
    policy.save(str(tmp_path / "saved"))
    assert not json.loads((tmp_path / "saved" / "config.json").read_text())["tie_word_embeddings"]
    torch.testing.assert_close(load(tmp_path / "saved").model.get_output_embeddings().weight[: len(head)], head)


def test_a_tied_head_stays_tied(folder: Path) -> None:
    model = load(folder).model
    assert model.config.tie_word_embeddings
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_without_the_hub_an_absent_model_is_one_line_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    hub.stay_offline_without_hub.cache_clear()
    start = time.perf_counter()
    try:
        assert "model.path 'owner/name' has no readable config.json: " in refusal("owner/name")
        assert time.perf_counter() - start < 5
    finally:
        hub.stay_offline_without_hub.cache_clear()


def test_an_adapter_trains_the_language_model_only() -> None:
    with pytest.raises(SettingError, match=r"trainable is .all.; it must be .language. with lora"):
        ModelSettings("m", "i", lora=LoraSettings(2, 4))
    with pytest.raises(SettingError, match="must be one of all, language, projector, projector_and_vision"):
        ModelSettings("m", "i", trainable="vision")
