"""Attention of a packed row is that of a dense mask over the whole row: values and gradients."""

import pytest
import torch
from torch import Tensor

from orapo.policy.attention import TreeAttention
from orapo.policy.packing import PackedRow, pack_row

HEADS, KEY_HEADS, WIDTH, SCALE = 4, 2, 8, 0.5
PROMPTS = (4, 2)
Inputs = tuple[Tensor, Tensor, Tensor]


def row_of(lengths: list[list[int]], prompts: tuple[int, ...] = PROMPTS) -> PackedRow:
    """Two studies with completions of these lengths."""
    positions = [torch.arange(length).expand(3, -1) for length in prompts]
    return pack_row(positions, [[torch.zeros(n, dtype=torch.int64) for n in study] for study in lengths])


def numbers(num_tokens: int) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    sizes = [(heads, num_tokens, WIDTH) for heads in (HEADS, KEY_HEADS, KEY_HEADS)]
    query, key, value = (torch.randn(size, generator=generator) for size in sizes)
    return query, key, value


def dense(lengths: list[list[int]], prompts: tuple[int, ...], query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """[M, heads, d] by one mask that says for all pairs of tokens who sees whom."""
    prompt_of = [study for study, length in enumerate(prompts) for _ in range(length)]
    branch_of = [(-1, study) for study in prompt_of]
    for study, own in enumerate(lengths):
        branch_of += [(number, study) for number, length in enumerate(own) for _ in range(length - 1)]
    seen = [
        [
            j <= i and branch_of[j][1] == branch_of[i][1] and branch_of[j][0] in (-1, branch_of[i][0])
            for j in range(i + 1)
        ]
        + [False] * (len(branch_of) - i - 1)
        for i in range(len(branch_of))
    ]
    keys, values = (x.repeat_interleave(HEADS // KEY_HEADS, 0) for x in (key, value))
    scores = (query @ keys.transpose(1, 2) * SCALE).masked_fill(~torch.tensor(seen), -torch.inf)
    return (scores.softmax(-1) @ values).transpose(0, 1)


def with_gradients(states: Tensor, inputs: Inputs) -> tuple[Tensor, ...]:
    weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(1))
    return (states.detach(), *torch.autograd.grad((states * weights).sum(), inputs))


@pytest.mark.parametrize("prompts", [PROMPTS, (3, 3)])
@pytest.mark.parametrize("lengths", [[[4, 4], [4, 4]], [[5, 1], [2, 3, 4]], [[1], [1]]], ids=["full", "ragged", "none"])
def test_values_and_gradients_are_those_of_a_dense_mask(lengths: list[list[int]], prompts: tuple[int, ...]) -> None:
    row = row_of(lengths, prompts)
    query, key, value = inputs = tuple(x.requires_grad_() for x in numbers(row.position_ids.shape[1]))
    ours = with_gradients(TreeAttention(row).attend(0, query, key, value, SCALE), inputs)
    for one, other in zip(ours, with_gradients(dense(lengths, prompts, *inputs), inputs), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_what_stands_after_a_short_branch_cannot_overflow() -> None:
    lengths = [[5], [2]]
    row = row_of(lengths)
    query, key, value = numbers(row.position_ids.shape[1])
    # Empty places of the second branch are filled from the first branch's first token, whose scores there are huge.
    key[:, PROMPTS[0] : sum(PROMPTS)] = 300 * query[: HEADS // KEY_HEADS, sum(PROMPTS), None].mean(0)
    query, key, value = inputs = tuple(x.requires_grad_() for x in (query, key, value))
    ours = with_gradients(TreeAttention(row).attend(0, query, key, value, SCALE), inputs)
    for one, other in zip(ours, with_gradients(dense(lengths, PROMPTS, *inputs), inputs), strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
