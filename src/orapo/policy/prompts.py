"""Prompts as the language model receives them: token embeddings with the image features in place."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from orapo.batches import StudyBatch
from orapo.policy.families import SharedPrefix, general, shared_prefix
from orapo.policy.families.general import Features
from orapo.policy.families.parts import image_weights


def vision_trains(model: Any) -> bool:
    """Whether any weight that computes image features trains."""
    return any(weight.requires_grad for weight in image_weights(model).values())


def encode_images(model: Any, batch: StudyBatch) -> tuple[Features, ...] | None:
    """Features per study, without a graph if no image weight trains; None if the model's class takes only pixels."""
    family = shared_prefix(model.config)
    with torch.set_grad_enabled(torch.is_grad_enabled() and vision_trains(model)):
        return family.encode_images(model, batch) if family else general.encode_images(model, batch)


def embed_row(
    family: SharedPrefix, model: Any, batch: StudyBatch, branch_ids: Sequence[Tensor] = ()
) -> tuple[Tensor, Mapping[str, Any]]:
    """All prompts of a batch, then the branches, as one row of M tokens.

    Args:
        family: of the model.
        model: with a shared prefix.
        batch: B studies; each image is encoded once, unless it was before.
        branch_ids: token ids [T] that stand after the prompts.

    Returns:
        [M, H]: token embeddings, with the image features at the prompts' placeholders; and what ``further_levels``
        makes of the features.
    """
    prompt_ids = torch.cat(batch.prompt_ids)
    embeddings: Tensor = model.get_input_embeddings()(torch.cat([prompt_ids, *branch_ids]))
    is_image = torch.zeros(len(embeddings), dtype=torch.bool, device=embeddings.device)
    # A placeholder in a completion is a word like any other.
    is_image[: len(prompt_ids)] = family.is_image(model, prompt_ids)
    features = batch.image_features or encode_images(model, batch)
    assert features is not None
    if not (shown := [one for one in features if one]):
        return embeddings, {}
    pooled = torch.cat([first for first, *_ in shown])
    embedded = embeddings.masked_scatter(is_image.unsqueeze(-1), pooled.to(embeddings.dtype))
    return embedded, family.further_levels(is_image, shown)
