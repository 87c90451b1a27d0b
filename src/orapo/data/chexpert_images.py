"""How CheXpert names its images, and the folders that they lie in: PNG, JPEG or DICOM in any of the known layouts."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from orapo.data.expected_files import ExpectedFile
from orapo.data.tables import is_blank, quoted
from orapo.data.views import view_name
from orapo.errors import DataError

Images = Literal["auto", "png", "jpg", "dicom"]
"""The values of a setting ``images``."""

ROOT_VARIABLE = "ORAPO_CHEXPERT_PLUS_ROOT"
"""Environment variable that names the folder of CheXpert Plus, with which the radiologists' labels may lie."""

_PARTS = {"train": "train", "valid": "valid", "val": "valid", "test": "test"}
"""The part that a folder of each name holds."""
_STUDY = re.compile(r"(?:.*/)?(train|valid|val|test)/(patient\d+/study\d+)")
_IMAGE = re.compile(_STUDY.pattern + r"/(view\d+(?:_[^/]*)?)\.\w+")


class StudyName(NamedTuple):
    """The three folders that make a study.

    Attributes:
        part: ``"train"``, ``"valid"`` or ``"test"``; a folder called val is valid.
        study_id: for example ``"patient42142/study5"``.
    """

    part: str
    study_id: str

    @property
    def patient(self) -> str:
        """The first folder of the two: ``"patient42142"``."""
        return self.study_id.partition("/")[0]

    @property
    def key(self) -> str:
        """One text for all three: ``"valid/patient64541/study1"``."""
        return f"{self.part}/{self.study_id}"


def parse_study_name(path: str) -> StudyName:
    """Reads ``CheXpert-v1.0/valid/patient64541/study1``; whatever stands before the part is passed over.

    Raises:
        DataError: the path ends otherwise.
    """
    found = _STUDY.fullmatch(path)
    if found is None:
        raise DataError(f"{quoted(path)} does not end like train/patient00001/study1 (or valid/..., val/..., test/...)")
    part, study_id = found.groups()
    return StudyName(_PARTS[part], study_id)


def parse_image_name(path: str) -> tuple[StudyName, str]:
    """Reads ``CheXpert-v1.0/valid/patient64541/study1/view1_frontal.jpg``.

    Returns:
        The study, and the file's name without its ending: tables say .jpg although PNG or DICOM files lie on the disk.

    Raises:
        DataError: the path ends otherwise.
    """
    found = _IMAGE.fullmatch(path)
    if found is None:
        raise DataError(
            f"{quoted(path)} does not end like train/patient00001/study1/view1_frontal.jpg "
            "(or valid/..., val/..., test/...)"
        )
    part, study_id, stem = found.groups()
    return StudyName(_PARTS[part], study_id), stem


def in_order(stems: Iterable[str]) -> tuple[str, ...]:
    """The images of a study by their numbers: ``"view2_lateral"`` stands before ``"view10_frontal"``."""
    return tuple(sorted(stems, key=lambda stem: (int(stem.partition("_")[0].removeprefix("view")), stem)))


def view_of_stem(stem: str) -> str:
    """The projection as a file's name tells it: ``"FRONTAL"`` or ``"LATERAL"``.

    Raises:
        DataError: it tells neither.
    """
    word = stem.partition("_")[2]
    if word not in ("frontal", "lateral"):
        raise DataError(f"image {quoted(stem)} is called neither frontal nor lateral, as in view1_frontal")
    return word.upper()


def view_of_cells(frontal_lateral: str, ap_pa: str) -> str:
    """The projection: ``"LATERAL"`` for laterals, else what AP/PA says (AP, PA, LL, RL), else ``"FRONTAL"``.

    Raises:
        DataError: neither Frontal nor Lateral.
    """
    word = frontal_lateral.capitalize()
    if word == "Lateral":
        return "LATERAL"
    if word != "Frontal":
        raise DataError(f"frontal_lateral is {quoted(frontal_lateral)}; it must be Frontal or Lateral")
    return "FRONTAL" if is_blank(ap_pa) else view_name(ap_pa)


_CHUNK = "png_chexpert_plus_chunk_"
# The four archives of the large CheXpert v1 unpack to these; the folders of training patients have no train/ above.
_BATCHES = {
    "valid": ("CheXpert-v1.0 batch 1 (validate & csv)/valid",),
    "train": tuple(f"CheXpert-v1.0 batch {number + 1} (train {number})" for number in (1, 2, 3)),
}


_ENDINGS = {"png": ".png", "jpg": ".jpg", "dicom": ".dcm"}
"""Of the files of each kind, by the word of the setting; the first kind that is there is preferred."""


