"""The embedded base policy: a folder that ``from_pretrained`` loads, shipped in the package; README.md describes it."""

from pathlib import Path


def base_folder() -> str:
    """Absolute path of the shipped folder with config.json, model.safetensors, tokenizer and image processor."""
    return str(Path(__file__).resolve().parent)
