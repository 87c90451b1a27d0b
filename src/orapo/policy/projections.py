"""The linear layers of one decoder layer as the decoding loop calls them: a few rows at a time, hundreds of times."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration

Projection = Callable[[Tensor], Tensor]
"""[R, in] to [R, out]."""

MAX_COPIED_BYTES = 2**25
"""Above 32 MB the weights come from main memory in each step, and their layout no longer pays for a copy."""


@dataclass(frozen=True)
class LayerProjections:
    """One decoder layer; the outputs of several layers stand behind each other.

    Attributes:
        query_key_value: hidden states to queries, keys, values.
        attention_output: merged heads to hidden states.
        gate_up: hidden states to gate and up projection.
        down: back to hidden states.
    """

    query_key_value: Projection
    attention_output: Projection
    gate_up: Projection
    down: Projection


def layer_projections(model: Qwen2_5_VLForConditionalGeneration) -> tuple[list[LayerProjections], Projection]:
    """All decoder layers, and the projection to the vocabulary.

    On a CPU in float32, weights that fit its caches are copied once: joined, transposed, adapters merged. A product of
    a few rows is then up to 1.4 times as fast, which hundreds of decoding steps pay back. Elsewhere the model's own
    modules are called.
    """
    join = _joined if _can_copy(model) else _called
    layers = [
        LayerProjections(
            query_key_value=join([layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj]),
            attention_output=join([layer.self_attn.o_proj]),
            gate_up=join([layer.mlp.gate_proj, layer.mlp.up_proj]),
            down=join([layer.mlp.down_proj]),
        )
        for layer in model.model.language_model.layers
    ]
    return layers, join([model.get_output_embeddings()])


def _can_copy(model: Qwen2_5_VLForConditionalGeneration) -> bool:
    if model.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    parameters = list(model.model.language_model.parameters())
    is_float32 = all(parameter.dtype == torch.float32 for parameter in parameters)
    return is_float32 and sum(parameter.nbytes for parameter in parameters) <= MAX_COPIED_BYTES


def _called(modules: Sequence[nn.Module]) -> Projection:
    if len(modules) == 1:
        return modules[0]
    return lambda x: torch.cat([module(x) for module in modules], dim=-1)


def _joined(modules: Sequence[nn.Module]) -> Projection:
    weight = torch.cat([_effective_weight(module) for module in modules]).t().contiguous()
    biases = [_base(module).bias for module in modules]
    if any(bias is None for bias in biases):
        return lambda x: x @ weight
    bias = torch.cat(biases)
    return lambda x: torch.addmm(bias, x, weight)


def _base(module: nn.Module) -> Any:
    return module.base_layer if isinstance(module, LoraLinear) else module


def _effective_weight(module: nn.Module) -> Tensor:
    weight: Tensor = _base(module).weight
    if isinstance(module, LoraLinear) and not module.disable_adapters and not module.merged:
        for name in module.active_adapters:
            weight = weight + module.get_delta_weight(name)
    return weight
