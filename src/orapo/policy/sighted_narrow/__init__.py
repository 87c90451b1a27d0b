"""The laboratory's narrow base policy, a folder that ``from_pretrained`` loads; README.md says what it is for."""

from pathlib import Path


def base_folder() -> str:
    """Absolute path of the shipped folder with config.json, model.safetensors, tokenizer and image processor."""
    return str(Path(__file__).resolve().parent)
