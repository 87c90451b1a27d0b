"""A model folder or hub name to a policy, by the ordinary Hugging Face calls."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase
from transformers.utils import CONFIG_NAME

from orapo.errors import CheckpointError
from orapo.policy.attention import NAME
from orapo.policy.families import FAMILIES, ModelFamily
from orapo.policy.model import Policy
from orapo.policy.settings import LoraSettings, ModelSettings


@dataclass(frozen=True, slots=True)
class Processors:
    """What makes a batch of studies, beside the instruction.

    Attributes:
        tokenizer: of the model's folder.
        image_processor: likewise, with the pixel limits of the settings.
    """

    tokenizer: PreTrainedTokenizerBase
    image_processor: Any


def read_config(path: str) -> tuple[PretrainedConfig, Any]:
    """The config of a folder or hub name, and the class of its model; no weights.

    Raises:
        CheckpointError: the folder is missing, unreadable, or of another architecture.
    """
    family = _family(path)
    with _told_as_checkpoint_error(path):
        return family.model_class.config_class.from_pretrained(path), family.model_class


def load_processors(settings: ModelSettings) -> Processors:
    """Tokenizer and image processor, which are small beside the weights.

    Raises:
        CheckpointError: the folder is missing, incomplete, unreadable, or of another architecture.
    """
    family = _family(settings.path)
    with _told_as_checkpoint_error(settings.path):
        return Processors(
            AutoTokenizer.from_pretrained(settings.path),
            family.image_processor_class.from_pretrained(settings.path, **_pixel_limits(settings)),
        )


def load_policy(settings: ModelSettings, processors: Processors | None = None) -> Policy:
    """Loads the weights, and puts the adapter in place.

    Args:
        settings: which weights, and how they train.
        processors: of the same folder, where they are loaded already.

    Raises:
        CheckpointError: the folder is missing, incomplete, unreadable, or of another architecture.
    """
    family = _family(settings.path)
    processors = processors or load_processors(settings)
    with _told_as_checkpoint_error(settings.path):
        model = family.model_class.from_pretrained(
            settings.path,
            dtype=getattr(torch, settings.dtype),
            attn_implementation={"text_config": NAME, "vision_config": "sdpa"},
        )
    adapter = None
    if settings.lora is not None:
        adapter = get_peft_model(model, _peft_config(settings.lora))
    elif not settings.train_vision:
        family.vision_tower(model).requires_grad_(False)
    if settings.gradient_checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    policy = Policy(
        model, processors.tokenizer, processors.image_processor, settings.instruction, adapter, settings.scoring
    )
    # Loaded models are in eval mode, in which gradient checkpointing is silently off.
    return policy.train()


@contextmanager
def _told_as_checkpoint_error(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"model.path {path!r} can't be loaded: {_first_line(error)}") from error


def _peft_config(lora: LoraSettings) -> LoraConfig:
    return LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.target_modules, bias="none"
    )


def _pixel_limits(settings: ModelSettings) -> dict[str, Any]:
    limits = {"min_pixels": settings.min_pixels, "max_pixels": settings.max_pixels}
    return {name: value for name, value in limits.items() if value is not None}


def _family(path: str) -> ModelFamily:
    # Hub names have the form owner/name; anything else that does not exist was meant as a folder.
    is_hub_name = not Path(path).exists() and path.count("/") == 1 and not path.startswith((".", "/", "~"))
    if not is_hub_name and not Path(path).exists():
        raise CheckpointError(
            f"model.path {path!r} does not exist; it must be a model folder or a hub name (owner/name)"
        )
    if not is_hub_name and not (Path(path) / CONFIG_NAME).is_file():
        raise CheckpointError(
            f"model.path {path!r} has no {CONFIG_NAME}; it must be a folder as `save_pretrained` writes it"
        )
    try:
        model_type = PretrainedConfig.get_config_dict(path)[0].get("model_type")
    except (OSError, AttributeError) as error:
        raise CheckpointError(f"model.path {path!r} has no readable {CONFIG_NAME}: {_first_line(error)}") from error
    if model_type not in FAMILIES:
        allowed = ", ".join(map(repr, FAMILIES))
        raise CheckpointError(f"model.path {path!r} is of architecture {model_type!r}; it must be {allowed}")
    return FAMILIES[model_type]


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
