"""Attention over a packed row: prompts attend within themselves, branches to their study's prompt and to themselves.

It is registered with transformers under names of its own and handed a ``TreeAttention`` in the mask's place, so that
the model's layers, adapters, sharding and gradient checkpointing stay as they are. Given an ordinary mask, it is the
ordinary attention. A dense mask over the whole row would give the same result for several times the work.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
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


class Attended(NamedTuple):
    """What attention gives, of a row [n, ...] or of rectangles [S, ...].

    Attributes:
        states: [n, heads, d], or [S, heads, L, d].
        log_sums: [n, heads] or [S, heads, L]: logarithm of the sum of the exponential scores, with which the gradient
            finds the weights again; None where nobody gave it.
    """

    states: Tensor
    log_sums: Tensor | None


Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None, float, Attended | None, bool], Attended]
"""Query, key, value [S, heads, L, d], mask, scale, what is known of the first sequences, and whether sums are asked."""


def attend_row(
    tree: TreeAttention,
    attend: Attend,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    known: Attended | None = None,
) -> Attended:
    """Attention of a packed row of M tokens.

    Args:
        tree: who sees whom.
        attend: within rectangles.
        query: [heads, M, d].
        key: [key heads, M, d], as is ``value``.
        value: of each token.
        scale: of the scores.
        known: the result for the prompts and the completions that lead.

    Returns:
        Of the row; the sums are there for prompts that a trace is written of.
    """
    row = tree.row
    groups = len(query) // len(key)
    # Split, not sliced twice: the gradient of a slice is a whole tensor of zeros.
    sizes = [row.num_prompt_tokens, query.shape[1] - row.num_prompt_tokens]
    parts = [torch.split(x, sizes, dim=1) for x in (query, key, value)]
    known_prompts, known_branches = _known_of_parts(known, row)
    prompt_query, prompt_key, prompt_value = (_gather(prompt, row.prompts, 0) for prompt, _ in parts)
    prompts = attend(
        prompt_query,
        prompt_key.repeat_interleave(groups, 1),
        prompt_value.repeat_interleave(groups, 1),
        None,
        scale,
        known_prompts,
        tree.tracer is not None,
    )
    pieces = [_scatter(prompts.states, row.prompts)]
    if row.branches is not None:
        own_query, own_key, own_value = (_gather(own, row.branches, row.num_prompt_tokens) for _, own in parts)
        keys = torch.cat([prompt_key[row.owners], own_key], dim=2)
        values = torch.cat([prompt_value[row.owners], own_value], dim=2)
        # Heads that share a key head stand as further queries of it: keys are not repeated for them.
        num_branches, _, length, width = own_query.shape
        folded = own_query.reshape(num_branches, len(key), groups * length, width)
        folded_known = None
        if known_branches is not None and known_branches.log_sums is not None:
            shape = (len(known_branches.states), len(key), groups * length)
            folded_known = Attended(
                known_branches.states.reshape(*shape, width), known_branches.log_sums.reshape(shape)
            )
        branches = attend(folded, keys, values, tree.branch_mask, scale, folded_known, False).states
        pieces.append(_scatter(branches.reshape(num_branches, len(query), length, width), row.branches))
    sums = None if prompts.log_sums is None else _scatter(prompts.log_sums.unsqueeze(-1), row.prompts).squeeze(-1)
    return Attended(torch.cat(pieces), sums)


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
    attended = attend_row(attention_mask, attend, query[0], key[0], value[0], kwargs["scaling"])
    return attended.states.unsqueeze(0), None


def _known_of_parts(known: Attended | None, row: PackedRow) -> tuple[Attended | None, Attended | None]:
    """What is known as rectangles: of the prompts, and of those branches that lead."""
    if known is None or known.log_sums is None:
        return None, None
    sizes = [row.num_prompt_tokens, len(known.states) - row.num_prompt_tokens]
    (prompt_states, states), (prompt_sums, sums) = torch.split(known.states, sizes), torch.split(known.log_sums, sizes)
    prompts = _known_rectangle(prompt_states, prompt_sums, row.prompts, 0)
    if row.branches is None or not len(states):
        return prompts, None
    leading = row.branches.leading(len(states))
    return prompts, _known_rectangle(states, sums, leading, row.num_prompt_tokens)


def _known_rectangle(states: Tensor, sums: Tensor, rectangle: Rectangle, start: int) -> Attended:
    """[n, heads, d] and [n, heads] as [S, heads, L, d] and [S, heads, L]."""
    gathered = _gather(states.transpose(0, 1), rectangle, start)
    log_sums = _gather(sums.t().unsqueeze(-1), rectangle, start).squeeze(-1)
    # Beyond a sequence's end the sum belongs to some other token: with an infinite one, all weights are 0.
    return Attended(gathered, log_sums.masked_fill(~rectangle.is_token.unsqueeze(1), torch.inf))


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


def _sdpa(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float,
    known: Attended | None,
    wants_sums: bool,
) -> Attended:
    if known is not None:
        states: Tensor = _KnownSdpa.apply(query, key, value, mask, scale, *known)  # type: ignore[no-untyped-call]
        return Attended(states, None)
    if wants_sums:
        return Attended(*_flash_on_cpu(query, key, value, _additive(mask), scale))
    states = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale
    )
    return Attended(states, None)


def _eager(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float,
    known: Attended | None,
    wants_sums: bool,
) -> Attended:
    """The plain way, for checking: it computes everything itself, and keeps no sums."""
    if mask is None:
        mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()
    scores = (query @ key.transpose(2, 3)) * scale
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1, dtype=torch.float32)
    return Attended(weights.to(query.dtype) @ value, None)


def _additive(mask: Tensor | None) -> Tensor | None:
    """True and False as 0 and minus infinity, in float32."""
    return None if mask is None else torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)


def _flash_on_cpu(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """States and log sums: the function that torch takes for this on a CPU, which keeps the sums to itself."""
    states, log_sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, mask is None, attn_mask=mask, scale=scale
    )
    return states, log_sums


class _KnownSdpa(torch.autograd.Function):
    """Attention whose result is known for the first sequences, with its gradients; float32 on a CPU."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scale: float,
        states: Tensor,
        log_sums: Tensor,
    ) -> Tensor:
        additive, num_known = _additive(mask), len(states)
        if num_known < len(query):
            rest = additive if additive is None or len(additive) == 1 else additive[num_known:]
            fresh = _flash_on_cpu(query[num_known:], key[num_known:], value[num_known:], rest, scale)
            states, log_sums = torch.cat([states, fresh[0]]), torch.cat([log_sums, fresh[1]])
        ctx.scale = scale
        ctx.save_for_backward(query, key, value, additive, states, log_sums)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, mask, states, log_sums = ctx.saved_tensors
        to_query, to_key, to_value = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            gradient, query, key, value, states, log_sums, 0.0, mask is None, attn_mask=mask, scale=ctx.scale
        )
        return to_query, to_key, to_value, None, None, None, None


ATTENDS: Mapping[str, Attend] = {NAMES["sdpa"]: _sdpa, NAMES["eager"]: _eager}
"""By the name that stands in the model's config."""

AttentionInterface.register(NAMES["sdpa"], partial(tree_attention, _sdpa, sdpa_attention_forward))
AttentionInterface.register(NAMES["eager"], partial(tree_attention, _eager, eager_attention_forward))
AttentionMaskInterface.register(NAMES["sdpa"], sdpa_mask)
AttentionMaskInterface.register(NAMES["eager"], eager_mask)
