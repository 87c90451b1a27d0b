"""A user's own studies from a CSV file and a folder of images: a row for each image."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from orapo.chexpert import OBSERVATIONS, LabelStates
from orapo.data.context import read_age, read_day, read_order
from orapo.data.expected_files import ExpectedFile
from orapo.data.images import check_below_root, check_image_name, image_name
from orapo.data.labels import LABEL_COLUMNS, LABEL_NAMES, SharedStates, label_columns, missing_labels
from orapo.data.splits import name_splits, split_from_word
from orapo.data.tables import CsvTable, is_blank, named, number_key, quoted, read_csv
from orapo.data.tabulated import CONTEXT, OwnColumnsSettings, Reader, StudyRow, Tell
from orapo.data.target import REPORT, words
from orapo.data.views import view_name
from orapo.errors import DataError
from orapo.records import Split
from orapo.settings import settings

OPTIONAL = ("split", *CONTEXT, "study_date", "study_order")
"""Columns that it may have, beside the 14 observations."""

_NOT_BLANK = ("study_id", "patient_id", "image_path", "report")
_ONE_PER_STUDY = ("patient_id", "report", "labels", *OPTIONAL[1:])
_NUM_SHOWN = 3


class _ImageRow(NamedTuple):
    """One row of the table; ``labels`` is empty when it has no label columns, ``split`` None without such a column."""

    line: int
    cells: Mapping[str, str]
    study_id: str
    patient_id: str
    split: Split | None
    labels: LabelStates

    def value(self, name: str) -> object:
        return getattr(self, name) if name in ("patient_id", "labels") else self.cells.get(name)


class StudyTableReader(Reader["StudyTable"]):
    """Rows with the same study_id are images of one study and agree in everything but image_path and view."""

    name = "study_table"
    images_are_paths = True

    def __init__(self, settings: "StudyTable") -> None:
        super().__init__(settings)
        self.title = settings.csv
        self._first: dict[str, _ImageRow] = {}
        self._lines: dict[str, int] = {}

    def expected(self) -> Mapping[str, ExpectedFile]:
        """Nothing is looked for: both are named; raises DataError where the root is no folder."""
        root = self.settings.root
        if not Path(root).is_dir():
            raise DataError(f"root {root} is not a folder; it must be the one that the image paths start from")
        return {}

    def rows(self, tell: Tell) -> Sequence[StudyRow]:
        """Studies in the order of the table."""
        table = read_csv(self.settings.csv)
        reader = _TableColumns(table, self.settings)
        images: dict[str, list[_ImageRow]] = {}
        split_of_patient: dict[str, _ImageRow] = {}
        for line, cells in table.rows:
            try:
                row = reader.read(line, cells)
                first = self._first.setdefault(row.study_id, row)
                images.setdefault(row.study_id, []).append(row)
                self._check_agreement(row, first, split_of_patient.setdefault(row.patient_id, row))
            except DataError as error:
                study = cells[reader.names["study_id"]]
                tell(f"{self.settings.csv} line {line}: study {named(study)}: {error}")
        splits = {row.patient_id: row.split for row in self._first.values() if row.split}
        self.notes = reader.notes(has_split=bool(splits))
        if not splits:
            splits = self._split_patients(tell)
        return _in_time([self._study(rows, splits[rows[0].patient_id]) for rows in images.values()])

    def sections(self, row: StudyRow) -> Mapping[str, str]:
        """The report as it is, and the columns of context."""
        cells = self._first[row.study_id].cells
        return {name: cells.get(name, "") for name in (REPORT, *CONTEXT)}

    def image_path(self, row: StudyRow, image: str) -> str:
        path = Path(self.settings.root) / image
        if not os.path.isfile(path):  # which a path that is too long isn't either
            line = self._lines[image]
            raise DataError(
                f"{self.settings.csv} line {line}: study {row.study_id}: there is no image {image_name(path)}"
            )
        return str(path)

    def place_of_image(self, image: str) -> str:
        """The file, with symbolic links resolved."""
        folder, name = os.path.split(os.path.join(self.settings.root, image))
        path = os.path.join(_resolved(folder), name)
        return os.path.realpath(path) if os.path.islink(path) else path

    def where(self, row: StudyRow) -> str:
        return f"{self.settings.csv} line {row.place}: study {row.study_id}"

    def check_listed(self, rows: Sequence[StudyRow]) -> None:
        """Every image must be there: a user's own table may have a wrong path in any row."""
        images = [(row, image) for row in rows for image in row.images]
        for row, image in images:
            where = f"{row.study_id} ({self.settings.csv} line {self._lines[image]})"
            check_image_name(image, study_id=where)
            check_below_root(image, self.settings.root, study_id=where)
        root = Path(self.settings.root)
        missing = [(row, image) for row, image in images if not os.path.isfile(root / image)]
        if missing:
            shown = [
                f"line {self._lines[image]}, study {row.study_id}: {image_name(image)}"
                for row, image in missing[:_NUM_SHOWN]
            ]
            more = "; ..." if len(missing) > _NUM_SHOWN else ""
            raise DataError(
                f"{self.settings.csv}: {len(missing)} of {len(images)} image files are not under {self.settings.root}: "
                f"{'; '.join(shown)}{more}"
            )

    def _split_patients(self, tell: Tell) -> dict[str, Split]:
        patients = [row.patient_id for row in self._first.values()]
        try:
            return self.settings.deal_out(patients)
        except DataError as error:
            tell(str(error))
            return dict.fromkeys(patients, Split.TRAIN)

    def _study(self, rows: Sequence[_ImageRow], split: Split) -> StudyRow:
        first = rows[0]
        self._lines |= {row.cells["image_path"]: row.line for row in rows}
        return StudyRow(
            study_id=first.study_id,
            patient_id=first.patient_id,
            split=split,
            images=tuple(row.cells["image_path"] for row in rows),
            views=tuple(view_name(row.cells["view"]) for row in rows),
            place=first.line,
            order=read_order(first.cells.get("study_order", "")),
            day=read_day(first.cells.get("study_date", "")),
            labels=first.labels if self.settings.labels == "auto" else {},
        )

    def _check_agreement(self, row: _ImageRow, first: _ImageRow, of_patient: _ImageRow) -> None:
        if row.split is not of_patient.split:
            raise DataError(
                f"its patient is in split {row.split} here and in {of_patient.split} in line {of_patient.line}; all "
                "studies of a patient must be in one split"
            )
        for name in _ONE_PER_STUDY:
            if row.value(name) == first.value(name):
                continue
            if name == "labels":
                name = next(o.value for o in OBSERVATIONS if row.labels[o] is not first.labels[o])
            raise DataError(
                f"{name} differs from line {first.line}; "
                "rows of one study are its images and must agree in everything else"
            )


