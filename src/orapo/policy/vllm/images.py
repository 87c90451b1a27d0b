"""From a batch's patches back to the pictures that the policy sees, as data URLs.

The server gets the picture after our resizing, not the file: its sides are whole patches and its size lies within the
limits, so that the server's own image processor leaves it as it is, and both models see the same pixels.
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
    """Per study its pictures, in order.

    Raises:
        SettingError: the image processor does something else than resizing to 8 bits, rescaling and normalising.
    """
    if any("image_grid_thw" not in inputs for inputs in batch.image_inputs):
        raise SettingError(
            "rollouts by a server are for models whose images are patches in a grid, as Qwen's; use rollout=local"
        )
    return tuple(_of_study(inputs, image_processor) for inputs in batch.image_inputs)


def _of_study(inputs: Mapping[str, Tensor], image_processor: Any) -> tuple[Image.Image, ...]:
    grids = inputs["image_grid_thw"]
    pixels = torch.split(inputs["pixel_values"].detach().float().cpu(), grids.prod(dim=1).tolist())
    return tuple(
        Image.fromarray(_levels(each, grid, image_processor)) for each, grid in zip(pixels, grids.tolist(), strict=True)
    )


def data_url(picture: Image.Image) -> str:
    """The picture as lossless PNG in a URL."""
    file = io.BytesIO()
    picture.save(file, format="PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _levels(patches: Tensor, grid: list[int], image_processor: Any) -> NDArray[np.uint8]:
    """[height, width, 3] grey levels from [patches, channels * time * side * side]."""
    _, rows, columns = grid
    merge, side, time = image_processor.merge_size, image_processor.patch_size, image_processor.temporal_patch_size
    # A still image fills all time steps of a patch alike: the first is the image.
    still = patches.view(rows // merge, columns // merge, merge, merge, 3, time, side, side)[:, :, :, :, :, 0]
    image = still.permute(0, 2, 5, 1, 3, 6, 4).reshape(rows * side, columns * side, 3).double()
    mean, std = torch.tensor(image_processor.image_mean), torch.tensor(image_processor.image_std)
    levels = (image * std.double() + mean.double()) / image_processor.rescale_factor
    rounded = levels.round()
    if float((levels - rounded).abs().max()) > _LARGEST_RESIDUAL or rounded.min() < 0 or rounded.max() > 255:
        raise SettingError(
            "the model folder's preprocessor_config.json does more than resize, rescale and normalise, so that its "
            "pictures can't be sent to a server; use rollout=local"
        )
    array: NDArray[np.uint8] = rounded.to(torch.uint8).numpy()
    return array
