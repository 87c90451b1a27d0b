"""The vision tower's layers in forms that compute the same with less work; weights and their names stay as they are.

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
    apply_rotary_pos_emb_vision,
    eager_attention_forward,
)


def use_fast_vision(model: Qwen2_5_VLForConditionalGeneration) -> None:
    """Exchanges the patch embedding and every attention of the vision tower."""
    model.model.visual.patch_embed.__class__ = MatrixPatchEmbed
    for block in model.model.visual.blocks:
        block.attn.__class__ = WindowsAtOnceAttention


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
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        windows = _by_length(cu_seqlens)
        pieces = []
        for index in windows:
            # [windows, heads, length, d]
            inputs = [x[index].transpose(1, 2) for x in (*turned, value)]
            attended, _ = attend(self, *inputs, attention_mask=None, scaling=self.scaling, is_causal=False)
            pieces.append(attended.reshape(index.numel(), -1))
        joined = torch.cat(pieces)
        places = torch.cat([index.flatten() for index in windows])
        result: Tensor = self.proj(joined[places.argsort()])
        return result


def _by_length(ends: Tensor) -> list[Tensor]:
    """Per distinct length, the patches [windows, length] of all windows that long."""
    lengths = ends.diff()
    return [
        ends[:-1][lengths == length].unsqueeze(1) + torch.arange(length, device=ends.device)
        for length in torch.unique(lengths).tolist()
        if length
    ]
