"""A model folder or hub name to a policy, by the ordinary Hugging Face calls."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

from orapo.errors import CheckpointError
from orapo.policy.attention import NAMES
from orapo.policy.compiling import compile_layers
from orapo.policy.decoder_layers import use_fused_layers
from orapo.policy.model import Policy
from orapo.policy.products import use_onednn
from orapo.policy.settings import LoraSettings, ModelSettings
from orapo.policy.vision import use_fast_vision

ARCHITECTURE = "qwen2_5_vl"


def load_policy(settings: ModelSettings) -> Policy:
    """Loads tokenizer, image processor and weights, and puts the adapter in place.

    Raises:
        CheckpointError: the folder is missing, incomplete, unreadable, or of another architecture.
    """
    _refuse_other_architecture(settings.path)
    try:
        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            settings.path,
            dtype=getattr(torch, settings.dtype),
            attn_implementation={"text_config": NAMES[settings.attention], "vision_config": settings.attention},
        )
        tokenizer = AutoTokenizer.from_pretrained(settings.path)
        image_processor = Qwen2VLImageProcessorPil.from_pretrained(settings.path, **_pixel_limits(settings))
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(f"model.path {settings.path!r} can't be loaded: {_first_line(error)}") from error
    use_fast_vision(model)
    use_onednn(model)
    use_fused_layers(model)
    adapter = None
    if settings.lora is not None:
        adapter = get_peft_model(model, _peft_config(settings.lora))
    elif not settings.train_vision:
        model.model.visual.requires_grad_(False)
    if settings.compile:
        compile_layers(model)
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


def _refuse_other_architecture(path: str) -> None:
    folder = Path(path)
    if not folder.exists():
        # Hub names have the form owner/name; anything else that does not exist was meant as a folder.
        if path.count("/") == 1 and not path.startswith((".", "/", "~")):
            return
        raise CheckpointError(
            f"model.path {path!r} does not exist; it must be a model folder or a hub name (owner/name)"
        )
    config = folder / "config.json"
    if not config.is_file():
        raise CheckpointError(
            f"model.path {path!r} has no config.json; it must be a folder as `save_pretrained` writes it"
        )
    try:
        model_type = json.loads(config.read_text()).get("model_type")
    except (json.JSONDecodeError, AttributeError) as error:
        raise CheckpointError(f"{config} is not a readable model config: {_first_line(error)}") from error
    if model_type != ARCHITECTURE:
        raise CheckpointError(f"model.path {path!r} is of architecture {model_type!r}; it must be {ARCHITECTURE!r}")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
