"""Any architecture, by its public forward: a row for each completion, with its prompt repeated before it.

Nothing is padded on the left, and no padding is seen by a token that counts: no masks, and no positions of our own.
The logits are those of the forward, since some classes scale or cap them after the output embedding.
"""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_outputs import BaseModelOutputWithPooling

from orapo.batches import StudyBatch

Features = tuple[Tensor, ...]
"""One study's images as the language model takes them: [N, H] for its N placeholders, and again for each further level
(DeepStack); [1, N, H] where the model's class takes a tensor, not a list of tensors. Empty without images."""

_PIXELS = ("pixel_values", "pixel_values_images", "image_patches")


def encode_images(model: Any, batch: StudyBatch) -> tuple[Features, ...] | None:
    """Features per study, one pass each; None where the model's class takes only pixels."""
    if "mm_encoder_outputs" not in signature(model.forward).parameters:
        return None
    encode = model.base_model.get_image_features
    names = signature(encode).parameters
    features: list[Features] = []
    for inputs in batch.image_inputs:
        if not any(name in inputs for name in _PIXELS):
            features.append(())
            continue
        encoded = encode(**{name: value for name, value in inputs.items() if name in names}, return_dict=True)
        levels = [encoded.pooler_output, *(getattr(encoded, "deepstack_features", None) or ())]
        if not all(isinstance(level, Tensor) or isinstance(level[0], Tensor) for level in levels):
            return None
        features.append(tuple(_flat(level) for level in levels))
    return tuple(features)


def forward_rows(model: Any, batch: StudyBatch, rows: Sequence[int], ids: Sequence[Tensor], **options: Any) -> Any:
    """The model's forward over R rows.

    Args:
        model: of any architecture.
        batch: the studies, with their image features where they must not be computed again.
        rows: [R], the study of each row.
        ids: R tensors [L_r], prompt and completion; the shorter rows end in padding.
        options: of the forward.

    Returns:
        The model's output, of R rows.
    """
    # Any token will do as padding: no other token attends to it.
    input_ids = pad_sequence(list(ids), batch_first=True, padding_value=int(ids[0][-1]))
    repeated = batch.select(rows)
    known = () if batch.image_features is None else _PIXELS
    names = dict.fromkeys(name for one in repeated.image_inputs for name in one if name not in known)
    inputs: dict[str, Any] = {name: repeated.joined(name) for name in names}
    for name, value in inputs.items():
        if name.endswith("token_type_ids"):
            missing = input_ids.shape[1] - value.shape[1]
            inputs[name] = torch.nn.functional.pad(value, (0, missing))
    if any(repeated.image_features or ()):
        inputs["mm_encoder_outputs"] = {"image": _encoder_output([one for one in repeated.image_features or () if one])}
    return model(input_ids=input_ids, **inputs, **options)


def _flat(images: Any) -> Tensor:
    if isinstance(images, Tensor):
        return images.reshape(1, -1, images.shape[-1])
    return torch.cat([one.reshape(-1, one.shape[-1]) for one in images])


def _encoder_output(features: Sequence[Features]) -> BaseModelOutputWithPooling:
    """All rows' features, one row after another, as the model's own encoder hands them to its forward."""
    joined = [torch.cat(level, dim=-2) for level in zip(*features, strict=True)]
    pooled, *levels = [level if level.ndim == 3 else [level] for level in joined]
    output = BaseModelOutputWithPooling(pooler_output=pooled)
    output.deepstack_features = levels
    return output
