"""Tensor-level records that data, policy and training exchange.

Rows are ragged on purpose: a study's prompt and each completion are one-dimensional tensors of their own length, so
that nothing downstream can mistake padding for text. Code that needs a rectangle pads, and keeps the mask beside it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from orapo.records import Study


@dataclass(frozen=True)
class StudyBatch:
    """B studies, ready for the policy.

    Attributes:
        studies: the text-level records, length B.
        messages: B conversations of ``prompt.Prompt``: the words of the prompts, and the places of their images.
        prompt_ids: B tensors [P_i], int64; image placeholders already expanded to one token per image feature.
        image_inputs: B mappings: the processor's output for this study alone, without the ids, by the argument names of
            the model's forward (pixel_values, image_grid_thw, image_sizes, mm_token_type_ids, ...). A study without
            images lacks those of images.
        oracle_ids: B tensors [S_i], int64: the oracle report's tokens, closed by EOS unless it is cut; empty
            where reports are only generated.
        image_features: per study, the vision tower's features of its images, as ``policy.families.general.Features``,
            empty without images; None where each pass computes them.
    """

    studies: tuple[Study, ...]
    messages: tuple[Sequence[Mapping[str, Any]], ...]
    prompt_ids: tuple[Tensor, ...]
    image_inputs: tuple[Mapping[str, Tensor], ...]
    oracle_ids: tuple[Tensor, ...]
    image_features: tuple[tuple[Tensor, ...], ...] | None = None

    def __len__(self) -> int:
        return len(self.studies)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled with one tensor in the place of all.

        A tensor on its way from a process that opens images is two open files there. Many machines allow 1,024, which
        128 studies reached; the process then waited for ever.
        """
        tensors: list[Tensor] = []

        def place_of(tensor: Tensor) -> int:
            tensors.append(tensor)
            return len(tensors) - 1

        plain = _mapped((self.prompt_ids, self.image_inputs, self.oracle_ids, self.image_features), place_of)
        shapes = [(tensor.dtype, tuple(tensor.shape)) for tensor in tensors]
        return _unpacked, (self.studies, self.messages, plain, _packed(tensors), shapes)

    @property
    def device(self) -> torch.device:
        return self.prompt_ids[0].device

    def select(self, indices: Sequence[int]) -> "StudyBatch":
        """The batch of only these studies, in this order; indices in [0, B)."""
        features = self.image_features
        return StudyBatch(
            studies=tuple(self.studies[i] for i in indices),
            messages=tuple(self.messages[i] for i in indices),
            prompt_ids=tuple(self.prompt_ids[i] for i in indices),
            image_inputs=tuple(self.image_inputs[i] for i in indices),
            oracle_ids=tuple(self.oracle_ids[i] for i in indices),
            image_features=None if features is None else tuple(features[i] for i in indices),
        )

    def joined(self, name: str) -> Tensor:
        """One of the ``image_inputs``, concatenated along the first dimension over all studies that have it.

        Where studies differ in their other dimensions (number of images or tiles, height, width, tokens), the smaller
        ones end in zeros, as the processors of transformers pad.
        """
        tensors = [inputs[name] for inputs in self.image_inputs if name in inputs]
        shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
        return torch.cat([_padded(tensor, shape) for tensor in tensors])

    def to(self, device: torch.device | str) -> "StudyBatch":
        """The same batch with its tensors on ``device``."""
        features = self.image_features
        return replace(
            self,
            prompt_ids=tuple(ids.to(device) for ids in self.prompt_ids),
            image_inputs=tuple({name: t.to(device) for name, t in one.items()} for one in self.image_inputs),
            oracle_ids=tuple(ids.to(device) for ids in self.oracle_ids),
            image_features=None if features is None else tuple(tuple(t.to(device) for t in one) for one in features),
        )


def _padded(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Pads every dimension but the first with zeros at the end."""
    if list(tensor.shape[1:]) == list(shape):
        return tensor
    missing = [
        side for size, wanted in zip(tensor.shape[:0:-1], shape[::-1], strict=True) for side in (0, wanted - size)
    ]
    return torch.nn.functional.pad(tensor, missing)


_ALIGNED = 16
"""Bytes; no type of numbers needs more."""


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Tuples and mappings of values, each of which is changed."""
    if isinstance(value, tuple):
        return tuple(_mapped(each, change) for each in value)
    if isinstance(value, Mapping):
        return {name: _mapped(each, change) for name, each in value.items()}
    return None if value is None else change(value)


def _packed(tensors: Sequence[Tensor]) -> Tensor:
    """The bytes of all tensors behind one another, each aligned."""
    parts = [tensor.detach().contiguous().view(-1).view(torch.uint8) for tensor in tensors]
    return torch.cat([pad(part, (0, -len(part) % _ALIGNED)) for part in parts]) if parts else torch.empty(0)


def _unpacked(studies: Any, messages: Any, plain: Any, packed: Tensor, shapes: Sequence[tuple[Any, Any]]) -> StudyBatch:
    tensors, start = [], 0
    for dtype, shape in shapes:
        size = math.prod(shape) * dtype.itemsize
        tensors.append(packed[start : start + size].view(dtype).view(shape))
        start += size + -size % _ALIGNED
    prompt_ids, image_inputs, oracle_ids, image_features = _mapped(plain, tensors.__getitem__)
    return StudyBatch(studies, messages, prompt_ids, image_inputs, oracle_ids, image_features)


@dataclass(frozen=True)
class RolloutGroup:
    """The K rollouts of one study.

    Attributes:
        texts: K generated reports, special tokens removed.
        token_ids: K tensors [T_k], int64, EOS included where the rollout finished.
        old_logps: K tensors [T_k], float32: log-probability of each token under the policy that sampled it, at the
            sampling temperature, over the whole vocabulary (before tokens are banned and before top-p).
        finished: K booleans: True where the rollout ended with EOS, False where it was cut at the token limit.
        sampler_logps: K tensors [T_k], float32, under the model that sampled, at temperature 1 and over the whole
            vocabulary, where that isn't the policy and ``old_logps`` are the policy's; else None.
    """

    texts: tuple[str, ...]
    token_ids: tuple[Tensor, ...]
    old_logps: tuple[Tensor, ...]
    finished: tuple[bool, ...]
    sampler_logps: tuple[Tensor, ...] | None = None

    def to(self, device: torch.device | str) -> "RolloutGroup":
        """The same group with its tensors on ``device``."""
        sampler = self.sampler_logps
        return replace(
            self,
            token_ids=tuple(ids.to(device) for ids in self.token_ids),
            old_logps=tuple(logps.to(device) for logps in self.old_logps),
            sampler_logps=None if sampler is None else tuple(logps.to(device) for logps in sampler),
        )
