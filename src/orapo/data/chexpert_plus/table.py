"""The table of CheXpert Plus, a row for each image, as studies: read once, hundreds of thousands of rows in seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from orapo.data.chexpert_plus.image_names import StudyName, parse_image_name, quoted, view_name, view_number
from orapo.data.table_columns import read_columns
from orapo.errors import DataError

COLUMN_OF_SECTION = {"findings": "section_findings", "impression": "section_impression"}
"""Column of each section."""

_PARTS = {"train": "train", "valid": "valid", "val": "valid", "validate": "valid"}


class PlusImage(NamedTuple):
    """One image of a study.

    Attributes:
        stem: name of its file without the ending, ``"view1_frontal"``; the study has the rest of the path.
        view: ``"AP"``, ``"PA"``, ``"LL"``, ``"RL"``, ``"FRONTAL"`` or ``"LATERAL"``.
        dicom: path_to_dcm as the table has it, "" when it was not asked for.
    """

    stem: str
    view: str
    dicom: str


class PlusStudy(NamedTuple):
    """One study, that is one folder of images.

    Attributes:
        name: its folders.
        row: the study's first row, counted from 1 below the header; the report is that row's, since rows of a study
            differ in invented dates only.
        first_stem: of that row's image; labels are joined by it.
        images: in the order of the view numbers, not of the table.
        sections: text of each section asked for, "" when the report lacks it.
    """

    name: StudyName
    row: int
    first_stem: str
    images: tuple[PlusImage, ...]
    sections: Mapping[str, str]

    @property
    def study_id(self) -> str:
        """Patient and study, ``"patient42142/study5"``."""
        return f"{self.name.patient}/{self.name.study}"

    @property
    def image_key(self) -> str:
        """The first row's path_to_image without what stands before the part and without its ending."""
        return f"{self.name.key}/{self.first_stem}"


@dataclass(frozen=True, slots=True)
class PlusTable:
    """All studies of the table, and what is odd about its rows.

    Attributes:
        studies: in the order of their first rows.
        num_rows: of the table.
        repeated_rows: rows whose image stands in an earlier row; passed over.
        renamed_rows: rows whose deid_patient_id is not the patient's folder; the folder counts.
        differing_rows: rows that have a section which their study's first row lacks, or lack one that it has.
        shared_patients: patients with studies in train and in valid.
    """

    studies: tuple[PlusStudy, ...]
    num_rows: int
    repeated_rows: tuple[int, ...]
    renamed_rows: tuple[int, ...]
    differing_rows: tuple[int, ...]
    shared_patients: tuple[str, ...]


def read_plus_table(path: Path, *, sections: Sequence[str], with_dicom: bool = False) -> PlusTable:
    """Reads the table and groups its rows.

    Args:
        path: the CSV, plain or gzip.
        sections: whose text is kept, of ``"findings"`` and ``"impression"``.
        with_dicom: also keep path_to_dcm, where the table has it.

    Raises:
        DataError: the table can't be read, lacks a column, or a row names no image, no projection or another split
            than its path; names the row and never quotes a report.
    """
    columns = ("path_to_image", "frontal_lateral", "ap_pa", "deid_patient_id", "split")
    texts = [COLUMN_OF_SECTION[section] for section in sections]
    cells = read_columns(path, [*columns, *texts], optional=["path_to_dcm"] if with_dicom else [])
    rows = _Rows(str(path), sections, [_without_nan(cells[text]) for text in texts])
    dicoms = cells.get("path_to_dcm") or [""] * len(cells["split"])
    for row in zip(*(cells[column] for column in columns), dicoms, strict=True):
        rows.add(*row)
    return rows.table()


def _without_nan(texts: list[str]) -> list[str]:
    # What pandas writes for a missing cell when somebody stores the table again.
    return ["" if len(text) == 3 and text.lower() == "nan" else text for text in texts]


class _Rows:
    """Rows gathered so far."""

    def __init__(self, path: str, sections: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
        self._path = path
        self._sections = sections
        self._texts = texts
        self._num_rows = 0
        self._first_rows: dict[StudyName, tuple[int, str]] = {}
        self._images: dict[StudyName, dict[str, PlusImage]] = {}
        self._part_of_patient: dict[str, str] = {}
        self._shared_patients: dict[str, None] = {}
        self._repeated: list[int] = []
        self._renamed: list[int] = []
        self._differing: list[int] = []

    def add(self, path: str, frontal_lateral: str, ap_pa: str, patient_id: str, split: str, dicom: str) -> None:
        """Adds the next row; raises DataError naming it."""
        self._num_rows += 1
        try:
            study, stem = parse_image_name(path)
            image = PlusImage(stem, view_name(frontal_lateral, ap_pa), dicom)
            if _PARTS.get(split.lower()) != study.part:
                raise DataError(f"split is {quoted(split)} but path_to_image starts with {study.part}")
        except DataError as error:
            raise DataError(f"{self._path} row {self._num_rows} (the header is row 0): {error}") from None
        if study.patient != patient_id:
            self._renamed.append(self._num_rows)
        if self._part_of_patient.setdefault(study.patient, study.part) != study.part:
            self._shared_patients[study.patient] = None
        first_row, _ = self._first_rows.setdefault(study, (self._num_rows, stem))
        if first_row != self._num_rows and self._lacks(first_row) != self._lacks(self._num_rows):
            self._differing.append(self._num_rows)
        images = self._images.setdefault(study, {})
        if images.setdefault(stem, image) is not image:
            self._repeated.append(self._num_rows)

    def table(self) -> PlusTable:
        """All rows as studies."""
        return PlusTable(
            studies=tuple(self._study(name, row, stem) for name, (row, stem) in self._first_rows.items()),
            num_rows=self._num_rows,
            repeated_rows=tuple(self._repeated),
            renamed_rows=tuple(self._renamed),
            differing_rows=tuple(self._differing),
            shared_patients=tuple(self._shared_patients),
        )

    def _lacks(self, row: int) -> list[bool]:
        return [not texts[row - 1] for texts in self._texts]

    def _study(self, name: StudyName, row: int, first_stem: str) -> PlusStudy:
        by_stem = self._images[name]
        stems = sorted(by_stem, key=lambda stem: (view_number(stem), stem)) if len(by_stem) > 1 else by_stem
        sections = {section: texts[row - 1] for section, texts in zip(self._sections, self._texts, strict=True)}
        return PlusStudy(name, row, first_stem, tuple(by_stem[stem] for stem in stems), sections)
