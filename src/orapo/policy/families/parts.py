"""The parts of every vision-language model: vision tower, projection, language model."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from orapo.errors import CheckpointError
from orapo.policy.settings import Trainable


def layers(model: nn.Module) -> Iterator[nn.Module]:
    """The transformer layers of vision tower and language model, the units of sharding."""
    for child in model.children():
        if isinstance(child, GradientCheckpointingLayer):
            yield child
        else:
            yield from layers(child)


def image_modules(model: Any) -> Iterator[nn.Module]:
    writes = set(model.get_decoder().modules())
    return (module for module in model.modules() if module not in writes)


def image_weights(model: Any) -> dict[str, nn.Parameter]:
    """All weights that compute image features, by name: vision tower and projection."""
    written = {id(weight) for weight in model.get_decoder().parameters()}
    written |= {id(weight) for weight in model.get_output_embeddings().parameters()}
    return {name: weight for name, weight in model.named_parameters() if id(weight) not in written}


def freeze_others(model: Any, trainable: Trainable) -> None:
    """Freezes all other weights.

    Args:
        model: freshly loaded.
        trainable: as ``ModelSettings.trainable``.

    Raises:
        CheckpointError: the model has no such weights.
    """
    if trainable == "all":
        return
    image = image_weights(model)
    rest = {name: weight for name, weight in model.named_parameters() if name not in image}
    chosen = {"language": rest, "projector": projection_weights(model), "projector_and_vision": image}[trainable]
    if not chosen:
        raise CheckpointError(f"model.trainable is {trainable!r}, but {type(model).__name__} has no such weights")
    for name, weight in model.named_parameters():
        if name not in chosen:
            weight.requires_grad_(False)


def projection_weights(model: Any) -> dict[str, nn.Parameter]:
    """The image weights that map a tower's features to the language model's width."""
    tower = {id(weight) for weight in model.get_encoder(modality="image").parameters()}
    # Qwen's projections stand inside its tower.
    return {n: w for n, w in image_weights(model).items() if id(w) not in tower or "merger" in n}


def product_weights(model: nn.Module) -> list[nn.Parameter]:
    """Weights and biases of linear layers that no other module holds: they enter products and nothing else.

    A tied embedding isn't one of them, as its rows are looked up as well.
    """
    owners = Counter(id(weight) for module in model.modules() for weight in module.parameters(recurse=False))
    linear = (module for module in model.modules() if isinstance(module, nn.Linear))
    return [weight for module in linear for weight in module.parameters(recurse=False) if owners[id(weight)] == 1]
