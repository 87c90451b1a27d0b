"""Tensor-level records that pass between data, policy and training.

Rows are ragged on purpose: a study's prompt and each completion are one-dimensional tensors of their own length, so
that nothing downstream can mistake padding for text. Whoever needs a rectangle pads, and keeps the mask beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from orapo.records import Study


@dataclass(frozen=True)
class StudyBatch:
    """B studies, ready for the policy.

    Attributes:
        studies: the text-level records, length B.
        prompt_ids: B tensors [P_i], int64; image placeholders already expanded to one token per merged patch.
        pixel_values: [sum of patches over all images, patch_dim], float32, images in order of study, then view.
        image_grid_thw: [sum of images, 3], int64: temporal, height and width patches of each image.
        images_per_study: length B.
        oracle_ids: B tensors [S_i], int64: the oracle report's tokens, closed by EOS; empty where reports are only
            generated.
    """

    studies: tuple[Study, ...]
    prompt_ids: tuple[Tensor, ...]
    pixel_values: Tensor
    image_grid_thw: Tensor
    images_per_study: tuple[int, ...]
    oracle_ids: tuple[Tensor, ...]
    image_features: tuple[Tensor, ...] | None = None

    def __len__(self) -> int:
        return len(self.studies)

    def select(self, indices: Sequence[int]) -> "StudyBatch":
        """The batch of only these studies, in this order; indices in [0, B)."""
        first_image = [0]
        for count in self.images_per_study:
            first_image.append(first_image[-1] + count)
        images = [row for i in indices for row in range(first_image[i], first_image[i + 1])]
        patches = self.image_grid_thw.prod(dim=1).tolist()
        pixels = torch.split(self.pixel_values, patches)
        return StudyBatch(
            studies=tuple(self.studies[i] for i in indices),
            prompt_ids=tuple(self.prompt_ids[i] for i in indices),
            pixel_values=torch.cat([pixels[row] for row in images]),
            image_grid_thw=self.image_grid_thw[images],
            images_per_study=tuple(self.images_per_study[i] for i in indices),
            oracle_ids=tuple(self.oracle_ids[i] for i in indices),
            image_features=None if self.image_features is None else tuple(self.image_features[row] for row in images),
        )

    def to(self, device: torch.device | str) -> "StudyBatch":
        """The same batch with its tensors on ``device``."""
        features = self.image_features
        return replace(
            self,
            prompt_ids=tuple(ids.to(device) for ids in self.prompt_ids),
            pixel_values=self.pixel_values.to(device),
            image_grid_thw=self.image_grid_thw.to(device),
            oracle_ids=tuple(ids.to(device) for ids in self.oracle_ids),
            image_features=None if features is None else tuple(image.to(device) for image in features),
        )


@dataclass(frozen=True)
class RolloutGroup:
    """The K rollouts of one study.

    Attributes:
        texts: K generated reports, special tokens removed.
        token_ids: K tensors [T_k], int64, EOS included where the rollout finished.
        old_logps: K tensors [T_k], float32: log-probability of each token under the policy that sampled it, at the
            sampling temperature, over the whole vocabulary (before tokens are banned and before top-p).
        finished: K booleans: True where the rollout ended with EOS, False where it was cut at the token limit.
    """

    texts: tuple[str, ...]
    token_ids: tuple[Tensor, ...]
    old_logps: tuple[Tensor, ...]
    finished: tuple[bool, ...]
