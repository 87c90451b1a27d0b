"""A folder that is no model of a known family is refused in one line that says what is allowed."""

import json
import shutil
from pathlib import Path

import pytest

from orapo.errors import CheckpointError
from orapo.policy.loading import load_policy
from orapo.policy.settings import ModelSettings


def refusal(path: Path | str) -> str:
    with pytest.raises(CheckpointError) as refused:
        load_policy(ModelSettings(path=str(path), instruction="Write."))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_is_no_folder_of_a_known_family_is_refused(random_model_folder: Path, tmp_path: Path) -> None:
    assert "does not exist; it must be a model folder or a hub name" in refusal(tmp_path / "absent")
    assert "has no config.json; it must be a folder as `save_pretrained` writes it" in refusal(tmp_path)
    folder = tmp_path / "model"
    shutil.copytree(random_model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    assert "is of architecture 'llama'; it must be a decoder of images and text" in refusal(folder)
    (folder / "config.json").write_text("{")
    assert "has no readable config.json" in refusal(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"no weights")
    assert "can't be loaded" in refusal(folder)
