"""Each function of a block gives what plain torch gives: values, and the gradient of everything that goes in."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from orapo.policy.block_functions import (
    KnownMlp,
    Norm,
    Weights,
    add_gated_mlp,
    add_linear,
    gated_mlp_parts,
    normed_heads,
)

ROWS, WIDTH, INNER = 7, 6, 10
EPSILON = 1e-3

Numbers = list[Tensor]


def leaves(*shapes: tuple[int, ...]) -> Numbers:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def values_and_gradients(function: Callable[[Numbers], Tensor], inputs: Numbers) -> tuple[Tensor, list[Tensor]]:
    fresh = [one.detach().clone().requires_grad_() for one in inputs]
    result = function(fresh)
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
    return result.detach(), list(torch.autograd.grad((result * weights).sum(), fresh))


def assert_same(function: Callable[[Numbers], Tensor], plain: Callable[[Numbers], Tensor], inputs: Numbers) -> None:
    value, gradients = values_and_gradients(function, inputs)
    wanted, wanted_gradients = values_and_gradients(plain, inputs)
    torch.testing.assert_close(value, wanted, atol=1e-5, rtol=1e-5)
    for number, (gradient, other) in enumerate(zip(gradients, wanted_gradients, strict=True)):
        assert other.abs().max() > 1e-3, f"input {number} has no gradient to compare"
        torch.testing.assert_close(gradient, other, atol=2e-5, rtol=1e-4, msg=f"gradient of input {number}")


def plain_norm(hidden: Tensor, weight: Tensor) -> Tensor:
    return weight * hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + EPSILON)


HEADS, KEY_HEADS, HEAD_WIDTH = 4, 2, 6
ANGLES = torch.randn(ROWS, HEAD_WIDTH // 2, generator=torch.Generator().manual_seed(3)).repeat(1, 2)
ROTATION = (ANGLES.cos(), ANGLES.sin())


def turned(heads: Tensor) -> Tensor:
    first, second = heads.chunk(2, dim=-1)
    return heads * ROTATION[0].unsqueeze(1) + torch.cat([-second, first], dim=-1) * ROTATION[1].unsqueeze(1)


def plain_heads(inputs: Sequence[Tensor]) -> Tensor:
    """[ROWS, (heads + 2 key heads) * d]."""
    hidden, norm, *layers = inputs
    rows = plain_norm(hidden, norm)
    query, key, value = (
        nn.functional.linear(rows, weight, bias).view(ROWS, -1, HEAD_WIDTH)
        for weight, bias in zip(layers[::2], layers[1::2], strict=True)
    )
    return torch.cat([turned(query), turned(key), value], dim=1).flatten(1)


def heads_of(inputs: Sequence[Tensor], known: Tensor | None = None) -> Tensor:
    hidden, norm, *layers = inputs
    weights = [Weights(weight, bias) for weight, bias in zip(layers[::2], layers[1::2], strict=True)]
    heads = normed_heads(hidden, Norm(norm, EPSILON), weights, ROTATION, (HEADS, KEY_HEADS), known)
    assert [one.shape[1] for one in heads] == [HEADS, KEY_HEADS, KEY_HEADS]
    return torch.cat(heads, dim=1).flatten(1)


def plain_mlp(inputs: Sequence[Tensor]) -> Tensor:
    hidden, norm, gate, gate_bias, up, up_bias, down, down_bias = inputs
    rows = plain_norm(hidden, norm)
    inner = nn.functional.silu(nn.functional.linear(rows, gate, gate_bias))
    return hidden + nn.functional.linear(inner * nn.functional.linear(rows, up, up_bias), down, down_bias)


QUERY, KEY = HEADS * HEAD_WIDTH, KEY_HEADS * HEAD_WIDTH
HEADS_OF = leaves((ROWS, WIDTH), (WIDTH,), (QUERY, WIDTH), (QUERY,), (KEY, WIDTH), (KEY,), (KEY, WIDTH), (KEY,))
MLP = leaves((ROWS, WIDTH), (WIDTH,), (INNER, WIDTH), (INNER,), (INNER, WIDTH), (INNER,), (WIDTH, INNER), (WIDTH,))
HOW_MANY_KNOWN = pytest.mark.parametrize("num_known", [None, 0, 3, ROWS])


@HOW_MANY_KNOWN
def test_normed_heads(num_known: int | None) -> None:
    known = None if num_known is None else plain_heads(HEADS_OF)[:num_known].detach()
    assert_same(lambda inputs: heads_of(inputs, known), plain_heads, HEADS_OF)


def test_one_joined_layer_gives_the_same_heads() -> None:
    def joined(inputs: Sequence[Tensor]) -> Tensor:
        hidden, norm, *layers = inputs
        layer = Weights(torch.cat(layers[::2]), torch.cat(layers[1::2]))
        heads = normed_heads(hidden, Norm(norm, EPSILON), [layer], ROTATION, (HEADS, KEY_HEADS))
        return torch.cat(heads, dim=1).flatten(1)

    assert_same(joined, plain_heads, HEADS_OF)


@HOW_MANY_KNOWN
def test_add_linear(num_known: int | None) -> None:
    def plain(inputs: Sequence[Tensor]) -> Tensor:
        hidden, rows, weight, bias = inputs
        return hidden + nn.functional.linear(rows, weight, bias)

    inputs = leaves((ROWS, WIDTH), (ROWS, 5), (WIDTH, 5), (WIDTH,))
    known = None if num_known is None else plain(inputs)[:num_known].detach()
    assert_same(lambda numbers: add_linear(*numbers[:2], Weights(*numbers[2:]), known), plain, inputs)


def mlp_of(inputs: Sequence[Tensor], known: KnownMlp | None = None) -> Tensor:
    hidden, norm, gate, gate_bias, up, up_bias, down, down_bias = inputs
    gates, ups, downs = Weights(gate, gate_bias), Weights(up, up_bias), Weights(down, down_bias)
    return add_gated_mlp(hidden, Norm(norm, EPSILON), gates, ups, downs, known)


@HOW_MANY_KNOWN
def test_add_gated_mlp(num_known: int | None) -> None:
    known = None
    if num_known is not None:
        hidden, norm, gate, gate_bias, up, up_bias, down, down_bias = MLP
        weights = (Weights(gate, gate_bias), Weights(up, up_bias), Weights(down, down_bias))
        with torch.no_grad():
            parts = gated_mlp_parts(hidden, Norm(norm, EPSILON), *weights)
        known = KnownMlp(*(part[:num_known] for part in parts))
    assert_same(lambda inputs: mlp_of(inputs, known), plain_mlp, MLP)


def test_an_mlp_without_gradient_has_the_same_values() -> None:
    with torch.no_grad():
        torch.testing.assert_close(mlp_of(MLP), plain_mlp(MLP), atol=1e-5, rtol=1e-5)


def test_layers_without_bias() -> None:
    inputs = [one for number, one in enumerate(MLP) if number not in (3, 5, 7)]

    def ours(numbers: Numbers) -> Tensor:
        hidden, norm, *weights = numbers
        one = [Weights(weights[0], None)]
        still = (torch.ones(ROWS, 2), torch.zeros(ROWS, 2))
        rows = torch.cat(normed_heads(hidden, Norm(norm, EPSILON), one, still, (3, 1)), dim=1).flatten(1)
        added = add_linear(hidden, rows, Weights(weights[2], None))
        return add_gated_mlp(added, Norm(norm, EPSILON), *(Weights(weight, None) for weight in weights))

    def plain(numbers: Numbers) -> Tensor:
        hidden, norm, gate, up, down = numbers
        hidden = hidden + plain_norm(hidden, norm) @ gate.t() @ down.t()
        rows = plain_norm(hidden, norm)
        return hidden + (nn.functional.silu(rows @ gate.t()) * (rows @ up.t())) @ down.t()

    assert_same(ours, plain, inputs)


def test_what_is_known_is_taken_and_not_computed() -> None:
    wrong = torch.full((3, QUERY + 2 * KEY), 5.0)
    result = heads_of(HEADS_OF, wrong)
    torch.testing.assert_close(result[:3], wrong, atol=0, rtol=0)
    torch.testing.assert_close(result[3:], plain_heads(HEADS_OF)[3:], atol=1e-5, rtol=1e-5)
    known = KnownMlp(torch.zeros(3, INNER), torch.zeros(3, INNER), torch.full((3, WIDTH), 5.0))
    torch.testing.assert_close(mlp_of(MLP, known)[:3], known.output, atol=0, rtol=0)


def test_a_wrong_gate_gives_other_gradients() -> None:
    _, right = values_and_gradients(plain_mlp, MLP)
    known = KnownMlp(torch.zeros(3, INNER), torch.zeros(3, INNER), plain_mlp(MLP)[:3].detach())
    _, wrong = values_and_gradients(lambda inputs: mlp_of(inputs, known), MLP)
    assert not torch.allclose(right[2], wrong[2], atol=1e-2)
