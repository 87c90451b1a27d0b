"""What differs between architectures, one small file each; the rest of the policy knows no architecture."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from orapo.batches import StudyBatch
from orapo.policy.families.qwen_vl import QwenVl


class ModelFamily(Protocol):
    """Image features, positions and masks of one architecture; it holds no weights and no state.

    Attributes:
        model_class: with ``from_pretrained``.
        image_processor_class: likewise; it must not need torchvision.
    """

    model_class: Any
    image_processor_class: Any

    def vision_tower(self, model: Any) -> nn.Module:
        """What turns pixels into image features."""
        ...

    def layers(self, model: Any) -> Iterable[nn.Module]:
        """The transformer layers of vision tower and language model, which processes may share out."""
        ...

    def encode_images(self, model: Any, batch: StudyBatch) -> Sequence[Tensor]:
        """Per image of the batch [image tokens, H]."""
        ...

    def is_image(self, model: Any, input_ids: Tensor) -> Tensor:
        """Bool, of the ids' shape: True at the placeholders that image features replace."""
        ...

    def prompt_positions(self, model: Any, batch: StudyBatch) -> tuple[Tensor, ...]:
        """B tensors [axes, P_i], int64: a completion continues at their maximum + 1, equal on all axes."""
        ...

    def last_states(self, model: Any, embeddings: Tensor, positions: Tensor, attention: object) -> Tensor:
        """The language model over one packed row.

        Args:
            model: of this family.
            embeddings: [M, H].
            positions: [axes, M], int64.
            attention: a ``RowAttention``, which stands where the mask of every layer would.

        Returns:
            [M, H], the states that predict.
        """
        ...

    def last_states_of_rows(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, is_image: Tensor, batch: StudyBatch
    ) -> Tensor:
        """The model's own forward over R padded rows, each with its study's pixels: [R, L, H]."""
        ...


FAMILIES: Mapping[str, ModelFamily] = {"qwen2_5_vl": QwenVl()}
"""By ``model_type`` of the model's config."""


def family_of(model: Any) -> ModelFamily:
    """The family of a loaded model."""
    return FAMILIES[model.config.model_type]
