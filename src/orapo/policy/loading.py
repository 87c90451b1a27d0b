"""A model folder or hub name to a policy, by the ordinary Hugging Face calls."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from transformers import AutoTokenizer, PretrainedConfig
from transformers.utils import CONFIG_NAME

from orapo.errors import CheckpointError
from orapo.policy.attention import NAME
from orapo.policy.families import FAMILIES, ModelFamily
from orapo.policy.model import Policy
from orapo.policy.settings import LoraSettings, ModelSettings


def load_policy(settings: ModelSettings) -> Policy:
    """Loads tokenizer, image processor and weights, and puts the adapter in place.

    Raises:
        CheckpointError: the folder is missing, incomplete, unreadable, or of another architecture.
    """
    family = _family(settings.path)
    try:
        model = family.model_class.from_pretrained(
            settings.path,
            dtype=getattr(torch, settings.dtype),
            attn_implementation={"text_config": NAME, "vision_config": "sdpa"},
        )
        tokenizer = AutoTokenizer.from_pretrained(settings.path)
        image_processor = family.image_processor_class.from_pretrained(settings.path, **_pixel_limits(settings))
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"model.path {settings.path!r} can't be loaded: {_first_line(error)}") from error
    adapter = None
    if settings.lora is not None:
        adapter = get_peft_model(model, _peft_config(settings.lora))
    elif not settings.train_vision:
        family.vision_tower(model).requires_grad_(False)
    if settings.gradient_checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    policy = Policy(model, tokenizer, image_processor, settings.instruction, adapter, settings.scoring)
    # Loaded models are in eval mode, in which gradient checkpointing is silently off.
    return policy.train()


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
