"""Attention over a packed row: prompts attend within themselves, branches to their study's prompt and to themselves.

It is registered with transformers under its own names and receives a ``RowAttention`` among the arguments that every
layer passes on, so that the model's layers, adapters, sharding and gradient checkpointing stay as they are. Without a
``RowAttention`` it is ordinary attention. A dense mask over the whole row would give the same result for several times
the work.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from orapo.policy.packing import PackedRow, PaddedIndex, take

NAME = "orapo"
"""Of our attention in the model's config."""


class RowAttention(ABC):
    """Which tokens of a packed row attend to which."""

    @abstractmethod
    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """One layer's attention.

        Args:
            layer: number of the decoder layer.
            query: [heads, M, d].
            key: [key heads, M, d], as is ``value``.
            value: of each token.
            scale: of the scores.

        Returns:
            [M, heads, d].
        """


class TreeAttention(RowAttention):
    """Attention of prompts and their branches, all known beforehand."""

    def __init__(self, row: PackedRow) -> None:
        self._row = row
        self._mask = None if row.branches is None else _branch_mask(row, row.branches)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Attends in one call for all prompts, and one for all branches."""
        row, groups = self._row, len(query) // len(key)
        # Split, not sliced twice: the gradient of a slice is a whole tensor of zeros.
        sizes = [row.num_prompt_tokens, query.shape[1] - row.num_prompt_tokens]
        (prompt_query, own_query), (prompt_key, own_key), (prompt_value, own_value) = (
            torch.split(x, sizes, dim=1) for x in (query, key, value)
        )
        prompt_query, prompt_key, prompt_value = (row.prompts.pad(x) for x in (prompt_query, prompt_key, prompt_value))
        keys, values = (x.repeat_interleave(groups, 1) for x in (prompt_key, prompt_value))
        pieces = [row.prompts.unpad(_sdpa(prompt_query, keys, values, None, scale))]
        if row.branches is not None and self._mask is not None:
            own_query, own_key, own_value = (row.branches.pad(x) for x in (own_query, own_key, own_value))
            keys = torch.cat([take(prompt_key, row.study_index), own_key], dim=2)
            values = torch.cat([take(prompt_value, row.study_index), own_value], dim=2)
            # Heads that share a key head stand as further queries of it: keys are not repeated for them.
            num_branches, num_heads, length, width = own_query.shape
            folded = own_query.reshape(num_branches, len(key), groups * length, width)
            attended = _sdpa(folded, keys, values, self._mask.repeat(1, 1, groups, 1), scale)
            pieces.append(row.branches.unpad(attended.reshape(num_branches, num_heads, length, width)))
        return torch.cat(pieces)


def _branch_mask(row: PackedRow, branches: PaddedIndex) -> Tensor:
    """[branches or 1, 1, T, P + T], bool: True where a branch token sees a prompt or branch token."""
    length = branches.index.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=row.study_index.device).tril()
    # Equal prompts need one mask for all branches.
    prompt = row.prompts.is_token[:1] if row.prompts.is_full else row.prompts.is_token[row.study_index]
    sees_prompt = prompt.unsqueeze(1).expand(-1, length, -1)
    return torch.cat([sees_prompt, causal.expand(len(prompt), -1, -1)], dim=2).unsqueeze(1)


def _sdpa(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Attention of sequences [S, heads, L, d]; causal without a mask."""
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale)


def _row_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    row_attention: RowAttention | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The function that transformers calls: query [1, heads, M, d], key and value [1, key heads, M, d] of a packed row.

    Returns:
        ([1, M, heads, d], None), or what ordinary attention gives where there is no packed row.
    """
    if row_attention is None:
        result: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **kwargs
        )
        return result
    layer: Any = module.layer_idx
    return row_attention.attend(layer, query[0], key[0], value[0], kwargs["scaling"]).unsqueeze(0), None


AttentionInterface.register(NAME, _row_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
