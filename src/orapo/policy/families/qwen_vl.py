"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: features per merged patch, rotary positions on three axes (M-RoPE), DeepStack."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from orapo.batches import StudyBatch
from orapo.policy.families.general import Features


class QwenVl:
    """See ``SharedPrefix``."""

    def encode_images(self, model: Any, batch: StudyBatch) -> tuple[Features, ...]:
        """Per study [merged patches, H], and as many again for each level of DeepStack."""
        counts = [len(inputs.get("image_grid_thw", ())) for inputs in batch.image_inputs]
        if not any(counts):
            return ((),) * len(batch)
        encoded = model.base_model.get_image_features(
            batch.joined("pixel_values"), batch.joined("image_grid_thw"), return_dict=True
        )
        levels = [encoded.pooler_output, *(getattr(encoded, "deepstack_features", None) or ())]
        studies = zip(*(_by_study(images, [count for count in counts if count]) for images in levels), strict=True)
        return tuple(next(studies) if count else () for count in counts)

    def is_image(self, model: Any, input_ids: Tensor) -> Tensor:
        """True at ``<|image_pad|>``, one for each merged patch."""
        token_id: int = model.config.image_token_id
        return input_ids == token_id

    def prompt_positions(self, model: Any, batch: StudyBatch) -> tuple[Tensor, ...]:
        """B tensors [3, P_i]: temporal, height and width positions."""
        known: dict[tuple[int, ...], Tensor] = {}
        positions = []
        for ids, inputs in zip(batch.prompt_ids, batch.image_inputs, strict=True):
            is_image, grid = self.is_image(model, ids).int(), inputs.get("image_grid_thw")
            # Positions depend on where the images stand and how large they are, not on the words: studies share them.
            key = (*is_image.tolist(), *(() if grid is None else grid.flatten().tolist()))
            if key not in known:
                index, _ = model.base_model.get_rope_index(ids[None], is_image[None], image_grid_thw=grid)
                known[key] = index[:, 0]
            positions.append(known[key])
        return tuple(positions)

    def last_states(
        self, model: Any, embeddings: Tensor, positions: Tensor, attention: object, levels: Mapping[str, Any]
    ) -> Tensor:
        """Runs the language model alone: our attention reads ``row_attention`` and needs no mask."""
        states: Tensor = model.base_model.language_model(
            inputs_embeds=embeddings[None],
            position_ids=positions.unsqueeze(1),
            row_attention=attention,
            use_cache=False,
            **levels,
        ).last_hidden_state[0]
        return states

    def further_levels(self, is_image: Tensor, features: Sequence[Features]) -> Mapping[str, Any]:
        """DeepStack's levels, which the first layers add to the states of the images."""
        _, *levels = (torch.cat(level) for level in zip(*features, strict=True))
        return {"visual_pos_masks": is_image[None], "deepstack_visual_embeds": levels} if levels else {}


def _by_study(images: Sequence[Tensor], counts: Sequence[int]) -> list[Tensor]:
    """Splits the features of all images by study, each of which has ``counts`` images."""
    rest = iter(images)
    return [torch.cat([next(rest) for _ in range(count)]) for count in counts]
