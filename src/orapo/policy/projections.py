"""The linear layers of one decoder layer as the decoding loop calls them: a few rows at a time, hundreds of times."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration

from orapo.policy.block_functions import scaled_to_one
from orapo.policy.products import has_onednn, packed_weight, product, product_with
from orapo.policy.traces import Part

Projection = Callable[[Tensor], Tensor]
"""[R, in] to [R, out]."""

MAX_COPIED_BYTES = 2**30
"""Above 1 GB of weights the copy would take more memory than a rollout may."""


@dataclass(frozen=True)
class LayerProjections:
    """One decoder layer but for its attention.

    Attributes:
        query_key_value: hidden states [R, H] to queries, keys and values, behind each other; their norm included.
        add_attention: (hidden states, merged heads) to hidden states.
        add_mlp: hidden states to hidden states; their norm included.
    """

    query_key_value: Projection
    add_attention: Callable[[Tensor, Tensor], Tensor]
    add_mlp: Projection


Write = Callable[[int, Part, Tensor], None]
"""Takes the number of a decoder layer, and a part of what it gave for the present rows."""


def layer_projections(
    model: Qwen2_5_VLForConditionalGeneration, num_rows: int, write: Write | None = None
) -> tuple[list[LayerProjections], Projection]:
    """All decoder layers, and the projection to the vocabulary.

    On a CPU in float32 the weights are copied once: joined, adapters merged, norms multiplied in, in the layout that
    oneDNN wants for ``num_rows`` rows. Hundreds of decoding steps pay that back. Elsewhere the model's own modules are
    called.

    Args:
        model: in eval mode.
        num_rows: at most, in one call.
        write: is told each part of what the copied weights give.
    """
    layers = model.model.language_model.layers
    if not can_copy(model):
        return [_called(layer) for layer in layers], model.get_output_embeddings()
    to_vocabulary = packed_weight(_effective_weight(model.get_output_embeddings()), num_rows)
    layers = [_Copied(layer, num_rows) for layer in layers]
    copied = [one.projections(write and partial(write, number)) for number, one in enumerate(layers)]
    return copied, lambda x: product(x, to_vocabulary)


def normed(hidden: Tensor, norm: Any) -> Tensor:
    """The model's root mean square norm, which in its own form takes twice as many passes over few numbers."""
    result: Tensor = norm(hidden) if hidden.dtype != torch.float32 else _scaled(hidden, norm) * norm.weight
    return result


def _scaled(hidden: Tensor, norm: Any) -> Tensor:
    """The norm without its weight."""
    return scaled_to_one(hidden, norm.variance_epsilon)[0]


def can_copy(model: Qwen2_5_VLForConditionalGeneration) -> bool:
    """Whether decoding takes its products from a copy of the weights."""
    parameters = list(model.model.language_model.parameters())
    if sum(parameter.nbytes for parameter in parameters) > MAX_COPIED_BYTES:
        return False
    is_swiglu = model.config.get_text_config().hidden_act == "silu"
    has_bias = model.get_output_embeddings().bias is not None
    return is_swiglu and not has_bias and all(has_onednn(parameter) for parameter in parameters)


def _called(layer: Any) -> LayerProjections:
    attention, mlp = layer.self_attn, layer.mlp

    def query_key_value(hidden: Tensor) -> Tensor:
        rows = normed(hidden, layer.input_layernorm)
        return torch.cat([attention.q_proj(rows), attention.k_proj(rows), attention.v_proj(rows)], dim=-1)

    def add_mlp(hidden: Tensor) -> Tensor:
        added: Tensor = hidden + mlp(normed(hidden, layer.post_attention_layernorm))
        return added

    return LayerProjections(query_key_value, lambda hidden, attended: hidden + attention.o_proj(attended), add_mlp)


class _Copied:
    """The weights of one decoder layer, packed."""

    def __init__(self, layer: Any, num_rows: int) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._before, self._after = layer.input_layernorm, layer.post_attention_layernorm

        def packed(modules: Sequence[nn.Module], norm: Any = None) -> Tensor:
            weight = torch.cat([_effective_weight(module) for module in modules])
            return packed_weight(weight if norm is None else weight * norm.weight, num_rows)

        inputs = [attention.q_proj, attention.k_proj, attention.v_proj]
        biases = [_base(module).bias for module in inputs]
        self._bias = None if any(one is None for one in biases) else torch.cat(biases)
        self._to_heads, self._from_heads = packed(inputs, self._before), packed([attention.o_proj])
        self._gate_and_up = packed([mlp.gate_proj, mlp.up_proj], self._after)
        self._down = packed([mlp.down_proj])

    def projections(self, write: Callable[[Part, Tensor], None] | None) -> LayerProjections:
        """In few products; ``write`` is told what they give."""

        def add_attention(hidden: Tensor, attended: Tensor) -> Tensor:
            added = product_with(attended, self._from_heads, hidden, "add")
            if write:
                write("after_attention", added)
            return added

        def add_mlp(hidden: Tensor) -> Tensor:
            gate, up = product(_scaled(hidden, self._after), self._gate_and_up).chunk(2, dim=-1)
            added = product_with(nn.functional.silu(gate).mul_(up), self._down, hidden, "add")
            if write:
                write("gate", gate)
                write("up", up)
                write("after_layer", added)
            return added

        return LayerProjections(self._query_key_value, add_attention, add_mlp)

    def _query_key_value(self, hidden: Tensor) -> Tensor:
        return product(_scaled(hidden, self._before), self._to_heads, self._bias)


def _base(module: nn.Module) -> Any:
    return module.base_layer if isinstance(module, LoraLinear) else module


def _effective_weight(module: nn.Module) -> Tensor:
    weight: Tensor = _base(module).weight
    if isinstance(module, LoraLinear) and not module.disable_adapters and not module.merged:
        for name in module.active_adapters:
            weight = weight + module.get_delta_weight(name)
    return weight
