"""Qwen2.5-VL: image features per merged patch, rotary positions on three axes (M-RoPE), masks by layer type."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

from orapo.batches import StudyBatch


class QwenVl:
    """See ``ModelFamily``."""

    model_class: Any = Qwen2_5_VLForConditionalGeneration
    image_processor_class: Any = Qwen2VLImageProcessorPil

    def vision_tower(self, model: Any) -> nn.Module:
        """The module that stands beside the language model."""
        tower: nn.Module = model.model.visual
        return tower

    def layers(self, model: Any) -> Iterable[nn.Module]:
        """Vision blocks, then decoder layers."""
        return (*model.model.visual.blocks, *model.model.language_model.layers)

    def encode_images(self, model: Any, batch: StudyBatch) -> Sequence[Tensor]:
        """Per image [merged patches, H]."""
        encoded = model.model.get_image_features(batch.pixel_values, batch.image_grid_thw, return_dict=True)
        features: Sequence[Tensor] = encoded.pooler_output
        return features

    def is_image(self, model: Any, input_ids: Tensor) -> Tensor:
        """True at ``<|image_pad|>``, one for each merged patch."""
        token_id: int = model.config.image_token_id
        return input_ids == token_id

    def prompt_positions(self, model: Any, batch: StudyBatch) -> tuple[Tensor, ...]:
        """B tensors [3, P_i]: temporal, height and width positions."""
        grids = torch.split(batch.image_grid_thw, list(batch.images_per_study))
        known: dict[tuple[int, ...], Tensor] = {}
        positions = []
        for ids, grid in zip(batch.prompt_ids, grids, strict=True):
            is_image = self.is_image(model, ids).int()
            # Positions depend on where the images stand and how large they are, not on the words: studies share them.
            key = (*is_image.tolist(), *grid.flatten().tolist())
            if key not in known:
                index, _ = model.model.get_rope_index(ids[None], is_image[None], image_grid_thw=grid)
                known[key] = index[:, 0]
            positions.append(known[key])
        return tuple(positions)

    def last_states(self, model: Any, embeddings: Tensor, positions: Tensor, attention: object) -> Tensor:
        """The language model alone: masks come ready, and are not built from positions."""
        states: Tensor = model.model.language_model(
            inputs_embeds=embeddings[None],
            position_ids=positions.unsqueeze(1),
            attention_mask={"full_attention": attention},
            use_cache=False,
        ).last_hidden_state[0]
        return states

    def last_states_of_rows(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, is_image: Tensor, batch: StudyBatch
    ) -> Tensor:
        """Everything by the model itself, positions included."""
        states: Tensor = model.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=batch.pixel_values,
            image_grid_thw=batch.image_grid_thw,
            # Without the token types there is no error, only other positions and so other log-probabilities.
            mm_token_type_ids=is_image.int(),
            use_cache=False,
        ).last_hidden_state
        return states
