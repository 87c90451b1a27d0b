"""Turns a batch's pixels back into the pictures that the policy sees, as data URLs.

The server gets the picture after our resizing, not the file. Its sides are as the model wants them, so that the
server's own resizing leaves it as it is, and both see the same pixels, if the server allows its number of pixels. The
model folder's own limits may be too narrow for that: where they are close together, a resized picture lies outside.
"""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from orapo.batches import StudyBatch
from orapo.errors import SettingError

_LARGEST_RESIDUAL = 0.1
"""Of 255 grey levels; rounding errors of the normalisation stay below 0.001."""


def study_pictures(batch: StudyBatch, image_processor: Any) -> tuple[tuple[Image.Image, ...], ...]:
    """The pictures of each study, in order; none for a study without images.

    Raises:
        SettingError: the image processor does something else than resizing to 8 bits, rescaling and normalising.
    """
    counts = [sum(part["type"] == "image" for turn in told for part in turn["content"]) for told in batch.messages]
    return tuple(
        tuple(
            Image.fromarray(_levels(picture, image_processor)) for picture in _pictures(inputs, count, image_processor)
        )
        for inputs, count in zip(batch.image_inputs, counts, strict=True)
    )


def _pictures(inputs: Mapping[str, Tensor], count: int, image_processor: Any) -> list[Tensor]:
    """The normalised pictures of a study, [3, height, width] each."""
    if count == 0:
        return []
    pixels = inputs["pixel_values"].detach().cpu().double()
    if "image_grid_thw" in inputs:
        grids = inputs["image_grid_thw"]
        patches = torch.split(pixels, grids.prod(dim=1).tolist())
        return [_joined(each, grid, image_processor) for each, grid in zip(patches, grids.tolist(), strict=True)]
    if pixels.ndim == 4 and len(pixels) == count:
        return list(pixels)
    raise SettingError(
        "rollouts by a server are for models that see each image as one picture, as Qwen's and Gemma 3 do; this one "
        "cuts images into tiles: use rollout=local"
    )


def limits_on_server(image_processor: Any) -> tuple[int, int] | None:
    """The least and most pixels that a server must allow, so that no picture of ``study_pictures`` is resized again.

    None for a model all of whose pictures have one size.
    """
    if "longest_edge" not in dict(image_processor.size):
        return None
    side = image_processor.patch_size * image_processor.merge_size
    # A picture that is enlarged to the least size may pass the largest one by the rounding of its sides.
    return side * side, 4 * image_processor.size["longest_edge"]


def data_url(picture: Image.Image) -> str:
    """The picture as a data URL of a lossless PNG."""
    file = io.BytesIO()
    picture.save(file, format="PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _joined(patches: Tensor, grid: list[int], image_processor: Any) -> Tensor:
    """[3, height, width] from [patches, channels * time * side * side]."""
    _, rows, columns = grid
    merge, side, time = image_processor.merge_size, image_processor.patch_size, image_processor.temporal_patch_size
    # A still image fills all time steps of a patch alike: the first is the image.
    still = patches.view(rows // merge, columns // merge, merge, merge, 3, time, side, side)[:, :, :, :, :, 0]
    return still.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, rows * side, columns * side)


def _levels(picture: Tensor, image_processor: Any) -> NDArray[np.uint8]:
    """[height, width, 3] grey levels from a normalised picture [3, height, width]."""
    mean, std = (
        torch.tensor(values, dtype=torch.float64) for values in (image_processor.image_mean, image_processor.image_std)
    )
    levels = (picture.permute(1, 2, 0) * std + mean) / image_processor.rescale_factor
    rounded = levels.round()
    if float((levels - rounded).abs().max()) > _LARGEST_RESIDUAL or rounded.min() < 0 or rounded.max() > 255:
        raise SettingError(
            "the model folder's preprocessor_config.json does more than resize, rescale and normalise, so that its "
            "pictures can't be sent to a server; use rollout=local"
        )
    array: NDArray[np.uint8] = rounded.to(torch.uint8).numpy()
    return array
