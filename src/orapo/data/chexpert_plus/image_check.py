"""Whether the image files that a table lists are there, and whether a few of them can be opened."""

from collections.abc import Sequence
from dataclasses import dataclass

from orapo.data.chexpert_plus.image_folders import ImageFolders
from orapo.data.chexpert_plus.image_names import StudyName
from orapo.data.images import load_image
from orapo.data.progress import watched
from orapo.errors import DataError

_LONGEST_SIDE = 512
_NUM_SHOWN = 3


@dataclass(frozen=True, slots=True)
class ImageToCheck:
    """An image as a table lists it.

    Attributes:
        study: its folders.
        stem: name of its file without the ending.
        dicom: path_to_dcm, or "".
        is_frontal: laterals are needed with views "all" only.
    """

    study: StudyName
    stem: str
    dicom: str
    is_frontal: bool


def check_images(images: Sequence[ImageToCheck], folders: ImageFolders, num_opened: int) -> tuple[list[str], list[str]]:
    """Looks for every file and opens some, spread evenly.

    Returns:
        Problems (frontal images that are missing, images that can't be opened) and notes (laterals that are missing).
    """
    there: list[tuple[ImageToCheck, str]] = []
    missing: list[ImageToCheck] = []
    for image in watched(images, "looking for images"):
        path = folders.find(image.study, image.stem, image.dicom)
        if path is None:
            missing.append(image)
        else:
            there.append((image, path))
    problems = _missing([image for image in missing if image.is_frontal], "frontal images are missing")
    notes = _missing([image for image in missing if not image.is_frontal], "lateral images are missing (views 'all')")
    step = max(len(there) // num_opened, 1) if num_opened else 1
    for image, path in there[::step][:num_opened]:
        try:
            study_id = f"{image.study.patient}/{image.study.study}"
            load_image(path, study_id=study_id, longest_side=_LONGEST_SIDE)
        except DataError as error:
            problems.append(str(error))
    return problems, notes


def _missing(images: Sequence[ImageToCheck], what: str) -> list[str]:
    if not images:
        return []
    shown = ", ".join(f"{image.study.key}/{image.stem}" for image in images[:_NUM_SHOWN])
    return [f"{len(images):,} {what}: {shown}{', ...' if len(images) > _NUM_SHOWN else ''}"]
