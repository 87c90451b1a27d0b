"""Image files as 8-bit RGB pictures that are fully decoded and no larger than needed."""

import logging
import math
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated, BinaryIO

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from pydantic import Field

from orapo.data.dicom import MAGIC, MAGIC_START, MOST_BYTES, DicomImage, open_dicom, require_pydicom
from orapo.data.sixteen_bit import eight_bits
from orapo.data.tables import quoted
from orapo.errors import DataError
from orapo.records import Study

log = logging.getLogger(__name__)

ACCEPTED = "PNG (8 or 16 bit) and JPEG, as .png, .jpg or .jpeg; DICOM, as .dcm, .dicom or without an ending"
"""What can be opened, for error messages."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})

MAX_PIXELS = 80_000_000
"""Four times the largest radiograph in the public sets; anything above is a broken header or a decompression bomb."""

MAX_ASPECT_RATIO = 20
"""Longer side by shorter; vision encoders refuse strips, and no radiograph is one."""

LongestSide = Annotated[int, Field(ge=32, le=8192)]
"""In pixels, that images are shrunk to."""

_FILE_NAME = re.compile(r"[\w.+-]{1,120}\.[A-Za-z]{1,5}")
_JPEG = b"\xff\xd8"
_DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error, zlib.error)


def image_name(path: str | Path) -> str:
    """An image for a message that names its study: the name of the file, not of its folders.

    These hold the patient's id in public sets, and what is no file, as in a shifted row, may be a report.
    """
    name = os.path.basename(path)
    return name if os.path.isfile(path) or _FILE_NAME.fullmatch(name) else f"({len(str(path))} characters of text)"


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
        raise DataError(f"study {study_id}: image {image_name(path)} ends in {quoted(suffix)}. Accepted: {ACCEPTED}")


def check_below_root(path: str, root: str, *, study_id: str) -> None:
    """Looks at the names only, as ``check_image_name``; links are the user's own.

    Raises:
        DataError: the path leads out of the folder.
    """
    above = os.path.abspath(root)
    if os.path.commonpath((above, os.path.abspath(os.path.join(above, path)))) != above:
        raise DataError(f"study {study_id}: image {image_name(path)} is outside of root {root}; set a root above")


def path_below(folder: Path, image: str, *, study_id: str) -> str:
    """The file of an image by its path below a folder; raises DataError where it is outside, or isn't there."""
    check_below_root(image, str(folder), study_id=study_id)
    path = os.path.join(folder, image)
    if not os.path.isfile(path):
        raise DataError(f"study {study_id}: there is no image {image_name(path)}")
    return path


def load_image(
    path: str | Path, *, study_id: str, longest_side: int | None = None, max_pixels: int | None = None
) -> Image.Image:
    """Opens and decodes one image of a study.

    A PNG or JPEG is turned upright as its EXIF orientation says. 16 bits a channel are mapped to 8 as ``eight_bits``
    says. Transparent pixels are laid over black. A DICOM file, whatever it is called, is shown as
    ``DicomImage.picture`` says. Images are shrunk with their aspect ratio kept, never enlarged. A picture of a single
    colour, or one that the file's own window does not show, is logged as a warning, once a process.

    Args:
        path: a PNG, JPEG or DICOM file.
        study_id: for messages.
        longest_side: upper limit of width and height, in pixels, in [32, 8192]; None for none.
        max_pixels: upper limit of width times height, at least 1; None for none.

    Returns:
        Mode RGB, 8 bits a channel, independent of the file.

    Raises:
        DataError: the file is missing, no regular file, empty, truncated, damaged, of another format, of several
            frames, too large or a narrow strip; or DICOM without pixels or in a compression that can't be read here.
    """
    with open_image(path, study_id=study_id) as file:
        picture, note = decode(file, path, longest_side, max_pixels)
    if not note and all(low == high for low, high in picture.getextrema()):  # type: ignore[misc]
        note = "it shows a single colour"
    if note:
        _warn_once(str(path), f"study {study_id}: image {image_name(path)}: {note}")
    return picture


def load_study_images(study: Study, longest_side: int | None, max_pixels: int | None) -> tuple[Image.Image, ...]:
    """Decodes the study's images, in its order, as ``load_image`` does; raises DataError naming the file."""
    return tuple(
        load_image(path, study_id=study.study_id, longest_side=longest_side, max_pixels=max_pixels)
        for path in study.image_paths
    )


