"""The rows of a user's study table: read by column name, checked one by one and against each other."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation, label_state_from_code
from orapo.data.csv_table import CsvRow, CsvTable
from orapo.data.splits import split_from_word
from orapo.errors import DataError, SettingError
from orapo.records import Split

REQUIRED_COLUMNS = ("study_id", "patient_id", "image_path", "view", "report")
"""What a table must have; a ``split`` column and the 14 label columns are optional."""

_NOT_BLANK = ("study_id", "patient_id", "image_path", "report")
# What other programs write for an empty cell; as a report or a patient id it would go unnoticed.
_BLANK_WORDS = frozenset({"", "nan", "none", "null", "<na>"})


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One image of one study, as the table has it.

    Attributes:
        line: of the file, counted from 1.
        study_id: not blank.
        patient_id: not blank.
        image_path: as written.
        view: upper case, "" when not given.
        report: not blank.
        split: None when the table has no split column.
        labels: None when the table has no label columns.
    """

    line: int
    study_id: str
    patient_id: str
    image_path: str
    view: str
    report: str
    split: Split | None
    labels: LabelStates | None


class StudyRows:
    """The rows of one table, read one at a time, so that a check can go on after a bad one."""

    def __init__(self, table: CsvTable, columns: Mapping[str, str]) -> None:
        """Checks the header.

        Args:
            table: the file.
            columns: own column names, from the names used here: for example ``{"report": "impression"}``.

        Raises:
            SettingError: ``columns`` renames something unknown.
            DataError: a column is missing.
        """
        self._table = table
        self._names = _column_names(table, columns)
        self._labeled = _has_labels(table)

    def read(self, row: CsvRow) -> StudyRow:
        """One row; raises DataError, naming line and study, when a cell is blank or not allowed."""
        return _study_row(self._table, row, self._names, self._labeled)


def read_study_rows(table: CsvTable, columns: Mapping[str, str]) -> list[StudyRow]:
    """Reads every row; arguments and errors as for ``StudyRows``, and those of its ``read``."""
    rows = StudyRows(table, columns)
    return [rows.read(row) for row in table.rows]


def group_by_study(rows: Sequence[StudyRow], csv: str) -> list[list[StudyRow]]:
    """Rows of one study together, studies and rows in the order of the table.

    Raises:
        DataError: the first of ``disagreements``.
    """
    for problem in disagreements(rows, csv):
        raise DataError(problem)
    studies: dict[str, list[StudyRow]] = {}
    for row in rows:
        studies.setdefault(row.study_id, []).append(row)
    return list(studies.values())


def disagreements(rows: Iterable[StudyRow], csv: str) -> Iterator[str]:
    """Rows of one study that differ, images that stand in the table twice, patients with two splits; a line each."""
    row_of_study: dict[str, StudyRow] = {}
    row_of_image: dict[str, StudyRow] = {}
    row_of_patient: dict[str, StudyRow] = {}
    for row in rows:
        found = (
            _image_again(row, row_of_image.setdefault(row.image_path, row)),
            _patient_moved(row, row_of_patient.setdefault(row.patient_id, row)),
            _study_differs(row, row_of_study.setdefault(row.study_id, row)),
        )
        yield from (f"{csv} line {row.line}: study {row.study_id}: {problem}" for problem in found if problem)


def _column_names(table: CsvTable, columns: Mapping[str, str]) -> dict[str, str]:
    known = (*REQUIRED_COLUMNS, "split")
    unknown = sorted(set(columns) - set(known))
    if unknown:
        raise SettingError(f"columns renames {unknown[0]!r}; it can rename {', '.join(known)}")
    names = {name: columns.get(name, name) for name in known}
    if "split" not in columns and "split" not in table.columns:
        del names["split"]
    missing = [name for name in names.values() if name not in table.columns]
    if missing:
        raise DataError(
            f"{table.path} has no column {', '.join(map(repr, missing))}; its columns are "
            f"{', '.join(map(repr, table.columns))}; needed are {', '.join(REQUIRED_COLUMNS)} "
            "(other names can be given in `columns`)"
        )
    return names


def _has_labels(table: CsvTable) -> bool:
    """All 14 label columns or none; a near miss in spelling would otherwise pass for none."""
    spelling = {observation.value.lower(): observation.value for observation in OBSERVATIONS}
    for column in table.columns:
        meant = spelling.get(column.lower().replace("_", " "), column)
        if meant != column:
            raise DataError(f"{table.path}: label column {column!r} must be written {meant!r}")
    missing = [observation.value for observation in OBSERVATIONS if observation.value not in table.columns]
    if 0 < len(missing) < len(OBSERVATIONS):
        raise DataError(
            f"{table.path} lacks the label columns {', '.join(missing)}; give all 14, "
            "or none to have the reports labelled"
        )
    return not missing


def _study_row(table: CsvTable, row: CsvRow, names: Mapping[str, str], labeled: bool) -> StudyRow:
    cells = {name: row.cells[column] for name, column in names.items()}
    where = f"{table.path} line {row.line}: study {cells['study_id']}"
    for name in _NOT_BLANK:
        if cells[name].lower() in _BLANK_WORDS:
            raise DataError(f"{where}: {names[name]} is {cells[name]!r}; every row needs one")
    try:
        split = split_from_word(cells["split"]) if "split" in cells else None
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    return StudyRow(
        line=row.line,
        study_id=cells["study_id"],
        patient_id=cells["patient_id"],
        image_path=cells["image_path"],
        view=" ".join(cells["view"].upper().split()),
        report=cells["report"],
        split=split,
        labels=_labels(row, where) if labeled else None,
    )


_state_of_code = cache(label_state_from_code)


def _labels(row: CsvRow, where: str) -> LabelStates:
    labels: dict[Observation, LabelState] = {}
    for observation in OBSERVATIONS:
        try:
            labels[observation] = _state_of_code(row.cells[observation.value])
        except DataError as error:
            raise DataError(f"{where}: {observation.value}: {error}") from error
    return labels


def _image_again(row: StudyRow, first: StudyRow) -> str:
    if first is row:
        return ""
    return (
        f"image {row.image_path} stands already in line {first.line} (study {first.study_id}); "
        "an image may be listed once"
    )


def _patient_moved(row: StudyRow, first: StudyRow) -> str:
    if row.split is first.split or not row.split or not first.split:
        return ""
    return (
        f"patient {row.patient_id} is in split {row.split.value} here and in {first.split.value} in line {first.line}; "
        "all studies of a patient must be in one split"
    )


def _study_differs(row: StudyRow, first: StudyRow) -> str:
    differing = next(
        (name for name in ("patient_id", "report", "labels") if getattr(row, name) != getattr(first, name)), None
    )
    if differing is None:
        return ""
    if differing == "labels" and row.labels and first.labels:
        differing = next(o.value for o in OBSERVATIONS if row.labels[o] is not first.labels[o])
    return (
        f"{differing} differs from line {first.line}; "
        "rows of one study are its images and must agree in everything else"
    )
