"""What differs between architectures, one small file each; the other modules of policy/ name no architecture.

Every model that ``AutoModelForImageTextToText`` loads has the path of ``general``: its own forward, prompts repeated.
A family listed here also computes a prompt once for all its completions, and gives the same values and gradients.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from orapo.batches import StudyBatch
from orapo.policy.families.general import Features
from orapo.policy.families.qwen_vl import QwenVl


class SharedPrefix(Protocol):
    """Image features, positions and layers of one architecture; it holds no weights and no state."""

    def encode_images(self, model: Any, batch: StudyBatch) -> tuple[Features, ...]:
        """Features per study, in one pass over all images of the batch."""
        ...

    def is_image(self, model: Any, input_ids: Tensor) -> Tensor:
        """Bool, of the ids' shape: True at the placeholders that image features replace."""
        ...

    def prompt_positions(self, model: Any, batch: StudyBatch) -> tuple[Tensor, ...]:
        """B tensors [axes, P_i], int64: a completion continues at their maximum + 1, equal on all axes."""
        ...

    def last_states(
        self, model: Any, embeddings: Tensor, positions: Tensor, attention: object, levels: Mapping[str, Any]
    ) -> Tensor:
        """The language model's last hidden states over one packed row.

        Args:
            model: of this family.
            embeddings: [M, H].
            positions: [axes, M], int64.
            attention: a ``RowAttention``, which says who sees whom.
            levels: what ``further_levels`` gave for the row; empty where it holds no images.

        Returns:
            [M, H], the states that predict.
        """
        ...

    def further_levels(self, is_image: Tensor, features: Sequence[Features]) -> Mapping[str, Any]:
        """Arguments of the language model for features that enter after the embeddings.

        Args:
            is_image: [M], bool.
            features: per study that has images, at least one.
        """
        ...


SHARED_PREFIX: Mapping[str, SharedPrefix] = dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl"), QwenVl())
"""By ``model_type`` of the model's config."""


def shared_prefix(config: Any) -> SharedPrefix | None:
    """The family of a model's config; None where only the general path is correct."""
    layer_types = getattr(config.get_text_config(), "layer_types", None) or ()
    # A packed row holds one study after another: a window over its places would not be one over a study's tokens.
    is_windowed = any(layer_type != "full_attention" for layer_type in layer_types)
    return None if is_windowed else SHARED_PREFIX.get(config.model_type)