@contextmanager
def open_image(path: str | Path, *, study_id: str) -> Iterator[BinaryIO]:
    """The file for reading, and whatever goes wrong while it is read as an error that names it.

    Raises:
        DataError: as for ``load_image``.
    """
    check_image_name(path, study_id=study_id)
    try:
        with _regular_file(path) as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"study {study_id}: there is no image {image_name(path)}") from None
    except DataError as error:
        raise DataError(f"study {study_id}: image {image_name(path)} {error}. Accepted: {ACCEPTED}") from None
    except _DECODING_ERRORS as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
        raise DataError(
            f"study {study_id}: image {image_name(path)} is truncated or damaged ({reason}). Accepted: {ACCEPTED}"
        ) from None


def _regular_file(path: str | Path) -> BinaryIO:
    try:
        # A pipe would wait for someone who writes into it.
        told = os.stat(path)
        if stat.S_ISREG(told.st_mode) and told.st_size <= MOST_BYTES:
            return open(path, "rb")
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"can't be opened ({getattr(error, 'strerror', None) or error})") from error
    if stat.S_ISREG(told.st_mode):
        raise DataError(f"has {told.st_size:,} bytes; at most {MOST_BYTES:,} are accepted")
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    raise DataError(f"is {kinds.get(stat.S_IFMT(told.st_mode), 'a device')}, not a file")


@lru_cache(maxsize=4096)
def _warn_once(path: str, warning: str) -> None:
    del path  # of two files with one name each is told
    log.warning("%s", warning)


def _is_dicom_name(path: str | Path) -> bool:
    """Whether a file of this name is taken for DICOM: scanners name files IM0001, or by a UID of numbers and dots."""
    suffix = Path(path).suffix.lower()
    return suffix in DICOM_SUFFIXES or not suffix or suffix[1:].isdigit()


def read_header(file: BinaryIO, path: str | Path) -> Image.Image | DicomImage:
    """The image with its header checked, and nothing decoded.

    Raises:
        DataError: the text continues "image x ...".
    """
    head = file.read(MAGIC_START + len(MAGIC))
    if not head:
        raise DataError("is empty (0 bytes)")
    file.seek(0)
    if head[MAGIC_START:] == MAGIC or _is_dicom_name(path):
        dicom = open_dicom(file)
        _check_size(*dicom.size)
        return dicom
    try:
        image = Image.open(file, formats=("PNG", "JPEG"))
    except UnidentifiedImageError as error:
        if head.startswith(_JPEG):
            raise DataError("is a JPEG that can't be read: damaged, lossless or of 12 bits") from error
        raise DataError("is neither PNG nor JPEG") from error
    except Image.DecompressionBombError as error:
        raise DataError(
            f"claims more than the {MAX_PIXELS:,} pixels allowed (a broken header or a decompression bomb)"
        ) from error
    _check_size(*image.size)
    if (num_frames := getattr(image, "n_frames", 1)) > 1:
        raise DataError(f"holds {num_frames} frames; images of one frame are accepted")
    return image


def decode(
    file: BinaryIO, path: str | Path, longest_side: int | None, max_pixels: int | None
) -> tuple[Image.Image, str]:
    """The picture as ``load_image`` gives it, and what to say of it; raises as ``read_header`` does."""
    image = read_header(file, path)
    side = min(longest_side or MAX_PIXELS, _side_of(*image.size, max_pixels))
    if isinstance(image, DicomImage):
        picture, note = image.picture()
        return _shrink(picture, side), note
    # JPEG can decode at 1/2, 1/4 or 1/8: large radiographs load several times faster. Twice the wanted size is kept,
    # so that the resampling below decides how the picture looks.
    image.draft(image.mode, (2 * side, 2 * side))
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise DataError("can't be checked for truncation while PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set")
    image.load()
    rgb = eight_bits(image, file) or _to_rgb(image)
    rgb.info = {name: value for name, value in image.info.items() if name == "exif"}
    return _shrink(ImageOps.exif_transpose(rgb), side), ""


def _side_of(width: int, height: int, max_pixels: int | None) -> int:
    """The longer side at which an image has at most ``max_pixels`` pixels; its own where it has no more."""
    if max_pixels is None or width * height <= max_pixels:
        return max(width, height)
    return max(int(max(width, height) * math.sqrt(max_pixels / (width * height))), 1)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(
            f"claims {width} x {height} pixels, more than the {MAX_PIXELS:,} allowed "
            "(a broken header or a decompression bomb)"
        )
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise DataError(f"is a strip of {width} x {height} pixels; sides may differ by a factor of {MAX_ASPECT_RATIO}")


def _shrink(picture: Image.Image, side: int) -> Image.Image:
    picture.thumbnail((side, side), Image.Resampling.BICUBIC)
    return picture


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        black = Image.new("RGBA", layer.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, layer).convert("RGB")
    return image.convert("RGB")
