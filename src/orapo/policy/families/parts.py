"""The parts that every vision-language model has: what sees, what joins it to the words, what writes."""

from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from orapo.errors import CheckpointError
from orapo.policy.settings import Trainable


def layers(model: nn.Module) -> Iterator[nn.Module]:
    """The transformer layers of vision tower and language model, which processes may share out."""
    for child in model.children():
        if isinstance(child, GradientCheckpointingLayer):
            yield child
        else:
            yield from layers(child)


def image_modules(model: Any) -> Iterator[nn.Module]:
    """Every module outside the language model."""
    writes = set(model.get_decoder().modules())
    return (module for module in model.modules() if module not in writes)


def image_weights(model: Any) -> dict[str, nn.Parameter]:
    """By name, all weights that make image features: vision tower and projection."""
    written = {id(weight) for weight in model.get_decoder().parameters()}
    written |= {id(weight) for weight in model.get_output_embeddings().parameters()}
    return {name: weight for name, weight in model.named_parameters() if id(weight) not in written}


def freeze_others(model: Any, trainable: Trainable) -> None:
    """Leaves only these weights to train.

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
    """Of the image weights those that bring a tower's features to the language model's width."""
    tower = {id(weight) for weight in model.get_encoder(modality="image").parameters()}
    # Qwen's projections stand inside its tower.
    return {n: w for n, w in image_weights(model).items() if id(w) not in tower or "merger" in n}
