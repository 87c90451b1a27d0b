"""``torch.compile`` for the parts of a layer that many small kernels make up: norms and gated MLPs.

Attention stays outside, since a packed row's branches change their number and length in every step; what is compiled
takes rows of any number.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import Qwen2_5_VLForConditionalGeneration

from orapo.errors import SettingError


def compile_layers(model: Qwen2_5_VLForConditionalGeneration) -> None:
    """Compiles, when they are first called, the norms and the MLP of every decoder layer and vision block.

    In place: weights keep their names. A deep copy is not compiled.

    Raises:
        SettingError: this machine has nothing to compile with.
    """
    _require_compiler()
    for layer in model.model.language_model.layers:
        _compile(layer.input_layernorm, layer.post_attention_layernorm, layer.mlp)
    for block in model.model.visual.blocks:
        _compile(block.norm1, block.norm2, block.mlp)


def is_compiled(module: nn.Module) -> bool:
    """Whether calls of this module itself are compiled."""
    return module._compiled_call_impl is not None


def are_layers_compiled(model: Qwen2_5_VLForConditionalGeneration) -> bool:
    """Whether ``compile_layers`` has been here."""
    return is_compiled(model.model.language_model.layers[0].mlp)


@contextmanager
def uncompiled(model: Qwen2_5_VLForConditionalGeneration) -> Iterator[None]:
    """Within, everything runs as it is written: for the few rows of a decoding step a compiled call costs more."""
    if not are_layers_compiled(model):
        # Without the import of the compiler, which takes seconds.
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def _require_compiler() -> None:
    """Before anything is sampled: torch itself asks when the first layer is called."""
    if torch.cuda.is_available():
        # Kernels for a GPU come another way.
        return
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise SettingError("model.compile is true; it must be false where there is no C++ compiler (g++)") from error


def _compile(*modules: Any) -> None:
    for module in modules:
        module.compile(dynamic=True)
