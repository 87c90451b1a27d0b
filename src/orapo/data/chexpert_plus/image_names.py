"""How CheXpert names an image: part, patient, study and view, whatever stands before them, in whatever format."""

import re
from typing import NamedTuple

from orapo.errors import DataError

_PARTS = {"train": "train", "valid": "valid", "val": "valid", "test": "test"}
_LONGEST_QUOTED = 120
_STUDY = re.compile(r"(?:.*/)?(train|valid|val|test)/(patient\d+)/(study\d+)")
_IMAGE = re.compile(_STUDY.pattern + r"/(view\d+(?:_[^/]*)?)\.\w+")


def quoted(cell: str) -> str:
    """A cell for a message: in quotes, or only its length when it is no word, since a shifted row may hold a report."""
    return repr(cell) if len(cell) <= _LONGEST_QUOTED and len(cell.split()) <= 1 else f"{len(cell)} characters of text"


class StudyName(NamedTuple):
    """The three folders that make a study.

    Attributes:
        part: ``"train"``, ``"valid"`` or ``"test"``; a folder called val is valid.
        patient: for example ``"patient42142"``.
        study: for example ``"study5"``.
    """

    part: str
    patient: str
    study: str

    @property
    def key(self) -> str:
        """One text for all three: ``"valid/patient64541/study1"``."""
        return f"{self.part}/{self.patient}/{self.study}"


def parse_study_name(path: str) -> StudyName:
    """Reads ``CheXpert-v1.0/valid/patient64541/study1``; whatever stands before the part is passed over.

    Raises:
        DataError: the path ends otherwise.
    """
    found = _STUDY.fullmatch(path)
    if found is None:
        raise DataError(f"{quoted(path)} does not end like train/patient00001/study1 (or valid/..., val/..., test/...)")
    part, patient, study = found.groups()
    return StudyName(_PARTS[part], patient, study)


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
    part, patient, study, stem = found.groups()
    return StudyName(_PARTS[part], patient, study), stem


def view_number(stem: str) -> int:
    """The number by which images of a study are ordered: 2 for ``"view2_lateral"``."""
    return int(stem.split("_", 1)[0].removeprefix("view"))


def view_of_stem(stem: str) -> str:
    """The projection as a file's name tells it: ``"FRONTAL"`` or ``"LATERAL"``.

    Raises:
        DataError: it tells neither.
    """
    word = stem.partition("_")[2]
    if word not in ("frontal", "lateral"):
        raise DataError(f"image {quoted(stem)} is called neither frontal nor lateral, as in view1_frontal")
    return word.upper()


def view_name(frontal_lateral: str, ap_pa: str) -> str:
    """The projection: ``"LATERAL"`` for laterals, else what AP/PA says (AP, PA, LL, RL), else ``"FRONTAL"``.

    Raises:
        DataError: neither Frontal nor Lateral.
    """
    if frontal_lateral == "Lateral":
        return "LATERAL"
    if frontal_lateral != "Frontal":
        raise DataError(f"frontal_lateral is {quoted(frontal_lateral)}; it must be Frontal or Lateral")
    return "FRONTAL" if ap_pa.lower() in ("", "nan") else ap_pa.upper()
