"""Attention whose result is known gives the gradients of attention that is computed."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from orapo.policy.attention import ATTENDS, NAMES, Attended, TreeAttention, attend_row
from orapo.policy.packing import PackedRow, pack_row

HEADS, KEY_HEADS, WIDTH, SCALE = 4, 2, 8, 0.5
PROMPTS = (4, 2)
SIZES = SimpleNamespace(num_attention_heads=HEADS, num_key_value_heads=KEY_HEADS)


def row_of(lengths: list[list[int]]) -> PackedRow:
    """Two studies with completions of these lengths."""
    ids = [torch.zeros(length, dtype=torch.int64) for length in PROMPTS]
    positions = [torch.arange(length).expand(3, -1) for length in PROMPTS]
    return pack_row(ids, positions, [[torch.zeros(n, dtype=torch.int64) for n in study] for study in lengths])


def numbers(num_tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = [(heads, num_tokens, WIDTH) for heads in (HEADS, KEY_HEADS, KEY_HEADS)]
    query, key, value = (torch.randn(size, generator=generator) for size in sizes)
    return query, key, value


def log_sums_of(tree: TreeAttention, query: Tensor, key: Tensor) -> Tensor:
    """[M, heads]: from the weights, which values of 0 and a single 1 show, at the largest weight of each token."""
    seen = []
    for token in range(query.shape[1]):
        value = torch.zeros_like(key)
        value[:, token] = 1
        seen.append(attend_row(tree, ATTENDS[NAMES["eager"]], query, key, value, SCALE).states[:, :, 0])
    largest, where = torch.stack(seen, dim=2).max(dim=2)
    scores = torch.einsum("hmd,hnd->mhn", query, key.repeat_interleave(HEADS // KEY_HEADS, 0)) * SCALE
    return scores.gather(2, where.unsqueeze(2)).squeeze(2) - largest.log()


def gradients(
    tree: TreeAttention, inputs: tuple[Tensor, Tensor, Tensor], name: str, known: Attended | None
) -> tuple[Tensor, ...]:
    leaves = [one.clone().requires_grad_() for one in inputs]
    query, key, value = leaves
    states = attend_row(tree, ATTENDS[name], query, key, value, SCALE, known).states
    weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(1))
    return (states.detach(), *torch.autograd.grad((states * weights).sum(), leaves))


@pytest.mark.parametrize("num_known", ["all", "some", "prompts"])
@pytest.mark.parametrize("lengths", [[[4, 4], [4, 4]], [[5, 1], [2, 3]]], ids=["full", "ragged"])
def test_gradients_are_those_of_computed_attention(lengths: list[list[int]], num_known: str) -> None:
    row = row_of(lengths)
    tree = TreeAttention.of(row, SIZES)
    inputs = numbers(len(row.input_ids))
    wanted = gradients(tree, inputs, NAMES["eager"], None)
    bodies = [length - 1 for study in lengths for length in study]
    first = {"all": sum(bodies), "some": sum(bodies[:2]), "prompts": 0}[num_known]
    count = row.num_prompt_tokens + first
    known = Attended(wanted[0][:count], log_sums_of(tree, *inputs[:2])[:count])
    for one, other in zip(gradients(tree, inputs, NAMES["sdpa"], known), wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_wrong_sums_give_other_gradients() -> None:
    row = row_of([[4, 4], [4, 4]])
    tree = TreeAttention.of(row, SIZES)
    inputs = numbers(len(row.input_ids))
    wanted = gradients(tree, inputs, NAMES["eager"], None)
    known = Attended(wanted[0], log_sums_of(tree, *inputs[:2]) + 0.1)
    wrong = gradients(tree, inputs, NAMES["sdpa"], known)
    torch.testing.assert_close(wrong[0], wanted[0], atol=0, rtol=0)
    assert not torch.allclose(wrong[1], wanted[1], atol=1e-3)


def test_what_stands_beyond_a_short_branch_cannot_overflow() -> None:
    row = row_of([[5], [2]])
    tree = TreeAttention.of(row, SIZES)
    query, key, value = numbers(len(row.input_ids))
    # Empty places of the second branch are filled from the first branch's first token, whose scores there are huge.
    key[:, PROMPTS[0] : sum(PROMPTS)] = 300 * query[: HEADS // KEY_HEADS, sum(PROMPTS), None].mean(0)
    inputs = (query, key, value)
    wanted = gradients(tree, inputs, NAMES["eager"], None)
    known = Attended(wanted[0], log_sums_of(tree, query, key))
    for one, other in zip(gradients(tree, inputs, NAMES["sdpa"], known), wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
