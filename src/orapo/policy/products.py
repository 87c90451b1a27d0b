"""Matrix products on a CPU in float32 by oneDNN, which torch carries but asks for other number formats only.

Beside the library that torch calls for float32, oneDNN takes less time for products of many rows and up to half for the
few rows of decoding, where weights can be laid out for it beforehand. Results differ by rounding.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_IS_BUILT: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def has_onednn(weight: Tensor) -> bool:
    """Whether products with this weight can be handed to oneDNN: float32 on a CPU, outside autocast."""
    is_plain = type(weight) in (Tensor, nn.Parameter) and weight.device.type == "cpu" and weight.dtype == torch.float32
    return is_plain and _IS_BUILT and not torch.is_autocast_enabled("cpu")


def packed_weight(weight: Tensor, num_rows: int) -> Tensor:
    """A copy of ``weight`` [out, in] in the layout that oneDNN wants for products with ``num_rows`` rows."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), num_rows)
    return packed


def product(rows: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none") -> Tensor:
    """[N, in] by a plain or packed [out, in]: [N, out], without gradient; activation: "none" or "swish"."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, activation, [], "")
    return result


def product_with(rows: Tensor, weight: Tensor, other: Tensor, operation: str, bias: Tensor | None = None) -> Tensor:
    """``product(rows, weight, bias)`` "add" or "mul" ``other`` [N, out], in one pass."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise.binary(rows, other, weight, bias, operation)
    return result


def completed(known: Tensor | None, rows: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """``known`` for the first rows, and what ``compute`` gives for the others."""
    if known is None:
        return compute(rows)
    return known if len(known) == len(rows) else torch.cat([known, compute(rows[len(known) :])])


class _Linear(torch.autograd.Function):
    """x W^T + b with its gradients, each a product."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return product(rows, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        to_rows, to_weight, to_bias = ctx.needs_input_grad
        return (
            product(gradient, weight.t()) if to_rows else None,
            # The one product of the three at which torch's own library is as fast.
            gradient.t() @ rows if to_weight else None,
            gradient.sum(dim=0) if to_bias else None,
        )


class OneDnnLinear(nn.Linear):
    """A linear layer whose products are oneDNN's wherever they can be; its weights and their names are as ever."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        # The compiler has its own ways with a product, and cannot follow into oneDNN's.
        if torch.compiler.is_compiling() or input.dtype != torch.float32 or not has_onednn(self.weight):
            return super().forward(input)
        rows = input.reshape(-1, self.in_features)
        result: Tensor = _Linear.apply(rows, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return result.view(*input.shape[:-1], self.out_features)


def use_onednn(model: nn.Module) -> None:
    """Lets all linear layers of ``model`` take their products from oneDNN where they can.

    By class, not by a patched method: a copy of the model (the frozen reference) must use its own weights.
    """
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = OneDnnLinear