@dataclass(frozen=True, slots=True)
class ImageFolders:
    """Where the images of one kind lie.

    Attributes:
        kind: their format, as the setting names it.
        of_part: for each part that is there ("train", "valid", "test") the folders that hold folders of patients.
    """

    kind: str
    of_part: dict[str, tuple[str, ...]]

    def require(self, study_id: str, part: str, stem: str, dicom: str = "") -> str:
        """Path of an image file.

        Args:
            study_id: its folders, ``"patient42142/study5"``.
            part: ``"train"``, ``"valid"`` or ``"test"``.
            stem: name of the file without the ending.
            dicom: path_to_dcm of the table, with or without the part in front; "" for other kinds.

        Raises:
            DataError: it isn't there; names the places.
        """
        names = [f"{study_id}/{stem}{_ENDINGS[self.kind]}"]
        if dicom:
            names.append(dicom.lstrip("/").removeprefix(f"{part}/"))
        places = dict.fromkeys(f"{folder}/{name}" for name in names for folder in self.of_part.get(part, ()))
        found = next((path for path in places if os.path.isfile(path)), None)
        if found is None:
            looked_for = " and ".join(places) or f"no folder of {self.kind.upper()}s of {part}"
            raise DataError(f"study {study_id}: image {part}/{study_id}/{stem} is missing (looked for {looked_for})")
        return found

    def list_study(self, study_id: str, part: str) -> list[str]:
        """Names, without ending, of a study's image files, in no particular order."""
        folders = (Path(folder, study_id) for folder in self.of_part.get(part, ()))
        files = (file for folder in folders if folder.is_dir() for file in folder.iterdir())
        return [file.stem for file in files if file.suffix == _ENDINGS[self.kind] and re.match(r"view\d", file.name)]

    def __str__(self) -> str:
        folders = ", ".join(folder for folders in self.of_part.values() for folder in folders)
        return f"{self.kind.upper()} images in {folders}"


def find_image_folders(root: Path, *, images: str, parts: Sequence[str]) -> ImageFolders:
    """Looks for the folders; a few file system calls, whatever the number of patients.

    Layouts, in the order of preference (R is ``root``; a part is train, valid, also called val, or test):

    1. PNG: R/PNG/part, R/PNG/PNG/part and R/png_chexpert_plus_chunk_N/PNG/part together (chunks in R/PNG too, and
       R/part if that is where PNGs lie);
    2. JPEG: R/CheXpert-v1.0/part together with the batches of the large CheXpert v1; or R/CheXpert-v1.0-small/part; or
       R/CheXpert/part; or R/part;
    3. DICOM: R/DICOM/Uncompressed/part, R/DICOM/Compressed/part and R/DICOM/part together; or R/part.

    Args:
        root: folder of the data set.
        images: ``"png"``, ``"jpg"``, ``"dicom"``, or ``"auto"`` for any of them.
        parts: which parts are needed; a layout that has more of them is preferred.

    Returns:
        The folders of one layout; without any when none has one of the parts.
    """
    found = [
        ImageFolders(kind, {part: folders for part in parts if (folders := _existing(layout[part]))})
        for kind in (_ENDINGS if images == "auto" else (images,))
        for layout in _layouts(root, kind)
    ]
    return max(found, key=lambda folders: len(folders.of_part))  # the first of equals


def _layouts(root: Path, kind: str) -> Iterator[dict[str, list[Path]]]:
    """Layouts as the folders of each part, whether they exist or not; folders of one layout complete each other."""
    plain = [root] if _kind_below(root) == kind else []
    if kind == "png":
        yield _below([root / "PNG", root / "PNG" / "PNG", *_chunks(root), *plain])
    elif kind == "dicom":
        yield _below([root / "DICOM" / "Uncompressed", root / "DICOM" / "Compressed", root / "DICOM"])
        yield _below(plain)
    else:  # the small JPEGs must not fill the gaps of the large ones in silence
        large = _below([root / "CheXpert-v1.0"])
        yield large | {part: [*large[part], *(root / folder for folder in _BATCHES[part])] for part in _BATCHES}
        for bases in ([root / "CheXpert-v1.0-small"], [root / "CheXpert"], plain):
            yield _below(bases)


def _below(bases: Iterable[Path]) -> dict[str, list[Path]]:
    folders = [(of, base / name) for base in bases for name, of in _PARTS.items()]
    return {part: [folder for of, folder in folders if of == part] for part in _PARTS.values()}


def _existing(folders: Iterable[Path]) -> tuple[str, ...]:
    return tuple(str(folder) for folder in folders if folder.is_dir())


def _chunks(root: Path) -> list[Path]:
    """The folders that the archives of PNGs unpack to, in the order of their numbers."""
    places = [place for place in (root, root / "PNG") if place.is_dir()]
    chunks = sorted(path for place in places for path in place.iterdir() if path.name.startswith(_CHUNK))
    return [base for chunk in chunks if chunk.is_dir() for base in (chunk / "PNG", chunk)]


def _kind_below(root: Path) -> str | None:
    """Format of the first image file below root/train, root/valid or root/test."""
    kinds = {ending: kind for kind, ending in _ENDINGS.items()}
    files = (file for part in _PARTS for file in _first_files(root / part, depth=2))
    return next((kinds[file.suffix] for file in files if file.suffix in kinds), None)


def _first_files(folder: Path, depth: int) -> Iterator[Path]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:  # lazy: a folder may have tens of thousands of patients
        for entry in entries:
            if depth and entry.is_dir():
                yield from _first_files(Path(entry.path), depth - 1)
            elif not depth and entry.is_file():
                yield Path(entry.path)


def images_file(root: Path, images: str, folders: ImageFolders, *, part: str, obtain: str) -> ExpectedFile:
    """The folders of images as found, or else where those of a part might have been, to be named in a message."""
    found = tuple(Path(folder) for of_part in folders.of_part.values() for folder in of_part)
    usual = {
        "png": ("PNG", f"{_CHUNK}0/PNG"),
        "jpg": ("CheXpert-v1.0", "CheXpert-v1.0-small", "."),
        "dicom": ("DICOM/Uncompressed", "DICOM/Compressed"),
    }
    kinds = usual if images == "auto" else [images]
    named = tuple(root / folder / part for kind in kinds for folder in usual[kind])
    what = "the images" if images == "auto" else f"the images as {images}"
    return ExpectedFile(what, found or named, f"{obtain}, unpacked")
