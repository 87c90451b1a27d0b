"""Image files as 8-bit RGB pictures that are fully decoded and no larger than needed."""

import struct
import zlib
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from pydantic import Field

from orapo.data.dicom import MAGIC, MAGIC_START, open_dicom, require_pydicom
from orapo.errors import DataError

ACCEPTED = "PNG (8 or 16 bit) and JPEG, as .png, .jpg or .jpeg; DICOM, as .dcm, .dicom or without an ending"
"""What can be opened, for error messages."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
_SIXTEEN_BIT_MODES = frozenset({"I", "I;16", "I;16B", "I;16L"})

MAX_PIXELS = 80_000_000
"""Four times the largest radiograph in the public sets; anything above is a broken header or a decompression bomb."""

MAX_ASPECT_RATIO = 20
"""Longer side by shorter; vision encoders refuse strips, and no radiograph is one."""

LongestSide = Annotated[int, Field(ge=32, le=8192)]
"""In pixels, that images are shrunk to."""

_DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error, zlib.error)


def check_image_name(path: str | Path, *, study_id: str) -> None:
    """Looks at the file name only, so that a whole table can be checked before the first image is needed.

    Raises:
        DataError: the ending is not one of those accepted, or it is DICOM and pydicom isn't installed.
    """
    suffix = Path(path).suffix.lower()
    if suffix in DICOM_SUFFIXES:
        try:
            require_pydicom()
        except DataError as error:
            raise DataError(f"study {study_id}: image {path} {error}") from error
    elif suffix not in SUFFIXES and not _is_dicom_name(path):
        raise DataError(f"study {study_id}: image {path} ends in {suffix!r}. Accepted: {ACCEPTED}")


def load_image(path: str | Path, *, study_id: str, longest_side: int) -> Image.Image:
    """Opens and decodes one image of a study.

    A PNG or JPEG is turned upright as its EXIF orientation says. 16-bit grey is mapped linearly, its darkest value to 0
    and its brightest to 255, since many files hold 12 bits in 16 (a single grey becomes black). Transparent pixels are
    laid over black. A DICOM file, whatever it is called, is shown as ``DicomImage.picture`` says. Images are shrunk
    with their aspect ratio kept, never enlarged.

    Args:
        path: a PNG, JPEG or DICOM file.
        study_id: for error messages.
        longest_side: upper limit of width and height, in pixels, in [32, 8192].

    Returns:
        Mode RGB, 8 bits a channel, independent of the file.

    Raises:
        DataError: the file is missing, empty, truncated, damaged, of another format, too large or a narrow strip; or
            DICOM with several frames, without pixels or in a compression that can't be read here.
    """
    check_image_name(path, study_id=study_id)
    try:
        with open(path, "rb") as file:
            return _open(file, path, longest_side)
    except FileNotFoundError as error:
        raise DataError(f"study {study_id}: there is no image {path}") from error
    except (DataError, Image.DecompressionBombError) as error:
        raise DataError(f"study {study_id}: image {path} {_problem(error)}. Accepted: {ACCEPTED}") from error
    except UnidentifiedImageError as error:
        raise DataError(f"study {study_id}: image {path} is neither PNG nor JPEG. Accepted: {ACCEPTED}") from error
    except _DECODING_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"study {study_id}: image {path} is truncated or damaged ({reason}). Accepted: {ACCEPTED}"
        ) from error


def _is_dicom_name(path: str | Path) -> bool:
    """Whether a file of this name is taken for DICOM: scanners name files IM0001, or by a UID of numbers and dots."""
    suffix = Path(path).suffix.lower()
    return suffix in DICOM_SUFFIXES or not suffix or suffix[1:].isdigit()


def _open(file: BinaryIO, path: str | Path, longest_side: int) -> Image.Image:
    head = file.read(MAGIC_START + len(MAGIC))
    if not head:
        raise DataError("is empty (0 bytes)")
    file.seek(0)
    if head[MAGIC_START:] == MAGIC or _is_dicom_name(path):
        dicom = open_dicom(file)
        _check_size(*dicom.size)
        return _shrink(dicom.picture(), longest_side)
    with Image.open(file, formats=("PNG", "JPEG")) as image:
        _check_size(*image.size)
        return _decode(image, longest_side)


def _problem(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"claims more than the {MAX_PIXELS:,} pixels allowed (a broken header or a decompression bomb)"
    return str(error)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(
            f"claims {width} x {height} pixels, more than the {MAX_PIXELS:,} allowed "
            "(a broken header or a decompression bomb)"
        )
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise DataError(f"is a strip of {width} x {height} pixels; sides may differ by a factor of {MAX_ASPECT_RATIO}")


def _decode(image: Image.Image, longest_side: int) -> Image.Image:
    # JPEG can decode at 1/2, 1/4 or 1/8: large radiographs load several times faster. Twice the wanted size is kept,
    # so that the resampling below decides how the picture looks.
    image.draft(image.mode, (2 * longest_side, 2 * longest_side))
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise DataError("can't be checked for truncation while PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set")
    image.load()
    return _shrink(_to_rgb(ImageOps.exif_transpose(image)), longest_side)


def _shrink(picture: Image.Image, longest_side: int) -> Image.Image:
    picture.thumbnail((longest_side, longest_side), Image.Resampling.BICUBIC)
    return picture


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT_MODES:
        return Image.fromarray(_linear_to_8_bit(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        black = Image.new("RGBA", layer.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, layer).convert("RGB")
    return image.convert("RGB")


def _linear_to_8_bit(grey: NDArray[Any]) -> NDArray[np.uint8]:
    """Maps [min, max] of an image [height, width] to [0, 255], rounded."""
    low, high = int(grey.min()), int(grey.max())
    scaled = (grey.astype(np.float64) - low) * (255.0 / max(high - low, 1))
    return np.rint(scaled).astype(np.uint8)
