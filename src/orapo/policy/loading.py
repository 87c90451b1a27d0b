"""A model folder or hub name to a policy, by the ordinary Hugging Face calls."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.utils import CONFIG_NAME

from orapo.errors import CheckpointError
from orapo.policy.attention import NAME
from orapo.policy.families import shared_prefix
from orapo.policy.families.parts import freeze_others
from orapo.policy.hub import is_hub_name, stay_offline_without_hub
from orapo.policy.model import Policy
from orapo.policy.processor import StudyProcessor
from orapo.policy.settings import LoraSettings, ModelSettings

log = logging.getLogger(__name__)

_SLOWER = "architecture %r takes the general path: a study's prompt is computed for each of its completions"


def load_processor(settings: ModelSettings) -> StudyProcessor:
    """What makes tokens and pixels of studies; small beside the weights.

    Raises:
        CheckpointError: the folder is missing, incomplete, unreadable, or of another architecture.
    """
    model_type = read_config(settings.path).model_type
    with _told_as_checkpoint_error(settings.path):
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
    with _told_as_checkpoint_error(settings.path):
        model = _model(settings, config)
    adapter = None
    if settings.lora is not None:
        try:
            adapter = get_peft_model(model, _peft_config(settings.lora))
        except ValueError as error:
            raise CheckpointError(
                f"model.lora.target_modules {settings.lora.target_modules!r}: {_first_line(error)}"
            ) from error
    else:
        freeze_others(model, settings.trainable)
    if settings.gradient_checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    policy = Policy(model, processor, settings, adapter)
    # Loaded models are in eval mode, in which gradient checkpointing is silently off.
    return policy.train()


@contextmanager
def _told_as_checkpoint_error(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError, ImportError) as error:
        raise CheckpointError(f"model.path {path!r} can't be loaded: {_first_line(error)}") from error


def _peft_config(lora: LoraSettings) -> LoraConfig:
    return LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.target_modules, bias="none"
    )


def _pixel_limits(settings: ModelSettings) -> dict[str, Any]:
    limits = {"min_pixels": settings.min_pixels, "max_pixels": settings.max_pixels}
    return {name: value for name, value in limits.items() if value is not None}


def _model(settings: ModelSettings, config: PretrainedConfig) -> Any:
    """The weights, all of them: what a checkpoint lacks would be drawn at random."""
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
    """The config of a folder or hub name; no weights.

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
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(path)
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"model.path {path!r} has no readable {CONFIG_NAME}: {_first_line(error)}") from error
    if config.model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES or config.is_encoder_decoder:
        raise CheckpointError(
            f"model.path {path!r} is of architecture {config.model_type!r}; it must be a decoder of images and text "
            "that transformers' AutoModelForImageTextToText loads, such as 'qwen2_5_vl' or 'gemma3'"
        )
    return config


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
