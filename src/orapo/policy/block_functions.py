"""The parts of a transformer block as single functions with gradients of their own, for float32 on a CPU.

They compute what the model's own layers compute, in fewer passes over memory: norms are multiplied into the weights
behind them, sums and products with other tensors are left to oneDNN, and only what the gradient needs is kept. Where
outputs are known from elsewhere they are taken, and only gradients are computed.

All take and give rows: [N, width], one for each token.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from orapo.policy.products import completed, product, product_with


class Norm(NamedTuple):
    """A root mean square norm.

    Attributes:
        weight: [H].
        epsilon: under the root.
    """

    weight: Tensor
    epsilon: float


class Weights(NamedTuple):
    """Of a linear layer: weight [out, in] and bias [out]."""

    weight: Tensor
    bias: Tensor | None


class KnownMlp(NamedTuple):
    """What a gated MLP gave for the first rows: gate and up before the activation [n, F], the sum behind it [n, H]."""

    gate: Tensor
    up: Tensor
    output: Tensor


def normed_heads(
    hidden: Tensor,
    norm: Norm,
    layers: Sequence[Weights],
    rotation: tuple[Tensor, Tensor],
    sizes: tuple[int, int],
    known: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys of the normed states, turned by their rotary positions, and values.

    Args:
        hidden: [N, H].
        norm: before the layers.
        layers: what gives queries, keys and values, by one layer or several; all with a bias or all without.
        rotation: cosines and sines [N, d], as the model gives them.
        sizes: number of heads of the queries, and of keys and values each.
        known: [n, (heads + 2 key heads) * d]: all three behind each other for the first n <= N rows.

    Returns:
        [N, heads, d], and twice [N, key heads, d].
    """
    weights = [layer.weight for layer in layers]
    biases = [layer.bias for layer in layers if layer.bias is not None]
    weight = weights[0] if len(weights) == 1 else torch.cat(weights)
    bias = None if not biases else biases[0] if len(biases) == 1 else torch.cat(biases)
    cosine, sine = rotation
    turn = (cosine.unsqueeze(1), half_negative(sine).unsqueeze(1))
    q, k, v = _NormedHeads.apply(hidden, norm.weight, norm.epsilon, weight, bias, *turn, sizes, known)  # type: ignore[no-untyped-call]
    return q, k, v


def add_linear(hidden: Tensor, rows: Tensor, layer: Weights, known: Tensor | None = None) -> Tensor:
    """``hidden`` [N, H] + the linear layer of ``rows`` [N, in]; ``known`` [n, H] is the sum for the first rows."""
    result: Tensor = _AddLinear.apply(hidden, rows, *layer, known)  # type: ignore[no-untyped-call]
    return result


def add_gated_mlp(
    hidden: Tensor, norm: Norm, gate: Weights, up: Weights, down: Weights, known: KnownMlp | None = None
) -> Tensor:
    """``hidden`` [N, H] + down(silu(gate(x)) * up(x)), where x is the normed ``hidden``."""
    if torch.is_grad_enabled():
        result: Tensor = _AddGatedMlp.apply(hidden, *norm, *gate, *up, *down, known)  # type: ignore[no-untyped-call]
        return result
    # Nothing between is needed: activation, product and sum are left to oneDNN.
    rows, _ = scaled_to_one(hidden, norm.epsilon)
    gated = product(rows, gate.weight * norm.weight, gate.bias, activation="swish")
    inner = product_with(rows, up.weight * norm.weight, gated, "mul", up.bias)
    return product_with(inner, down.weight, hidden, "add", down.bias)


def gated_mlp_parts(hidden: Tensor, norm: Norm, gate: Weights, up: Weights, down: Weights) -> KnownMlp:
    """As ``add_gated_mlp``, with what stands between and without gradient."""
    rows, _ = scaled_to_one(hidden, norm.epsilon)
    gated = product(rows, gate.weight * norm.weight, gate.bias)
    raised = product(rows, up.weight * norm.weight, up.bias)
    inner = torch.nn.functional.silu(gated).mul_(raised)
    return KnownMlp(gated, raised, product_with(inner, down.weight, hidden, "add", down.bias))


def half_negative(sine: Tensor) -> Tensor:
    """Sines [..., d] as ``turn_heads`` takes them: the turn swaps the halves and changes the sign of the first."""
    half = sine.shape[-1] // 2
    return torch.cat((-sine[..., :half], sine[..., half:]), dim=-1)


def turn_heads(heads: Tensor, cosine: Tensor, sine: Tensor) -> None:
    """Turns ``heads`` [N, heads, d] in place by cosines and, from ``half_negative``, sines [N, 1, d]."""
    swapped = _swapped(heads)
    heads.mul_(cosine).addcmul_(swapped, sine)


