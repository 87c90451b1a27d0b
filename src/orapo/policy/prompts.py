"""Prompts inside the model: rotary positions, and embeddings with the image features in place."""

import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from orapo.batches import StudyBatch


def prompt_positions(model: Qwen2_5_VLForConditionalGeneration, batch: StudyBatch) -> tuple[Tensor, ...]:
    """B tensors [3, P_i], int64: the model's own M-RoPE positions of each prompt."""
    image_token = model.config.image_token_id
    grids = torch.split(batch.image_grid_thw, list(batch.images_per_study))
    known: dict[tuple[int, ...], Tensor] = {}
    positions = []
    for ids, grid in zip(batch.prompt_ids, grids, strict=True):
        is_image = (ids == image_token).int()
        # Positions depend on where the images stand and how large they are, not on the words: studies share them.
        key = (*is_image.tolist(), *grid.flatten().tolist())
        if key not in known:
            index, _ = model.model.get_rope_index(ids[None], is_image[None], image_grid_thw=grid)
            known[key] = index[:, 0]
        positions.append(known[key])
    return tuple(positions)


def vision_trains(model: Qwen2_5_VLForConditionalGeneration) -> bool:
    """Whether any weight of the vision tower does."""
    return any(parameter.requires_grad for parameter in model.model.visual.parameters())


def encode_images(model: Qwen2_5_VLForConditionalGeneration, batch: StudyBatch) -> tuple[Tensor, ...]:
    """Per image [image tokens, H]; without a graph when the tower is frozen."""
    with torch.set_grad_enabled(torch.is_grad_enabled() and vision_trains(model)):
        encoded = model.model.get_image_features(batch.pixel_values, batch.image_grid_thw, return_dict=True)
    return tuple(encoded.pooler_output)


def image_features(model: Qwen2_5_VLForConditionalGeneration, batch: StudyBatch) -> Tensor:
    """[image tokens over the batch, H]: each image is encoded once, or was before."""
    return torch.cat(batch.image_features or encode_images(model, batch))


def embed(model: Qwen2_5_VLForConditionalGeneration, input_ids: Tensor, is_prompt: Tensor, features: Tensor) -> Tensor:
    """[B, L, H]: token embeddings, with the image features at the prompts' image placeholders in row order."""
    embeddings: Tensor = model.get_input_embeddings()(input_ids)
    is_image = (input_ids == model.config.image_token_id) & is_prompt
    return embeddings.masked_scatter(is_image.unsqueeze(-1), features.to(embeddings.dtype))
