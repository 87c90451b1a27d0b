"""The memory that a policy takes of a device, counted from its config before any weight is loaded.

The weights, their reference and their optimiser state are exact. What a pass needs beside them is an estimate from the
sizes of the layers, rather too high than too low; keys of rollouts are kept in float32.
"""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageTextToText

from orapo.errors import CheckpointError
from orapo.policy.families import shared_prefix
from orapo.policy.families.parts import freeze_others, product_weights
from orapo.policy.loading import read_config
from orapo.policy.settings import LoraSettings, ModelSettings
from orapo.policy.token_logps import MAX_LOGITS_AT_ONCE

_BYTES = {"float32": 4, "bfloat16": 2}
ADAM_STATES = 2


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The sizes of an architecture that memory follows from.

    Attributes:
        num_weights: of the whole model, each counted once.
        num_trained: those of the model, or of the adapter, that training changes.
        num_in_products: those of the whole model that only products read (``product_weights``).
        has_adapter: whether the trained weights are an adapter beside the model's own.
        bytes_each: of a loaded weight, 2 or 4.
        num_layers: of the language model.
        hidden: H, width of its states.
        intermediate: width inside its feed-forward part.
        key_width: keys and values of one token and layer, 2 * key heads * d.
        vocabulary: V.
        shares_prefix: whether a prompt is computed once for all its completions, or once for each.
    """

    num_weights: int
    num_trained: int
    num_in_products: int
    has_adapter: bool
    bytes_each: int
    num_layers: int
    hidden: int
    intermediate: int
    key_width: int
    vocabulary: int
    shares_prefix: bool = True


@dataclass(frozen=True, slots=True)
class Load:
    """What one process holds at a time.

    Attributes:
        rows: rollouts sampled at a time.
        studies: whose prompts are kept meanwhile.
        update_studies: studies in one backward pass.
        completions: scored of each of them, the oracle report included.
        prompt_tokens: P of a study.
        new_tokens: T of a completion at most.
        checkpointing: whether activations are recomputed in the backward pass.
        autocast: whether products run in bfloat16 over float32 weights.
        has_reference: whether a frozen copy of all weights is kept; none is, with an adapter.
        shards: processes that weights, gradients and optimiser states are sharded across; 1 where each holds all.
    """

    rows: int
    studies: int
    update_studies: int
    completions: int
    prompt_tokens: int
    new_tokens: int
    checkpointing: bool
    autocast: bool
    has_reference: bool
    shards: int = 1


@dataclass(frozen=True, slots=True)
class MemoryCount:
    """Bytes of one process.

    Attributes:
        weights: the model's own, with the adapter.
        reference: the frozen copy; under autocast its products are kept in bfloat16.
        optimiser: Adam's two states of each trained weight.
        update: gradients, activations of one backward pass and its copies of weights; an estimate.
        sampling: keys and values of the rollouts that are sampled at a time, and the copies of the weights meanwhile:
            in bfloat16 under autocast, and unsharded where they are sharded.
    """

    weights: int
    reference: int
    optimiser: int
    update: int
    sampling: int

    @property
    def kept(self) -> int:
        """What stays from the first update to the end: exact."""
        return self.weights + self.reference + self.optimiser

    @property
    def total(self) -> int:
        """The peak: sampling and update take turns."""
        return self.kept + max(self.update, self.sampling)


def model_size(settings: ModelSettings) -> ModelSize:
    """The sizes of the model that ``settings`` name; its weights stay unread.

    Raises:
        CheckpointError: the folder or hub name has no config that can be read, or no language model inside.
    """
    config = read_config(settings.path)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    text = config.get_text_config()
    heads = getattr(text, "num_attention_heads", None)
    if heads is None:
        raise CheckpointError(f"model.path {settings.path!r} has no num_attention_heads in its config")
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    return ModelSize(
        num_weights=sum(weight.numel() for weight in model.parameters()),
        num_trained=_num_trained(model, settings),
        num_in_products=sum(weight.numel() for weight in product_weights(model)),
        has_adapter=settings.lora is not None,
        bytes_each=_BYTES[settings.dtype],
        num_layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        key_width=2 * width * (getattr(text, "num_key_value_heads", None) or heads),
        vocabulary=text.vocab_size,
        shares_prefix=settings.scoring == "shared" and shared_prefix(config) is not None,
    )


def count_memory(size: ModelSize, load: Load) -> MemoryCount:
    """The bytes that one process needs at ``load``."""
    trained_bytes = 4 if size.has_adapter else size.bytes_each
    own = size.num_weights * size.bytes_each
    return MemoryCount(
        weights=own // load.shards + (size.num_trained * trained_bytes if size.has_adapter else 0),
        reference=_reference(size, load) // load.shards if load.has_reference and not size.has_adapter else 0,
        optimiser=ADAM_STATES * size.num_trained * trained_bytes // load.shards,
        update=_gradients(size, load, trained_bytes) + _activations(size, load),
        sampling=(
            size.num_layers * size.key_width * _cached_bytes(size, load)
            + (2 * size.num_weights if load.autocast else 0)
            + (own if load.shards > 1 else 0)
        ),
    )


def _reference(size: ModelSize, load: Load) -> int:
    saved = (size.bytes_each - 2) * size.num_in_products if load.autocast else 0
    return size.num_weights * size.bytes_each - saved


def _gradients(size: ModelSize, load: Load, trained_bytes: int) -> int:
    """Gradients, and the copies of weights alive with them: bfloat16 under autocast, whole layers of a sharded policy.

    Activations that are kept keep the copies of their layers; in the backward pass these leave as gradients come.
    """
    gradients = size.num_trained * trained_bytes // load.shards
    embedding = size.vocabulary * size.hidden
    # The weights of one layer, and of the next one, which is fetched meanwhile.
    at_work = embedding + 2 * (size.num_weights - embedding) // size.num_layers
    whole = size.bytes_each * at_work if load.shards > 1 else 0
    if not load.autocast:
        return gradients + whole
    if load.checkpointing:
        return gradients + whole + 2 * at_work
    return max(gradients, 2 * size.num_weights) + whole


def _cached_bytes(size: ModelSize, load: Load) -> int:
    """Bytes, for one cached number per token, over all tokens whose keys are kept: float32 where prompts are shared."""
    if size.shares_prefix:
        return 4 * (load.studies * load.prompt_tokens + load.rows * load.new_tokens)
    return _width(size, load) * load.rows * (load.prompt_tokens + load.new_tokens)


def _activations(size: ModelSize, load: Load) -> int:
    """Activations of a backward pass: of all layers, or of one layer and the states between layers."""
    completion_tokens = load.update_studies * load.completions * load.new_tokens
    prompts = 1 if size.shares_prefix else load.completions
    tokens = load.update_studies * prompts * load.prompt_tokens + completion_tokens
    width = _width(size, load)
    # Of each token: eight tensors of the feed-forward part's width, with its adapters, and ten of the states' width.
    layer = tokens * width * (8 * size.intermediate + 10 * size.hidden)
    states = size.num_layers * tokens * width * size.hidden
    kept = layer + states if load.checkpointing else size.num_layers * layer
    logits = completion_tokens * size.vocabulary
    if size.shares_prefix:
        logits = min(MAX_LOGITS_AT_ONCE, logits)
    # Their log softmax and its gradient in float32, and the model's own output in a smaller dtype.
    return kept + logits * (8 + (width if width < 4 else 0))


def _width(size: ModelSize, load: Load) -> int:
    """Bytes per number inside the model."""
    return 2 if load.autocast or size.bytes_each == 2 else 4


def _num_trained(model: Any, settings: ModelSettings) -> int:
    if settings.lora is not None:
        return sum(_adapter_weights(module, settings.lora) for module in adapted_modules(model, settings.lora))
    freeze_others(model, settings.trainable)
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def adapted_modules(model: nn.Module, lora: LoraSettings) -> list[nn.Linear]:
    """Linear layers that LoRA adapts."""
    pattern = re.compile(lora.target_modules)
    return [m for name, m in model.named_modules() if isinstance(m, nn.Linear) and pattern.fullmatch(name)]


def _adapter_weights(module: nn.Linear, lora: LoraSettings) -> int:
    return lora.rank * (module.in_features + module.out_features)
