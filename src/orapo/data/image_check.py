"""Whether image files can be read, found out by their headers and ends: for all images of a subset, not for a few."""

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from orapo.data.dicom import DicomImage
from orapo.data.images import decode, open_image, read_header
from orapo.data.progress import watched
from orapo.errors import DataError

_OF_THE_SOURCE = re.compile(r"[a-z][a-z0-9-]+:")
_JPEG_END = b"\xff\xd9"
_PNG_END = b"IEND"
_TAIL = 4096
"""Bytes in which a JPEG's end is looked for: some writers fill up after it."""


def check_image(path: str | Path, *, study_id: str) -> None:
    """Reads an image's header and looks for its end, which takes less than a millisecond; decodes nothing.

    Finds what is missing, no file, empty, truncated, too large or of another format; damage in the middle is left to
    ``load_image``. An image whose end isn't where it should be is decoded to make sure.

    Args:
        path: a PNG, JPEG or DICOM file; a name that only a source can open (``phantom:train/3``) passes.
        study_id: for messages.

    Raises:
        DataError: as for ``load_image``.
    """
    if _OF_THE_SOURCE.match(str(path)):
        return
    with open_image(path, study_id=study_id) as file:
        image = read_header(file, path)
        if isinstance(image, DicomImage):
            image.check_length()
        elif not (_has_png_end(file) if image.format == "PNG" else _has_jpeg_end(file)):
            file.seek(0)
            decode(file, path, None, None)


def image_problems(images: Sequence[tuple[str, str | Path]]) -> list[tuple[str, str]]:
    """``check_image`` for many at a time, with a bar where a terminal watches.

    Args:
        images: study id and path of each.

    Returns:
        Study id and problem, in one line, of those that can't be read, in the order given.
    """
    with ThreadPoolExecutor() as readers:
        problems = zip(watched(images, "checking images"), readers.map(_problem, images), strict=True)
        return [(study_id, problem) for (study_id, _), problem in problems if problem]


def _problem(image: tuple[str, str | Path]) -> str:
    study_id, path = image
    try:
        check_image(path, study_id=study_id)
    except DataError as error:
        return str(error)
    return ""


def _has_jpeg_end(file: BinaryIO) -> bool:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _TAIL, 0))
    return _JPEG_END in file.read()


def _has_png_end(file: BinaryIO) -> bool:
    """Goes from chunk to chunk: length, kind, content, checksum."""
    size = file.seek(0, os.SEEK_END)
    place = 8
    while place + 12 <= size:
        file.seek(place)
        head = file.read(8)
        place += 12 + int.from_bytes(head[:4], "big")
        if head[4:] == _PNG_END:
            return place <= size
    return False
