"""Image features of a frozen vision tower: computed at a study's first visit, then kept."""

from typing import Any

from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from orapo.batches import StudyBatch
from orapo.policy.families.general import Features
from orapo.policy.families.parts import image_modules
from orapo.policy.prompts import encode_images

MAX_FEATURE_BYTES = 2**30
"""1 GB of the computer's memory, in which a 448-pixel image of the 3B model takes 1 to 2 MB.

Studies that no longer fit are encoded each time.
"""

_Key = tuple[str, tuple[tuple[int, ...], ...], float]


class FrozenFeatures:
    """The features of all studies visited so far, kept over all passes over the data.

    A study is identified by its id, the shapes of its image inputs and their sum: other pixels are encoded again.
    """

    def __init__(self) -> None:
        self._kept: dict[_Key, Features] = {}
        self._num_bytes = 0

    def of(self, model: Any, batch: StudyBatch) -> tuple[Features, ...] | None:
        """Features per study, on the batch's device; None where the model's class takes only pixels.

        Args:
            model: in eval mode, with frozen image weights, the same at every call; call under ``torch.no_grad``.
            batch: B studies.
        """
        features: list[Features] = []
        for place in range(len(batch)):
            # Study by study, so that its features do not depend on what it came up with: a resumed run has the same.
            study = batch.select([place])
            tensors = study.image_inputs[0].values()
            key = (study.studies[0].study_id, tuple(map(_shape, tensors)), sum(float(t.sum()) for t in tensors))
            found = self._kept.get(key)
            if found is None:
                encoded = encode_images(model, study)
                if encoded is None:
                    return None
                found = encoded[0]
                self._keep(key, found)
            features.append(tuple(one.to(batch.device) for one in found))
        return tuple(features)

    def forget(self) -> None:
        """Drops the features of all studies."""
        self._kept.clear()
        self._num_bytes = 0

    def _keep(self, key: _Key, features: Features) -> None:
        num_bytes = self._num_bytes + sum(one.nbytes for one in features)
        if num_bytes <= MAX_FEATURE_BYTES:
            self._kept[key] = tuple(one.cpu() for one in features)
            self._num_bytes = num_bytes


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def is_shared_out(model: Any) -> bool:
    """Whether each process holds a share of the vision tower: by its modules, since weights are whole at times.

    Then the processes encode together, in the same passes, whatever each of them knows.
    """
    return any(isinstance(module, FSDPModule) for module in image_modules(model))
