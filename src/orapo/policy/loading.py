"""A model folder or hub name to a policy, by the ordinary Hugging Face calls."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

from orapo.bounds import require_number, require_whole
from orapo.errors import CheckpointError, SettingError
from orapo.policy.model import Policy

ARCHITECTURE = "qwen2_5_vl"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class LoraSettings:
    """A low-rank adapter on the language model.

    Attributes:
        rank: at least 1.
        alpha: scale of the update, > 0; the update is multiplied by alpha / rank.
        dropout: in [0, 1); above 0, sampling and scoring see different policies.
        target_modules: regular expression over module names. Plain names such as "q_proj" or "all-linear" would also
            hit the vision tower.
    """

    rank: int
    alpha: float
    dropout: float = 0.0
    target_modules: str = r".*language_model\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"

    def __post_init__(self) -> None:
        require_whole("model.lora.rank", self.rank, 1)
        require_number("model.lora.alpha", self.alpha, above=0)
        require_number("model.lora.dropout", self.dropout, at_least=0, below=1)


@dataclass(frozen=True)
class ModelSettings:
    """Which weights the policy starts from, and how they train.

    Attributes:
        path: a folder with the hub's file layout, or a hub name.
        instruction: what the policy is asked, beside the images.
        dtype: "float32" or "bfloat16" of the loaded weights; adapters stay in float32.
        lora: the adapter, or None to train all weights.
        attention: "sdpa" or "eager".
        train_vision: whether the vision tower trains too; only without an adapter.
        gradient_checkpointing: recompute activations in the backward pass: less memory, more time.
        scoring: "shared" or "repeated" (for checking).
        min_pixels: images are enlarged to at least this many pixels; None takes the folder's own setting.
        max_pixels: images are shrunk to at most this many pixels; None takes the folder's own setting.
    """

    path: str
    instruction: str
    dtype: str = "float32"
    lora: LoraSettings | None = None
    attention: str = "sdpa"
    train_vision: bool = True
    gradient_checkpointing: bool = False
    scoring: str = "shared"
    min_pixels: int | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not self.path.strip():
            raise SettingError(f"model.path is {self.path!r}; it must be a folder or a hub name")
        if self.dtype not in DTYPES:
            raise SettingError(f"model.dtype is {self.dtype!r}; it must be one of {', '.join(DTYPES)}")
        if self.attention not in ("sdpa", "eager"):
            # The packed rows need a mask of their own, which flash attention does not take.
            raise SettingError(f"model.attention is {self.attention!r}; it must be sdpa or eager")
        if self.lora is not None and self.train_vision:
            raise SettingError(
                "model.train_vision is true; it must be false with model.lora, which adapts the language model"
            )


def load_policy(settings: ModelSettings) -> Policy:
    """Loads tokenizer, image processor and weights, and puts the adapter in place.

    Raises:
        CheckpointError: the folder is missing, incomplete, unreadable, or of another architecture.
    """
    _refuse_other_architecture(settings.path)
    try:
        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            settings.path, dtype=DTYPES[settings.dtype], attn_implementation=settings.attention
        )
        tokenizer = AutoTokenizer.from_pretrained(settings.path)
        image_processor = Qwen2VLImageProcessorPil.from_pretrained(settings.path, **_pixel_limits(settings))
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(f"model.path {settings.path!r} can't be loaded: {_first_line(error)}") from error
    adapter = None
    if settings.lora is not None:
        adapter = get_peft_model(model, _peft_config(settings.lora))
    elif not settings.train_vision:
        model.model.visual.requires_grad_(False)
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
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
