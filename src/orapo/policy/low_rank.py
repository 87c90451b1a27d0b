"""LoRA while sampling: a layer's own product, then its update by two more products in the layer's dtype.

PEFT adds an update in float32, whatever the layer's type: the input and the result are cast there and back, seven
operations for each adapted layer and token. In float32 both ways are the same to rounding. In bfloat16 an update is
rounded here as every product of the layer is; it is not added to the weights, which would lose what is small beside
them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import Linear
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from torch import Tensor, nn


@contextmanager
def short_updates(adapter: Any) -> Iterator[None]:
    """Within the block, the adapter's layers add their updates like this; call under ``torch.no_grad``, in eval mode.

    Args:
        adapter: a ``PeftModel``, or None. One that is more than plain LoRA, or switched off, stays as PEFT computes it.
    """
    layers = [] if adapter is None else [m for m in adapter.modules() if isinstance(m, BaseTunerLayer)]
    if not layers or not all(_is_plain(layer) for layer in layers) or _has_copies(adapter):
        yield
        return
    with adapter.disable_adapter():
        hooks = [layer.register_forward_hook(_updating(layer)) for layer in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _is_plain(layer: Any) -> bool:
    """Whether the layer is linear with one pair of matrices, switched on, and nothing else."""
    if type(layer) is not Linear or layer.merged or layer.disable_adapters or len(layer.active_adapters) != 1:
        return False
    (name,) = layer.active_adapters
    return name in layer.lora_A and name not in layer.lora_variant and layer.lora_B[name].bias is None


def _has_copies(adapter: nn.Module) -> bool:
    """Whether modules train as whole copies, which would be switched off too."""
    return any(isinstance(module, AuxiliaryTrainingWrapper) for module in adapter.modules())


def _updating(layer: Any) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    """A forward hook that adds alpha / rank * B A x to the layer's product."""
    (name,) = layer.active_adapters
    weight = layer.get_base_layer().weight
    kind = weight.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    down = layer.lora_A[name].weight.detach().to(dtype).T
    up = (layer.lora_B[name].weight.detach() * layer.scaling[name]).to(dtype).T

    def add(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        states = inputs[0].flatten(0, -2).to(dtype)
        return torch.addmm(output.flatten(0, -2), states @ down, up).view_as(output)

    return add
