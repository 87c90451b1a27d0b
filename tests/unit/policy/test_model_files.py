"""A damaged folder of a model is one line that names the folder and the file; its own code never runs."""

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from orapo.errors import CheckpointError
from orapo.policy.checkpoints import load_checkpoint
from orapo.policy.loading import load_policy, load_processor
from orapo.policy.settings import LoraSettings, ModelSettings

DEEP = "[" * 100_000


@pytest.fixture
def folder(random_model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(random_model_folder, tmp_path / "model"))


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_policy(ModelSettings(path=str(folder), instruction="Write the report."))
    told = str(caught.value)
    assert str(folder) in told
    assert "\n" not in told
    assert len(told) < 600
    return told


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff\xfe\x00", DEEP.encode(), b'{"a": ', b'{"a": 1, "a": 2}', b"1" * 6000]
)
@pytest.mark.parametrize("name", ["config", "generation_config", "preprocessor_config", "tokenizer_config"])
def test_settings_that_are_none(name: str, content: bytes, folder: Path) -> None:
    (folder / f"{name}.json").write_bytes(content)
    assert f"{name}.json" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"no" * 5_000, b"\xff" * 8, None])
def test_weights_that_are_none(content: bytes | None, folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000] if content is None else content)
    assert "model.safetensors holds no weights, or a part of them" in refusal(folder)


def test_pickles_are_never_read(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    assert "no file named model.safetensors" in refusal(folder)


@pytest.mark.parametrize("part", ["x.bin", "../model.safetensors", "sub/model.safetensors", 5, None])
def test_parts_of_weights_lie_beside_their_index_and_are_no_pickles(part: object, folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    shutil.move(folder / "model.safetensors", folder.parent / "model.safetensors")
    torch.save(weights, folder / "x.bin")
    parts = {"weight_map": dict.fromkeys(weights, part), "metadata": {"total_size": 1}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(parts))
    assert "model.safetensors.index.json: its weight_map must name for each weight" in refusal(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"text_config": "x"},
        {"text_config": {"hidden_size": "a"}},
        {"text_config": {"hidden_size": -1}},
        {"text_config": {"num_attention_heads": 0}},
        {"vision_config": []},
        {"image_token_id": "x"},
        {"dtype": "float12"},
        {"model_type": 5},
        {"model_type": "nobody_knows"},
    ],
)
def test_a_config_of_wrong_types(change: dict[str, Any], folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    changed = {key: {**config[key], **value} if isinstance(value, dict) else value for key, value in change.items()}
    (folder / "config.json").write_text(json.dumps({**config, **changed}))
    refusal(folder)


@pytest.mark.parametrize("eos", ["x", 10**6, -1, [0, 10**6], [True], 1.5])
def test_the_end_of_a_report_is_a_token(eos: object, folder: Path) -> None:
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**config, "eos_token_id": eos}))
    assert "eos_token_id" in refusal(folder)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ",
        "{{ ''.__class__.__mro__ }}",
        "{{ 1 / 0 }}",
        "{{ raise_exception(messages[0].content[0].text) }}",
        "{{ nobody.x }}",
    ],
)
def test_a_chat_template_that_fails_is_one_line_without_the_prompt(template: str, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(template)
    processor = load_processor(ModelSettings(path=str(folder), instruction="Write the report."))
    with pytest.raises(CheckpointError, match="its chat template can't write the prompt") as caught:
        processor([], [{"role": "user", "content": [{"type": "text", "text": "Cough and feathers"}]}])
    assert str(folder) in str(caught.value)
    assert "feathers" not in str(caught.value)


def test_code_of_a_folder_neither_runs_nor_is_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine"}}
    (folder / "config.json").write_text(json.dumps(config))
    ran = folder / "ran"
    (folder / "mine.py").write_text(f"open({str(ran)!r}, 'w')")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    refusal(folder)
    assert not ran.exists()
    assert "Do you wish" not in capsys.readouterr().out


def test_code_beside_an_architecture_that_is_known_does_not_run(folder: Path) -> None:
    maps = {
        "config": {"AutoConfig": "mine.Mine", "AutoModelForImageTextToText": "mine.Mine"},
        "tokenizer_config": {"AutoTokenizer": ["mine.Mine", "mine.Mine"], "AutoProcessor": "mine.Mine"},
        "preprocessor_config": {"AutoImageProcessor": "mine.Mine", "AutoProcessor": "mine.Mine"},
    }
    for name, auto_map in maps.items():
        content = json.loads((folder / f"{name}.json").read_text())
        (folder / f"{name}.json").write_text(json.dumps({**content, "auto_map": auto_map}))
    ran = folder / "ran"
    (folder / "mine.py").write_text(f"open({str(ran)!r}, 'w')\n\n\nclass Mine: ...\n")
    load_policy(ModelSettings(path=str(folder), instruction="Write the report."))
    assert not ran.exists()


@pytest.mark.parametrize("content", [b"", b"[]", DEEP.encode(), b"\xff\x00", None])
def test_a_tokenizer_that_is_none(content: bytes | None, folder: Path) -> None:
    if content is None:
        (folder / "tokenizer.json").unlink()
    else:
        (folder / "tokenizer.json").write_bytes(content)
    refusal(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "chat_template.jinja", "added_tokens.json"])
def test_a_pipe_is_not_waited_for(name: str, folder: Path) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert f"{name} is no regular file" in refusal(folder)


# ---- adapters


class Writes:
    """A pickle of it writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def adapter_refusal(base: Path, adapter: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(ModelSettings(path=str(adapter), instruction="Write the report."), str(base))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_adapter_that_is_damaged_or_a_pickle_is_refused(folder: Path, tmp_path: Path) -> None:
    adapter, lora = tmp_path / "adapter", LoraSettings(rank=2, alpha=4)
    load_policy(ModelSettings(str(folder), "Write the report.", lora=lora, trainable="language")).save(str(adapter))
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert f"{weights} holds no weights, or a part of them" in adapter_refusal(folder, adapter)
    weights.unlink()
    torch.save({"weight": Writes(tmp_path / "ran")}, adapter / "adapter_model.bin")
    assert "has no adapter_model.safetensors; a pickle is not read" in adapter_refusal(folder, adapter)
    assert not (tmp_path / "ran").exists()
