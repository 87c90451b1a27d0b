"""Checks the files of a model folder before a library builds anything of them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from orapo.errors import CheckpointError, DataError, OrapoError, first_line
from orapo.foreign import open_regular, read_json

_INDEX = "model.safetensors.index.json"
_OBJECTS = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.json",
    _INDEX,
    "adapter_config.json",
)
_MOST_DIGITS = 40
"""transformers writes 10^30 for a text of any length."""


def check_model_files(folder: str | Path, what: str) -> None:
    """Checks the settings and the headers of weight files, and that no file is a pipe or device.

    A folder without such files passes.

    Args:
        folder: of a model or adapter.
        what: begins an error.

    Raises:
        CheckpointError: a file is damaged, incomplete or of another kind; names it.
    """
    for file in sorted(Path(folder).iterdir()):
        try:
            if file.exists() and not file.is_dir():
                open_regular(file).close()
            if file.name in _OBJECTS:
                content = read_json(file, most_digits=_MOST_DIGITS)
                if not isinstance(content, dict):
                    raise DataError(f"{file} holds no JSON object")
                if file.name == _INDEX:
                    _check_index(file, content)
            if file.suffix == ".safetensors":
                with safe_open(file, framework="pt"):
                    pass
        except DataError as error:
            raise CheckpointError(f"{what}: {error}") from None
        except (SafetensorError, OSError) as error:
            told = f"{file} holds no weights, or a part of them"
            raise CheckpointError(f"{what}: {told}: {first_line(error)}") from None


def _check_index(file: Path, content: Mapping[str, Any]) -> None:
    """A part of any other name would be read as a pickle, or from another folder."""
    parts = content.get("weight_map")
    if not isinstance(parts, dict) or not all(
        isinstance(part, str) and part.endswith(".safetensors") and part == Path(part).name for part in parts.values()
    ):
        raise DataError(f"{file}: its weight_map must name for each weight a .safetensors file beside it")


@contextmanager
def told_as_checkpoint_error(what: str) -> Iterator[None]:
    """Turns whatever a library raises over unusable files into one line.

    Raises:
        CheckpointError: begins with ``what``.
    """
    try:
        yield
    except (OrapoError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # wrong types in a config.json alone raise a dozen kinds
        raise CheckpointError(f"{what}: {first_line(error)}") from error
