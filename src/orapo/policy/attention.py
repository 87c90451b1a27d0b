"""Attention over a packed row: prompts attend within themselves, branches to their study's prompt and to themselves.

It is registered with transformers under names of its own and handed a ``TreeAttention`` in the mask's place, so that
the model's layers, adapters, sharding and gradient checkpointing stay as they are. Given an ordinary mask, it is the
ordinary attention. A dense mask over the whole row would give the same result for several times the work.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import eager_attention_forward

from orapo.policy.packing import PackedRow, Rectangle
from orapo.policy.traces import KnownRows, RolloutTracer

NAMES = {"sdpa": "orapo_sdpa", "eager": "orapo_eager"}
"""Our attention for each setting of ``model.attention``."""


@dataclass(frozen=True)
class TreeAttention:
    """What the layers need to know of a packed row; stands where an attention mask would.

    Attributes:
        row: the layout.
        branch_mask: [branches or 1, 1, heads per key head * T, P + T], bool: True where a branch token sees a prompt
            or branch token; None without branches.
        known: what the layers need not compute, or None.
        tracer: is told what the layers compute of a row of prompts, or None.
    """

    row: PackedRow
    branch_mask: Tensor | None
    known: KnownRows | None = None
    tracer: RolloutTracer | None = None

    @classmethod
    def of(
        cls,
        row: PackedRow,
        text_config: Any,
        known: KnownRows | None = None,
        tracer: RolloutTracer | None = None,
    ) -> "TreeAttention":
        """The attention of ``row``.

        Args:
            row: the layout.
            text_config: of the language model, whose key heads may serve several heads each.
            known: what the layers need not compute of it, or None.
            tracer: is told what they compute, if ``row`` is one of prompts; or None.
        """
        if row.branches is None:
            return cls(row, None, known, tracer)
        length = row.branches.index.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=row.owners.device).tril()
        # Equal prompts need one mask for all branches.
        prompt = row.prompts.is_token[:1] if row.prompts.is_full else row.prompts.is_token[row.owners]
        sees_prompt = prompt.unsqueeze(1).expand(-1, length, -1)
        mask = torch.cat([sees_prompt, causal.expand(len(prompt), -1, -1)], dim=2)
        groups = text_config.num_attention_heads // text_config.num_key_value_heads
        return cls(row, mask.repeat(1, groups, 1).unsqueeze(1), known, tracer)


Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], Tensor]


def tree_attention(
    attend: Attend,
    ordinary: Callable[..., Any],
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: "Tensor | TreeAttention | None",
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """As transformers calls it: query [1, heads, M, d], key and value [1, key heads, M, d] of a packed row.

    Returns:
        ([1, M, heads, d], None), or what ``ordinary`` gives where the mask is an ordinary one.
    """
    if not isinstance(attention_mask, TreeAttention):
        result: tuple[Tensor, Tensor | None] = ordinary(module, query, key, value, attention_mask, **kwargs)
        return result
    row, scale = attention_mask.row, kwargs["scaling"]
    query, key, value = query[0], key[0], value[0]
    groups = len(query) // len(key)
    # Split, not sliced twice: the gradient of a slice is a whole tensor of zeros.
    sizes = [row.num_prompt_tokens, query.shape[1] - row.num_prompt_tokens]
    parts = [torch.split(x, sizes, dim=1) for x in (query, key, value)]
    prompt_query, prompt_key, prompt_value = (_gather(prompt, row.prompts, 0) for prompt, _ in parts)
    out = attend(
        prompt_query, prompt_key.repeat_interleave(groups, 1), prompt_value.repeat_interleave(groups, 1), None, scale
    )
    pieces = [_scatter(out, row.prompts)]
    if row.branches is not None:
        own_query, own_key, own_value = (_gather(own, row.branches, row.num_prompt_tokens) for _, own in parts)
        keys = torch.cat([prompt_key[row.owners], own_key], dim=2)
        values = torch.cat([prompt_value[row.owners], own_value], dim=2)
        # Heads that share a key head stand as further queries of it: keys are not repeated for them.
        num_branches, _, length, width = own_query.shape
        folded = own_query.reshape(num_branches, len(key), groups * length, width)
        out = attend(folded, keys, values, attention_mask.branch_mask, scale)
        pieces.append(_scatter(out.reshape(num_branches, len(query), length, width), row.branches))
    return torch.cat(pieces).unsqueeze(0), None


def _gather(part: Tensor, rectangle: Rectangle, start: int) -> Tensor:
    """[heads, tokens, d] to [S, heads, L, d]; ``start`` is where these tokens begin in the row."""
    if rectangle.is_full:
        return part.reshape(len(part), *rectangle.index.shape, -1).transpose(0, 1)
    # Beyond a sequence's end any token may stand.
    return part[:, (rectangle.index - start).clamp_min(0)].transpose(0, 1)


def _scatter(out: Tensor, rectangle: Rectangle) -> Tensor:
    """[S, heads, L, d] to [tokens, heads, d], without what stands beyond a sequence's end."""
    rows = out.transpose(1, 2).flatten(0, 1)
    return rows if rectangle.is_full else rows[rectangle.slots]


def _sdpa(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    return torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale
    )


def _eager(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    if mask is None:
        mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()
    scores = (query @ key.transpose(2, 3)) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1, dtype=torch.float32)
    return weights.to(query.dtype) @ value


AttentionInterface.register(NAMES["sdpa"], partial(tree_attention, _sdpa, sdpa_attention_forward))
AttentionInterface.register(NAMES["eager"], partial(tree_attention, _eager, eager_attention_forward))
AttentionMaskInterface.register(NAMES["sdpa"], sdpa_mask)
AttentionMaskInterface.register(NAMES["eager"], eager_mask)