def scaled_to_one(hidden: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """([N, H] with a root mean square of 1, the factors [N, 1])."""
    norms = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
    factors = norms.square_().div_(hidden.shape[-1]).add_(epsilon).rsqrt_()
    return hidden * factors, factors


def _scaled_to_one_backward(gradient: Tensor, scaled: Tensor, factors: Tensor) -> Tensor:
    """The gradient of ``scaled_to_one`` for the states; overwrites ``gradient``."""
    along = torch.linalg.vecdot(gradient, scaled).unsqueeze_(-1).div_(-scaled.shape[-1])
    return gradient.addcmul_(scaled, along).mul_(factors)


class _NormedHeads(torch.autograd.Function):
    """``normed_heads`` of one joined layer, with cosines and half negative sines [N, 1, d]."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        norm_weight: Tensor,
        epsilon: float,
        weight: Tensor,
        bias: Tensor | None,
        cosine: Tensor,
        sine: Tensor,
        sizes: tuple[int, int],
        known: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        scaled, factors = scaled_to_one(hidden, epsilon)
        num_heads, num_key_heads = sizes
        num_known = 0 if known is None else len(known)
        ctx.save_for_backward(scaled, factors, norm_weight, weight, cosine, sine)

        def compute(rows: Tensor) -> Tensor:
            projected = product(rows, weight * norm_weight, bias)
            turning = projected.view(len(rows), num_heads + 2 * num_key_heads, -1)[:, : num_heads + num_key_heads]
            turn_heads(turning, cosine[num_known:], sine[num_known:])
            return projected

        by_head = completed(known, scaled, compute).view(len(hidden), num_heads + 2 * num_key_heads, -1)
        return (
            by_head[:, :num_heads],
            by_head[:, num_heads : num_heads + num_key_heads],
            by_head[:, num_heads + num_key_heads :],
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_query: Tensor, to_key: Tensor, to_value: Tensor) -> tuple[Tensor | None, ...]:
        scaled, factors, norm_weight, weight, cosine, sine = ctx.saved_tensors
        num_heads, num_key_heads = to_query.shape[1], to_key.shape[1]
        to_heads = to_query.new_empty(len(to_query), num_heads + 2 * num_key_heads, to_query.shape[-1])
        for gradient, part in (
            (to_query, to_heads[:, :num_heads]),
            (to_key, to_heads[:, num_heads : num_heads + num_key_heads]),
        ):
            torch.addcmul(_swapped(gradient * sine), gradient, cosine, out=part)
        to_heads[:, num_heads + num_key_heads :] = to_value
        to_projected = to_heads.flatten(1)
        to_norm, to_weight = _through_norm(to_projected.t() @ scaled, norm_weight, weight)
        to_scaled = product(to_projected, (weight * norm_weight).t())
        to_hidden = _scaled_to_one_backward(to_scaled, scaled, factors)
        to_bias = to_projected.sum(dim=0) if ctx.needs_input_grad[4] else None
        return to_hidden, to_norm, None, to_weight, to_bias, None, None, None, None


def _through_norm(to_product: Tensor, norm_weight: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """From the gradient of weight * norm weight, those of norm weight and weight; overwrites it."""
    # Not by einsum, which would call one product for each column.
    return (to_product * weight).sum(dim=0), to_product.mul_(norm_weight)


class _AddLinear(torch.autograd.Function):
    """``add_linear``."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, rows: Tensor, weight: Tensor, bias: Tensor | None, known: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(rows, weight)
        num_known = 0 if known is None else len(known)
        return completed(known, rows, lambda fresh: product_with(fresh, weight, hidden[num_known:], "add", bias))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        to_bias = gradient.sum(dim=0) if ctx.needs_input_grad[3] else None
        return gradient, product(gradient, weight.t()), gradient.t() @ rows, to_bias, None


class _AddGatedMlp(torch.autograd.Function):
    """``add_gated_mlp``."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        norm_weight: Tensor,
        epsilon: float,
        gate_weight: Tensor,
        gate_bias: Tensor | None,
        up_weight: Tensor,
        up_bias: Tensor | None,
        down_weight: Tensor,
        down_bias: Tensor | None,
        known: KnownMlp | None,
    ) -> Tensor:
        scaled, factors = scaled_to_one(hidden, epsilon)
        num_known = 0 if known is None else len(known.output)
        gate = completed(known and known.gate, scaled, lambda rows: product(rows, gate_weight * norm_weight, gate_bias))
        up = completed(known and known.up, scaled, lambda rows: product(rows, up_weight * norm_weight, up_bias))
        ctx.save_for_backward(scaled, factors, norm_weight, gate_weight, up_weight, down_weight, gate, up)

        def output(rows: Tensor) -> Tensor:
            inner = torch.nn.functional.silu(gate[num_known:]).mul_(up[num_known:])
            return product_with(inner, down_weight, rows, "add", down_bias)

        return completed(known and known.output, hidden, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scaled, factors, norm_weight, gate_weight, up_weight, down_weight, gate, up = ctx.saved_tensors
        to_inner = product(gradient, down_weight.t())
        activated = torch.nn.functional.silu(gate)
        to_down = gradient.t() @ (activated * up)
        to_up = activated.mul_(to_inner)
        to_gate = torch.ops.aten.silu_backward(to_inner.mul_(up), gate)
        to_scaled = product_with(
            to_gate, (gate_weight * norm_weight).t(), product(to_up, (up_weight * norm_weight).t()), "add"
        )
        norm_by_gate, to_gate_weight = _through_norm(to_gate.t() @ scaled, norm_weight, gate_weight)
        norm_by_up, to_up_weight = _through_norm(to_up.t() @ scaled, norm_weight, up_weight)
        _, _, _, _, gate_has_bias, _, up_has_bias, _, down_has_bias, _ = ctx.needs_input_grad
        return (
            _scaled_to_one_backward(to_scaled, scaled, factors).add_(gradient),
            norm_by_gate + norm_by_up,
            None,
            to_gate_weight,
            to_gate.sum(dim=0) if gate_has_bias else None,
            to_up_weight,
            to_up.sum(dim=0) if up_has_bias else None,
            to_down,
            gradient.sum(dim=0) if down_has_bias else None,
            None,
        )


def _swapped(heads: Tensor) -> Tensor:
    """The two halves of the last dimension in the other order."""
    half = heads.shape[-1] // 2
    return torch.cat((heads[..., half:], heads[..., :half]), dim=-1)
