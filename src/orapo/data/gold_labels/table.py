"""The files in which radiologists' labels of CheXpert's validation and test studies are published."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.data.chexpert_plus.image_names import (
    StudyName,
    parse_image_name,
    parse_study_name,
    view_number,
    view_of_stem,
)
from orapo.data.csv_table import CsvRow, CsvTable, read_csv
from orapo.errors import DataError

_STATE = {"1": LabelState.POSITIVE, "1.0": LabelState.POSITIVE, "0": LabelState.NEGATIVE, "0.0": LabelState.NEGATIVE}
_OLD_NAME = {Observation.LUNG_OPACITY: "Airspace Opacity"}


@dataclass(frozen=True, slots=True)
class GoldLabels:
    """Labels of whole studies.

    Attributes:
        states: by "valid/patient64541/study1" or "test/...", in the order of the file; each positive or negative.
        names: the folders of each study, by the same keys.
        stems: the images of each study as names of files without ending, in the order of the view numbers; empty for
            files that have a row for each study instead of each image.
        num_rows: of the file.
        sha256: of the file's bytes, in hexadecimal.
    """

    states: Mapping[str, LabelStates]
    names: Mapping[str, StudyName]
    stems: Mapping[str, tuple[str, ...]]
    num_rows: int
    sha256: str


def read_gold_labels(path: str | Path) -> GoldLabels:
    """Reads valid.csv of CheXpert v1, val_labels.csv or test_labels.csv of CheXlocalize, or groundtruth.csv.

    The file has a column Path (images) or Study (studies), whatever stands before valid/, val/ or test/ there, and the
    14 observations in any order.

    Raises:
        DataError: a column is missing, a label is neither 0 nor 1, a path is of another form or of the training part,
            or images of one study have different labels; names file and line.
    """
    table = read_csv(path)
    by_image = "Path" in table.columns
    _check_columns(table)
    columns = {observation: _column(table, observation) for observation in OBSERVATIONS}
    states: dict[str, LabelStates] = {}
    names: dict[str, StudyName] = {}
    stems: dict[str, dict[str, None]] = {}
    for row in table.rows:
        where = f"{path} line {row.line}"
        try:
            name, stem = _image(row) if by_image else (parse_study_name(row.cells["Study"]), "")
            labels = {observation: _state(row, columns[observation]) for observation in OBSERVATIONS}
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        if name.part == "train":
            raise DataError(f"{where}: {name.key} is a training study, and radiologists labelled none of these")
        _check_agreement(labels, states.setdefault(name.key, labels), f"{where}: {name.key}")
        names[name.key] = name
        stems.setdefault(name.key, {}).update({stem: None} if stem else {})
    ordered = {key: tuple(sorted(found, key=lambda stem: (view_number(stem), stem))) for key, found in stems.items()}
    return GoldLabels(states, names, ordered, len(table.rows), table.sha256)


def _image(row: CsvRow) -> tuple[StudyName, str]:
    name, stem = parse_image_name(row.cells["Path"])
    view_of_stem(stem)
    return name, stem


def _check_columns(table: CsvTable) -> None:
    missing = [] if {"Path", "Study"} & set(table.columns) else ["Path (or Study)"]
    missing += [observation.value for observation in OBSERVATIONS if _column(table, observation) not in table.columns]
    if missing:
        raise DataError(
            f"{table.path} has no column {', '.join(missing)}; its columns are {', '.join(table.columns)}; known are "
            "valid.csv of CheXpert v1, val_labels.csv and test_labels.csv of CheXlocalize, and groundtruth.csv"
        )


def _column(table: CsvTable, observation: Observation) -> str:
    old = _OLD_NAME.get(observation)
    return old if old in table.columns and observation.value not in table.columns else observation.value


def _state(row: CsvRow, column: str) -> LabelState:
    state = _STATE.get(row.cells[column])
    if state is None:
        raise DataError(f"{column} is {row.cells[column]!r}; radiologists' labels are 0 or 1, never blank")
    return state


def _check_agreement(labels: LabelStates, first: LabelStates, where: str) -> None:
    differing = next(
        (observation for observation in OBSERVATIONS if labels[observation] is not first[observation]), None
    )
    if differing is not None:
        raise DataError(f"{where}: {differing} differs from an earlier image of the study; labels are of whole studies")