class _TableColumns:
    """Which columns a table has, and its rows read by them."""

    def __init__(self, table: CsvTable, settings: "StudyTable") -> None:
        found = settings.find_columns(settings.csv, table.columns, LABEL_COLUMNS)
        self.names = {name: column for name, column in found.items() if name not in LABEL_COLUMNS}
        missing = missing_labels(found)
        if 0 < len(missing) < len(LABEL_NAMES):
            raise DataError(
                f"{settings.csv} lacks the label columns {', '.join(missing)}; give all 14, "
                "or none to have the reports labelled"
            )
        self._labels = [] if missing else label_columns(found)
        self._shared = SharedStates()
        self._patients: dict[str, str] = {}
        self._studies: dict[str, str] = {}
        self._passed_over = [name for name in table.columns if name not in found.values()]
        if "split" not in self.names:
            self._refuse_split_by_another_name(settings.csv, table)

    def read(self, line: int, row: Mapping[str, str]) -> _ImageRow:
        """One row; raises DataError when a cell is blank or not allowed."""
        cells = {name: row[column] for name, column in self.names.items()}
        for name in _NOT_BLANK:
            if is_blank(cells[name]) or (name == "report" and not words(cells[name])):
                raise DataError(f"{self.names[name]} is {quoted(cells[name])}; every row needs one")
        read_age(cells.get("age", ""))
        read_day(cells.get("study_date", ""))
        read_order(cells.get("study_order", ""))
        codes = tuple(row[column] for column in self._labels)
        study_id, patient_id = cells["study_id"], cells["patient_id"]
        return _ImageRow(
            line=line,
            cells=cells,
            # The first spelling counts for all: 7, 7.0 and 007 are one.
            study_id=self._studies.setdefault(number_key(study_id), study_id),
            patient_id=self._patients.setdefault(number_key(patient_id), patient_id),
            split=split_from_word(cells["split"]) if "split" in cells else None,
            labels=self._shared.of_codes(codes) if codes else {},
        )

    def notes(self, *, has_split: bool) -> list[str]:
        """What a user should know of the table, a line each."""
        notes = [] if has_split else ["no split column: patients are split at random by data.source.seed"]
        if not self._labels:
            notes.append("no label columns: the reports will be labelled by orapo.labeler")
        if self._passed_over:
            notes.append(f"columns passed over: {', '.join(name or '(no name)' for name in self._passed_over)}")
        return notes

    def _refuse_split_by_another_name(self, path: str, table: CsvTable) -> None:
        """A table's split that goes unnoticed would put its test patients into training."""
        for name in self._passed_over:
            cells = {row[name].strip().lower() for _, row in table.rows}
            if name_splits(cells):
                shown = ", ".join(map(quoted, sorted(cells)[:_NUM_SHOWN]))
                raise DataError(
                    f"{path}: column {name!r} holds {shown}, but there is no column 'split'; "
                    f"name it so, or set columns={{split: {name}}}"
                )


def _in_time(rows: Sequence[StudyRow]) -> list[StudyRow]:
    """Orders a patient's studies by study_order where each of them has one, else all of them by their days.

    A day and an order can't be compared.
    """
    by_day = {row.patient_id for row in rows if row.order is None and row.day is not None}
    return [row._replace(order=row.day) if row.patient_id in by_day else row for row in rows]


@cache
def _resolved(folder: str) -> str:
    return os.path.realpath(folder)


@settings
class StudyTable(OwnColumnsSettings):
    """Settings of a user's own table: UTF-8, comma-separated, columns as in ``required`` and ``optional``.

    Splits cover every patient of the table, also those whose images the view filter leaves out, so that another choice
    of views moves no patient from training to test.

    Attributes:
        csv: the table.
        root: folder that relative image paths start from.
        labels: ``"auto"`` takes the table's own columns, and where it has none the labeler's labels.
    """

    csv: str
    root: str
    _: KW_ONLY
    labels: Literal["auto", "labeler", "table"] = "auto"

    reader: ClassVar[type[Reader[Any]]] = StudyTableReader
    required = ("study_id", "patient_id", "image_path", "view", "report")
    optional = OPTIONAL
