"""Prompts as the language model gets them: token embeddings with the image features in place."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from orapo.batches import StudyBatch
from orapo.policy.families import family_of


def vision_trains(model: Any) -> bool:
    """Whether any weight of the vision tower does."""
    return any(parameter.requires_grad for parameter in family_of(model).vision_tower(model).parameters())


def encode_images(model: Any, batch: StudyBatch) -> tuple[Tensor, ...]:
    """Per image [image tokens, H]; without a graph when the tower is frozen."""
    with torch.set_grad_enabled(torch.is_grad_enabled() and vision_trains(model)):
        return tuple(family_of(model).encode_images(model, batch))


def embed_row(model: Any, batch: StudyBatch, branch_ids: Sequence[Tensor] = ()) -> Tensor:
    """All prompts of a batch, then what follows them, as one row of M tokens.

    Args:
        model: of any family.
        batch: B studies; each image is encoded once, unless it was before.
        branch_ids: token ids [T] that stand after the prompts.

    Returns:
        [M, H]: token embeddings, with the image features at the prompts' placeholders.
    """
    prompt_ids = torch.cat(batch.prompt_ids)
    embeddings: Tensor = model.get_input_embeddings()(torch.cat([prompt_ids, *branch_ids]))
    is_image = torch.zeros(len(embeddings), dtype=torch.bool, device=embeddings.device)
    # A placeholder in a completion is a word like any other.
    is_image[: len(prompt_ids)] = family_of(model).is_image(model, prompt_ids)
    features = torch.cat(batch.image_features or encode_images(model, batch))
    return embeddings.masked_scatter(is_image.unsqueeze(-1), features.to(embeddings.dtype))
