"""Loads a model folder or hub name as a policy, by the ordinary Hugging Face calls."""

import logging
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForImageTextToText, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.utils import CONFIG_NAME

from orapo.errors import CheckpointError, first_line
from orapo.policy.attention import NAME
from orapo.policy.families import shared_prefix
from orapo.policy.families.parts import freeze_others
from orapo.policy.hub import is_hub_name, stay_offline_without_hub
from orapo.policy.model import Policy
from orapo.policy.model_files import check_model_files, told_as_checkpoint_error
from orapo.policy.processor import StudyProcessor
from orapo.policy.settings import LoraSettings, ModelSettings

log = logging.getLogger(__name__)

_SLOWER = "architecture %r takes the general path: a study's prompt is computed for each of its completions"


def load_processor(settings: ModelSettings) -> StudyProcessor:
    """The processor that turns studies into tokens and pixels; small beside the weights.

    Raises:
        CheckpointError: the folder is missing, incomplete, unreadable, or of another architecture.
    """
    model_type = read_config(settings.path).model_type
    with told_as_checkpoint_error(_cannot(settings.path)):
        return StudyProcessor.from_pretrained(
            settings.path, model_type, settings.image_tiles, **_pixel_limits(settings)
        )


def load_policy(settings: ModelSettings, processor: StudyProcessor | None = None) -> Policy:
    """Loads the weights, and puts the adapter in place.

    Args:
        settings: which weights, and how they train.
        processor: of the same folder, where it is loaded already.

    Raises:
        CheckpointError: the folder is missing, incomplete, unreadable, or of another architecture.
    """
    config = read_config(settings.path)
    processor = processor or load_processor(settings)
    with told_as_checkpoint_error(_cannot(settings.path)):
        model = _model(settings, config)
    adapter = None
    if settings.lora is not None:
        try:
            adapter = get_peft_model(model, _peft_config(settings.lora))
        except ValueError as error:
            raise CheckpointError(
                f"model.lora.target_modules {settings.lora.target_modules!r}: {first_line(error)}"
            ) from error
    else:
        freeze_others(model, settings.trainable)
    if settings.gradient_checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    policy = Policy(model, processor, settings, adapter)
    policy.own_dtype = config.dtype or policy.own_dtype
    _ = policy.stop_rules  # refused before anything is sampled
    # Loaded models are in eval mode, in which gradient checkpointing is silently off.
    return policy.train()


def _cannot(path: str) -> str:
    return f"model.path {path!r} can't be loaded"


def _peft_config(lora: LoraSettings) -> LoraConfig:
    return LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.target_modules, bias="none"
    )


def _pixel_limits(settings: ModelSettings) -> dict[str, Any]:
    limits = {"min_pixels": settings.min_pixels, "max_pixels": settings.max_pixels}
    return {name: value for name, value in limits.items() if value is not None}


def _model(settings: ModelSettings, config: PretrainedConfig) -> Any:
    """The model with all its weights; a missing one is refused, since transformers would draw it at random."""
    named = None
    if shared_prefix(config) is not None:
        named = {"text_config": NAME, "vision_config": "sdpa"}
    else:
        log.warning(_SLOWER, config.model_type)
    model, info = AutoModelForImageTextToText.from_pretrained(
        settings.path,
        dtype=getattr(torch, settings.dtype),
        attn_implementation=named,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused below, by name
        use_safetensors=True,  # never a pickle
        trust_remote_code=False,
    )
    for kind in ("missing", "unexpected", "mismatched"):
        names = sorted(str(key if isinstance(key, str) else key[0]) for key in info[f"{kind}_keys"])
        if names:
            raise CheckpointError(
                f"model.path {settings.path!r}: {len(names)} {kind} weights, such as {names[0]}; every weight of "
                f"{type(model).__name__} must be there, and no other"
            )
    if model.get_output_embeddings().weight is not model.get_input_embeddings().weight:
        # A folder may store a head of its own beside a config that ties it (InternVL3.5). transformers keeps the head,
        # but with the config's word it would be tied at the next chance, and lost to whoever loads what is saved.
        model.config.tie_word_embeddings = False
    return model


def read_config(path: str) -> PretrainedConfig:
    """The config of a folder or hub name, without weights.

    Raises:
        CheckpointError: the folder is missing, unreadable, or of another architecture.
    """
    if is_hub_name(path):
        stay_offline_without_hub()
    elif not Path(path).exists():
        raise CheckpointError(
            f"model.path {path!r} does not exist; it must be a model folder or a hub name (owner/name)"
        )
    elif not (Path(path) / CONFIG_NAME).is_file():
        raise CheckpointError(
            f"model.path {path!r} has no {CONFIG_NAME}; it must be a folder as `save_pretrained` writes it"
        )
    else:
        check_model_files(path, _cannot(path))
    with told_as_checkpoint_error(f"model.path {path!r} has no readable {CONFIG_NAME}"):
        # Without this word transformers asks on the terminal whether it may run a folder's own code.
        config: PretrainedConfig = AutoConfig.from_pretrained(path, trust_remote_code=False)
    if config.model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES or config.is_encoder_decoder:
        raise CheckpointError(
            f"model.path {path!r} is of architecture {config.model_type!r}; it must be a decoder of images and text "
            "that transformers' AutoModelForImageTextToText loads, such as 'qwen2_5_vl' or 'gemma3'"
        )
    return config
