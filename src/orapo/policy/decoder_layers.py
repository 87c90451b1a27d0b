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

from orapo.policy.attention import ATTENDS, Attended, TreeAttention, attend_row
from orapo.policy.block_functions import (
    KnownMlp,
    Norm,
    Weights,
    add_gated_mlp,
    add_linear,
    gated_mlp_parts,
    normed_heads,
)
from orapo.policy.compiling import is_compiled
from orapo.policy.products import OneDnnLinear, has_onednn
from orapo.policy.traces import Part, RolloutTracer


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
        return not is_other and not is_compiled(mlp) and are_plain((*inputs, mlp.gate_proj, mlp.up_proj, mlp.down_proj))

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
        known = tree.known.layer(self.self_attn.layer_idx) if tree and tree.known else {}
        shape, hidden = tuple(hidden_states.shape[:2]), hidden_states.flatten(0, 1)
        heads = self._heads(hidden, position_embeddings, known.get("heads"))
        query, key, value = (one.view(*shape, *one.shape[1:]).transpose(1, 2) for one in heads)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.self_attn.layer_idx)
        if not isinstance(attention_mask, TreeAttention):
            rows = self._attended(query, key, value, attention_mask, position_ids, kwargs).reshape(len(hidden), -1)
            hidden = add_linear(hidden, rows, weights_of(self.self_attn.o_proj))
            return add_gated_mlp(hidden, *self._mlp()).view(*shape, -1)
        tree = attention_mask
        attended = self._attended_in_row(tree, query[0], key[0], value[0], known)
        rows = attended.states.reshape(len(hidden), -1)
        if tree.tracer:
            found: dict[Part, Tensor] = {"heads": torch.cat(heads, dim=1).flatten(1)}
            if attended.log_sums is not None:
                found |= {"attended": rows, "log_sums": attended.log_sums}
            self._write(tree.tracer, found)
        if self.is_last:
            # Nothing attends to these states any more.
            rows, hidden = tree.row.leave_predicting(rows), tree.row.leave_predicting(hidden)
        hidden = add_linear(hidden, rows, weights_of(self.self_attn.o_proj), known.get("after_attention"))
        if tree.tracer:
            mlp = gated_mlp_parts(hidden, *self._mlp())
            behind: dict[Part, Tensor] = {"gate": mlp.gate, "up": mlp.up, "after_layer": mlp.output}
            self._write(tree.tracer, {"after_attention": hidden, **behind})
            return mlp.output.unsqueeze(0)
        known_mlp = KnownMlp(known["gate"], known["up"], known["after_layer"]) if known else None
        return add_gated_mlp(hidden, *self._mlp(), known_mlp).unsqueeze(0)

    def _write(self, tracer: RolloutTracer, found: Mapping[Part, Tensor]) -> None:
        for part, values in found.items():
            tracer.write_prompts(self.self_attn.layer_idx, part, values)

    def _heads(
        self, hidden: Tensor, rotation: tuple[Tensor, Tensor], known: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [N, heads, d] and keys [N, key heads, d], turned, and values, from the states [N, H]."""
        attention = self.self_attn
        layers = [weights_of(one) for one in (attention.q_proj, attention.k_proj, attention.v_proj)]
        turn = (rotation[0].flatten(0, 1), rotation[1].flatten(0, 1))
        sizes = (
            attention.q_proj.out_features // attention.head_dim,
            attention.k_proj.out_features // attention.head_dim,
        )
        return normed_heads(hidden, norm_of(self.input_layernorm), layers, turn, sizes, known)

    def _attended_in_row(
        self, tree: TreeAttention, query: Tensor, key: Tensor, value: Tensor, known: Mapping[str, Tensor]
    ) -> Attended:
        """Of a packed row, by the attention that the model's config names."""
        attention = self.self_attn
        attend = ATTENDS[attention.config._attn_implementation]
        found = None
        if "attended" in known:
            states = known["attended"]
            found = Attended(states.view(len(states), len(query), -1), known["log_sums"])
        return attend_row(tree, attend, query, key, value, attention.scaling, found)

    def _attended(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        position_ids: Tensor | None,
        others: Mapping[str, Any],
    ) -> Tensor:
        """[B, L, heads, d], of an ordinary batch, by the attention that the model's config names."""
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
