"""A user's own images as studies without a report: a file, a list of files, or all files of a folder."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.data.dicom import MAGIC, MAGIC_START
from orapo.data.images import ACCEPTED, DICOM_SUFFIXES, SUFFIXES, check_image_name
from orapo.errors import DataError
from orapo.records import Split, Study

PER_FOLDER = "folder"
ReportPer = Literal["image", "folder"]
"""What one report is about, where a folder is given."""

_DICOM_INDEX = "DICOMDIR"
"""Lists the other files of a medium: DICOM by its first bytes, but no image."""


@dataclass(frozen=True, slots=True)
class OwnImages:
    """What was found.

    Attributes:
        studies: without oracle report and labels, at least one; ``study_id`` is the path as the user gave it, below a
            folder the path from there.
        num_passed_over: other files in the folder.
    """

    studies: tuple[Study, ...]
    num_passed_over: int = 0


def find_own_images(named: Sequence[str], report_per: str, key: str = "image") -> OwnImages:
    """The studies that the user names; nothing is opened but the first bytes of files without a telling name.

    A folder is searched with everything below it, hidden files and folders left out, and its images are sorted by
    path. Files that end like an image count, readable or not; files without an ending, or with a number for one, count
    where they begin like DICOM.

    Args:
        named: one file, one folder, or several files that are images of one study, in this order.
        report_per: "image", or "folder": the images of one folder are one study.
        key: by which they are named, for errors.

    Raises:
        DataError: a path does not exist, ends unlike an image, or is a folder among several; a folder without images.
    """
    for name in named:
        if not os.path.exists(name):
            raise DataError(f"{key}={name} does not exist; it must be an image or a folder of images")
    if len(named) == 1 and Path(named[0]).is_dir():
        return _in_folder(Path(named[0]), report_per)
    for name in named:
        if Path(name).is_dir():
            raise DataError(f"{key}={name} is a folder; a list names the images of one study")
        check_image_name(name, study_id=Path(name).name)
    return OwnImages((_study(" + ".join(named), named),))


def _in_folder(folder: Path, report_per: str) -> OwnImages:
    files = sorted(_files_below(folder), key=lambda file: file.relative_to(folder).parts)
    images = [file for file in files if _is_image(file)]
    if not images:
        raise DataError(f"image={folder} holds no image, nor does a folder below it. Accepted: {ACCEPTED}")
    if report_per == PER_FOLDER:
        # Sorted once more: in the order of paths a folder's own files stand between its subfolders.
        by_folder = groupby(sorted(images, key=lambda file: file.parent.parts), key=lambda file: file.parent)
        studies = [_study(_name(of, folder), list(map(str, group))) for of, group in by_folder]
    else:
        studies = [_study(_name(file, folder), [str(file)]) for file in images]
    return OwnImages(tuple(studies), num_passed_over=len(files) - len(images))


def _files_below(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(where) / name for name in files if not name.startswith("."))


def _is_image(file: Path) -> bool:
    suffix = file.suffix.lower()
    if suffix in SUFFIXES | DICOM_SUFFIXES:
        return True
    if (suffix and not suffix[1:].isdigit()) or file.name == _DICOM_INDEX or not file.is_file():
        return False
    try:
        with file.open("rb") as opened:
            return opened.read(MAGIC_START + len(MAGIC))[MAGIC_START:] == MAGIC
    except OSError:
        return False


def _name(path: Path, folder: Path) -> str:
    return folder.name or str(folder) if path == folder else path.relative_to(folder).as_posix()


def _study(study_id: str, paths: Sequence[str]) -> Study:
    return Study(
        study_id=study_id,
        patient_id=study_id,
        split=Split.TEST,
        image_paths=tuple(paths),
        views=("",) * len(paths),
        oracle_report="",
        labels=dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED),
    )
