"""The language model's decoder layers in fewer passes over memory, where they compute in float32 on a CPU.

Weights and their names stay as they are. Layers are exchanged by class, not by a patched method: a copy of the model
(the frozen reference) must use its own weights. Everything else (adapters, other number formats, other devices) is left
to the model's own layers.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLDecoderLayer, eager_attention_forward

from orapo.policy.attention import TreeAttention
from orapo.policy.block_functions import (
    KnownMlp,
    Norm,
    Weights,
    add_gated_mlp,
    add_linear,
    gated_mlp_parts,
    normed_linear,
    turned_heads,
)
from orapo.policy.products import OneDnnLinear, has_onednn


def use_fused_layers(model: Qwen2_5_VLForConditionalGeneration) -> None:
    """Exchanges every decoder layer."""
    for layer in model.model.language_model.layers:
        layer.__class__ = FusedDecoderLayer


def are_plain(linears: Iterable[nn.Module]) -> bool:
    """Whether all of these are linear layers, without adapters, whose products oneDNN computes now."""
    return all(isinstance(linear, OneDnnLinear) and has_onednn(linear.weight) for linear in linears)


def norm_of(module: Any) -> Norm:
    """The numbers of the model's norm."""
    return Norm(module.weight, module.variance_epsilon)


def weights_of(linear: Any) -> Weights:
    """The numbers of a linear layer."""
    return Weights(linear.weight, linear.bias)


class FusedDecoderLayer(Qwen2_5_VLDecoderLayer):  # type: ignore[misc]
    """A decoder layer of few functions; it takes what a trace knows, and writes one while prompts are prefilled."""

    @property
    def is_plain(self) -> bool:
        """Whether this layer computes in its own way now."""
        attention, mlp = self.self_attn, self.mlp
        inputs = (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
        is_other = attention.config.hidden_act != "silu" or (self.training and attention.attention_dropout)
        return not is_other and are_plain((*inputs, mlp.gate_proj, mlp.up_proj, mlp.down_proj))

    @property
    def is_last(self) -> bool:
        """Whether no layer follows."""
        attention = self.self_attn
        return bool(attention.layer_idx == attention.config.num_hidden_layers - 1)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: "Tensor | TreeAttention | None" = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = False,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """[B, L, H], both ways; of a packed row, the last layer gives the states of those tokens that predict."""
        assert position_embeddings is not None
        tree = attention_mask if isinstance(attention_mask, TreeAttention) else None
        if hidden_states.dtype != torch.float32 or not self.is_plain:
            result: Tensor = super().forward(
                hidden_states,
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_values=past_key_values,
                use_cache=use_cache,
                position_embeddings=position_embeddings,
                **kwargs,
            )
            if tree and self.is_last:
                return tree.row.leave_predicting(result[0]).unsqueeze(0)
            return result
        number = self.self_attn.layer_idx
        known = tree.known.layer(number) if tree and tree.known else {}
        shape, hidden = tuple(hidden_states.shape[:2]), hidden_states.flatten(0, 1)
        projected = self._query_key_value(hidden, known.get("query_key_value"))
        query, key, value = self._heads(projected, shape, position_embeddings)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, number)
        rows = self._attended(query, key, value, attention_mask, position_ids, kwargs).reshape(len(hidden), -1)
        if tree and self.is_last:
            # Nothing attends to these states any more.
            rows, hidden = tree.row.leave_predicting(rows), tree.row.leave_predicting(hidden)
            shape = (1, len(hidden))
        hidden = add_linear(hidden, rows, weights_of(self.self_attn.o_proj), known.get("after_attention"))
        if tree is None or tree.tracer is None:
            known_mlp = KnownMlp(known["gate"], known["up"], known["after_layer"]) if known else None
            return add_gated_mlp(hidden, *self._mlp(), known_mlp).view(*shape, -1)
        parts = gated_mlp_parts(hidden, *self._mlp())
        tree.tracer.write_prompts(number, "query_key_value", projected)
        tree.tracer.write_prompts(number, "after_attention", hidden)
        tree.tracer.write_prompts(number, "gate", parts.gate)
        tree.tracer.write_prompts(number, "up", parts.up)
        tree.tracer.write_prompts(number, "after_layer", parts.output)
        return parts.output.view(*shape, -1)

    def _query_key_value(self, hidden: Tensor, known: Tensor | None) -> Tensor:
        """[N, (heads + 2 key heads) * d] from the states [N, H] before their norm."""
        attention = self.self_attn
        layers = [weights_of(one) for one in (attention.q_proj, attention.k_proj, attention.v_proj)]
        return normed_linear(hidden, norm_of(self.input_layernorm), layers, known)

    def _heads(self, projected: Tensor, shape: tuple[int, ...], rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """Queries [B, heads, L, d] and keys [B, key heads, L, d], turned, and values, where ``shape`` is (B, L)."""
        attention = self.self_attn
        cosine, sine = rotation
        num_heads = attention.q_proj.out_features // attention.head_dim
        num_key_heads = attention.k_proj.out_features // attention.head_dim
        heads = turned_heads(projected, (cosine.flatten(0, 1), sine.flatten(0, 1)), num_heads, num_key_heads)
        return tuple(one.view(*shape, *one.shape[1:]).transpose(1, 2) for one in heads)

    def _attended(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: "Tensor | TreeAttention | None",
        position_ids: Tensor | None,
        others: Mapping[str, Any],
    ) -> Tensor:
        """[B, L, heads, d], by the attention that the model's config names."""
        attention = self.self_attn
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(attention.config._attn_implementation, eager_attention_forward)
        sizes = {"scaling": attention.scaling, "sliding_window": attention.sliding_window}
        attended: Tensor = attend(
            attention, query, key, value, mask, dropout=0.0, position_ids=position_ids, **sizes, **others
        )[0]
        return attended

    def _mlp(self) -> tuple[Norm, Weights, Weights, Weights]:
        """The norm before the MLP, gate, up and down."""
        mlp = self.mlp
        return (
            norm_of(self.post_attention_layernorm),
            weights_of(mlp.gate_proj),
            weights_of(mlp.up_proj),
            weights_of(mlp.down_proj),
        )
