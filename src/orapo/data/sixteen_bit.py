"""PNG files of 16 bits a channel, with all 16 bits: Pillow keeps 8 of them where there is colour or transparency."""

import io
import struct
import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orapo.data.stretch import stretch_ends

Values = NDArray[Any]
Parts = tuple[Values, NDArray[np.float64]]

_GREY_MODES = frozenset({"I", "I;16", "I;16B", "I;16L"})
_IHDR = slice(12, 29)
_RGBA_OF_8_BITS = bytes((8, 6))


def eight_bits(image: Image.Image, file: BinaryIO) -> Image.Image | None:
    """A decoded PNG of 16 bits as RGB of 8 bits, neither turned nor shrunk; None where it has 8 bits or fewer.

    One linear map for all channels takes the darkest value to 0 and the brightest to 255, since many files hold 10, 12
    or 14 bits in 16; outliers are cut off (``stretch_ends``), and a single grey becomes black. What is transparent is
    laid over black and is no part of the map.
    The most opaque pixel counts as opaque, since the alpha of such files has as few bits.

    Args:
        image: as Pillow has decoded it.
        file: the same PNG, to be read again.
    """
    parts = _parts(image, file)
    if parts is None:
        return None
    values, alpha = parts
    shown = values[alpha > 0]
    counts = np.bincount(shown.ravel())
    levels = np.flatnonzero(counts)
    low, high = stretch_ends(levels, counts[levels]) if shown.size else (0.0, 0.0)
    opacity = alpha / max(float(alpha.max()), 1.0)
    scaled = (values.astype(np.float64) - low) * (255.0 / max(high - low, 1.0))
    bits = np.rint(scaled.clip(0, 255) * opacity[..., None]).astype(np.uint8)
    return Image.fromarray(bits.repeat(3, axis=2) if bits.shape[2] == 1 else bits)


def _parts(image: Image.Image, file: BinaryIO) -> Parts | None:
    """Values [height, width, 1 or 3] and alpha [height, width], both in [0, 65535]."""
    hidden = image.info.get("transparency")
    if image.mode in _GREY_MODES:
        grey = np.asarray(image)[..., None]
        return grey, _opaque_but(grey, hidden)
    file.seek(24)
    depth, colour = file.read(2)
    if image.format != "PNG" or depth != 16:
        return None
    if colour == 4:
        pairs = _grey_and_alpha(file).astype(np.uint16)
        grey, alpha = pairs[..., 0] << 8 | pairs[..., 1], pairs[..., 2] << 8 | pairs[..., 3]
        return grey[..., None], alpha.astype(np.float64)
    # Pillow takes the first byte of two, or the second where they are said to be in little-endian order.
    channels = np.asarray(image).astype(np.uint16) << 8 | _second_bytes(file)
    if channels.shape[2] == 4:
        return channels[..., :3], channels[..., 3].astype(np.float64)
    return channels, _opaque_but(channels, hidden)


def _opaque_but(values: Values, hidden: Any) -> NDArray[np.float64]:
    if hidden is None:
        return np.full(values.shape[:2], 65535.0)
    return np.where((values == np.asarray(hidden)).all(axis=2), 0.0, 65535.0)


def _second_bytes(file: BinaryIO) -> Values:
    file.seek(0)
    with Image.open(file, formats=("PNG",)) as image:
        image.tile = [tile._replace(args=str(tile.args).replace(";16B", ";16L")) for tile in image.tile]
        return np.asarray(image)


def _grey_and_alpha(file: BinaryIO) -> Values:
    """The four bytes of each pixel, by a header that calls them the four channels of an 8-bit PNG: the same filters."""
    file.seek(0)
    content = bytearray(file.read())
    content[24:26] = _RGBA_OF_8_BITS
    content[29:33] = struct.pack(">I", zlib.crc32(content[_IHDR]))
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        return np.asarray(image)
