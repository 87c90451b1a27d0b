"""The vision tower's layers in forms that compute the same with less work; weights and their names stay as they are.

The patch embedding becomes a product and all windows are attended to at once, everywhere; in float32 on a CPU, blocks
take fewer passes over memory as well.

Layers are exchanged by class, not by a patched method: a copy of the model (the frozen reference) must use its own
weights.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionPatchEmbed,
    Qwen2_5_VLVisionAttention,
    Qwen2_5_VLVisionBlock,
    apply_rotary_pos_emb_vision,
    eager_attention_forward,
)

from orapo.policy.block_functions import add_gated_mlp, add_linear, normed_heads
from orapo.policy.compiling import is_compiled
from orapo.policy.decoder_layers import are_plain, norm_of, weights_of


def use_fast_vision(model: Qwen2_5_VLForConditionalGeneration) -> None:
    """Exchanges the patch embedding, every block and its attention."""
    model.model.visual.patch_embed.__class__ = MatrixPatchEmbed
    is_swiglu = model.config.vision_config.hidden_act == "silu"
    for block in model.model.visual.blocks:
        block.attn.__class__ = WindowsAtOnceAttention
        if is_swiglu:
            block.__class__ = FusedVisionBlock


class MatrixPatchEmbed(Qwen2_5_VisionPatchEmbed):  # type: ignore[misc]
    """The patch embedding as one matrix product instead of a convolution.

    The kernel equals its stride, so each patch meets the weights once and both ways are the same sum; on a CPU the
    convolution takes several times as long.
    """

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[patches, channels * time * height * width] to [patches, vision width]."""
        weight = self.proj.weight.flatten(1)
        return torch.nn.functional.linear(hidden_states.to(weight.dtype), weight, self.proj.bias)


class WindowsAtOnceAttention(Qwen2_5_VLVisionAttention):  # type: ignore[misc]
    """Attention within windows, all windows of a length in one call instead of one call for each."""

    def forward(
        self,
        hidden_states: Tensor,
        cu_seqlens: Tensor,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """[patches, vision width], both ways; ``cu_seqlens`` are the windows' ends, behind a 0."""
        assert position_embeddings is not None
        query, key, value = self.qkv(hidden_states).reshape(len(hidden_states), 3, self.num_heads, -1).unbind(1)
        turned = apply_rotary_pos_emb_vision(query, key, *position_embeddings)
        result: Tensor = self.proj(self.attend(turned[0], turned[1], value, cu_seqlens))
        return result

    def attend(self, query: Tensor, key: Tensor, value: Tensor, ends: Tensor) -> Tensor:
        """[patches, vision width] from three [patches, heads, d]; ``ends`` of the windows, behind a 0."""
        interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)

        def within(windows: list[Tensor]) -> Tensor:
            # [windows, heads, length, d]
            inputs = [x.transpose(1, 2) for x in windows]
            attended: Tensor = interface(self, *inputs, attention_mask=None, scaling=self.scaling, is_causal=False)[0]
            return attended.flatten(0, 1).flatten(1)

        windows = _by_length(ends)
        if len(windows) == 1:
            # Equal windows stand behind each other as they are.
            return within([x.view(*windows[0].shape, *x.shape[1:]) for x in (query, key, value)])
        joined = torch.cat([within([x[index] for x in (query, key, value)]) for index in windows])
        places = torch.cat([index.flatten() for index in windows])
        return joined[places.argsort()]


class FusedVisionBlock(Qwen2_5_VLVisionBlock):  # type: ignore[misc]
    """A block of few functions."""

    def forward(
        self,
        hidden_states: Tensor,
        cu_seqlens: Tensor,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """[patches, vision width], both ways."""
        attention, mlp = self.attn, self.mlp
        linears = (attention.qkv, attention.proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
        if hidden_states.dtype != torch.float32 or is_compiled(mlp) or not are_plain(linears):
            result: Tensor = super().forward(
                hidden_states, cu_seqlens, position_embeddings=position_embeddings, **kwargs
            )
            return result
        assert position_embeddings is not None
        sizes = (attention.num_heads, attention.num_heads)
        layers = [weights_of(attention.qkv)]
        heads = normed_heads(hidden_states, norm_of(self.norm1), layers, position_embeddings, sizes)
        attended = attention.attend(*heads, cu_seqlens)
        hidden = add_linear(hidden_states, attended, weights_of(attention.proj))
        gate, up, down = (weights_of(linear) for linear in (mlp.gate_proj, mlp.up_proj, mlp.down_proj))
        return add_gated_mlp(hidden, norm_of(self.norm2), gate, up, down)


def _by_length(ends: Tensor) -> list[Tensor]:
    """Per distinct length, the patches [windows, length] of all windows that long."""
    lengths = ends.diff()
    return [
        ends[:-1][lengths == length].unsqueeze(1) + torch.arange(length, device=ends.device)
        for length in torch.unique(lengths).tolist()
        if length
    ]
