"""The tables of MIMIC-CXR-JPG: which images a study has, its split and its labels."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from orapo.data.splits import split_from_word
from orapo.data.table_columns import read_columns
from orapo.data.views import is_frontal
from orapo.errors import DataError
from orapo.records import Split

_METADATA_COLUMNS = ("dicom_id", "subject_id", "study_id", "ViewPosition")
_VIEW_MEANING, _TIME = "ViewCodeSequence_CodeMeaning", "StudyTime"
_VIEW_OF_MEANING = {"POSTERO-ANTERIOR": "PA", "ANTERO-POSTERIOR": "AP"}
_BLANK_TIME = float("inf")
"""StudyTime has the form HHMMSS.fff without leading zeros; read as a number it sorts by time, blank ones last."""


class MimicStudy(NamedTuple):
    """A study as the tables have it; a tuple, since 227,835 are made at once.

    Attributes:
        study_id: for example ``"s50414267"``.
        patient_id: for example ``"p10000032"``.
        split: of the split table.
        dicom_ids: its images, frontal ones first, of those the first taken first (equal times: by id).
        views: of the images: ViewPosition, or what the view code means where that is blank; upper case, "" for neither.
    """

    study_id: str
    patient_id: str
    split: Split
    dicom_ids: tuple[str, ...]
    views: tuple[str, ...]


_Image = tuple[bool, float, str, str]
"""Whether it isn't frontal, time, id, view: in the order to sort by."""


def read_studies(metadata: Path, split: Path) -> list[MimicStudy]:
    """Every study of the table of images, in its order.

    Raises:
        DataError: a table can't be used, they contradict each other, or a patient or study is in two splits; names the
            line or the study.
    """
    split_of_study = _read_splits(split)
    patients, images = _read_images(metadata)
    studies = []
    for study, rows in images.items():
        subject, of_study = split_of_study.get(study, ("", None))
        if of_study is None:
            raise DataError(f"{split} has no row for study s{study} of {metadata}; every study needs a split")
        if subject != patients[study]:
            raise DataError(f"{split} has study s{study} as patient p{subject}, {metadata} as p{patients[study]}")
        dicom_ids, views = zip(*((dicom, view) for _, _, dicom, view in sorted(rows)), strict=True)
        studies.append(MimicStudy(f"s{study}", f"p{subject}", of_study, dicom_ids, views))
    return studies


def _read_images(path: Path) -> tuple[dict[str, str], dict[str, list[_Image]]]:
    """The patient, and the images, of each study."""
    patients: dict[str, str] = {}
    images: dict[str, list[_Image]] = {}
    seen: set[str] = set()
    for line, (dicom, subject, study, (is_other, view), time) in enumerate(_metadata_rows(path), start=2):
        if not (dicom and subject.isdecimal() and study.isdecimal()):
            raise DataError(f"{path} line {line}: dicom_id is blank, or study_id or subject_id is no whole number")
        if dicom in seen:
            raise DataError(f"{path} line {line}: image {dicom} of study s{study} is there twice")
        seen.add(dicom)
        if patients.setdefault(study, subject) != subject:
            raise DataError(f"{path} line {line}: study s{study} is of patient p{subject}, above of p{patients[study]}")
        try:
            seconds = float(time) if time else _BLANK_TIME
        except ValueError:
            raise DataError(f"{path} line {line}: {_TIME} is {time!r}; it must be HHMMSS.fff or blank") from None
        images.setdefault(study, []).append((is_other, seconds, dicom, view))
    return patients, images


def _read_splits(path: Path) -> dict[str, tuple[str, Split]]:
    """Patient and split of each study."""
    cells = read_columns(path, ("subject_id", "study_id", "split"))
    of_patient: dict[str, Split] = {}
    of_study: dict[str, tuple[str, Split]] = {}
    previous: tuple[str, ...] = ()
    for line, row in enumerate(zip(*cells.values(), strict=True), start=2):
        if row == previous:  # images of a study follow each other
            continue
        subject, study, word = previous = row
        try:
            split = _split(word)
        except DataError as error:
            raise DataError(f"{path} line {line}: study s{study}: {error}") from None
        first = of_study.setdefault(study, (subject, split))
        if first != (subject, split):
            raise DataError(
                f"{path} line {line}: an image of study s{study} is of patient p{subject} in split {split}, another is "
                f"of p{first[0]} in {first[1]}; all images of a study must agree"
            )
        if of_patient.setdefault(subject, split) is not split:
            raise DataError(
                f"{path} line {line}: study s{study} of patient p{subject} is in split {split}, another of that "
                f"patient in {of_patient[subject]}; a patient must be in one split only"
            )
    return of_study


_split = cache(split_from_word)


def _metadata_rows(path: Path) -> Iterator[tuple[str, str, str, tuple[bool, str], str]]:
    cells = read_columns(path, _METADATA_COLUMNS, optional=(_VIEW_MEANING, _TIME))
    blank = [""] * len(cells["dicom_id"])
    views = map(_view, cells["ViewPosition"], cells.get(_VIEW_MEANING, blank))
    return zip(cells["dicom_id"], cells["subject_id"], cells["study_id"], views, cells.get(_TIME, blank), strict=True)


@cache
def _view(position: str, meaning: str) -> tuple[bool, str]:
    """Whether a view isn't frontal, and its name."""
    view = position.upper() or _VIEW_OF_MEANING.get(meaning.upper(), meaning.upper())
    return not is_frontal(view, blank=False), view
