"""Reads the files with radiologists' labels of CheXpert's validation and test studies."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates
from orapo.data.chexpert_images import in_order, parse_image_name, parse_study_name, view_of_stem
from orapo.data.labels import LABEL_COLUMNS, SharedStates, label_columns, missing_labels
from orapo.data.tables import quoted, read_columns
from orapo.errors import DataError


@dataclass(frozen=True, slots=True)
class GoldLabels:
    """Labels of whole studies.

    Attributes:
        states: by "valid/patient64541/study1" or "test/...", in the order of the file; each positive or negative.
        stems: the images of each study as names of files without ending, in the order of the view numbers; empty for
            files that have a row for each study instead of each image.
    """

    states: Mapping[str, LabelStates]
    stems: Mapping[str, tuple[str, ...]]


def read_gold_labels(path: str | Path) -> GoldLabels:
    """Reads valid.csv of CheXpert v1, val_labels.csv or test_labels.csv of CheXlocalize, or groundtruth.csv.

    The file has a column Path (images) or Study (studies), whatever stands before valid/, val/ or test/ there, and the
    14 observations in any order.

    Raises:
        DataError: a column is missing, a label is neither 0 nor 1, a path is of another form or of the training part,
            or images of one study have different labels; names file and line.
    """
    columns = read_columns(path, (), ("Path", "Study", *LABEL_COLUMNS))
    id_column = next((name for name in ("Path", "Study") if name in columns.cells), None)
    missing = [*([] if id_column else ["Path (or Study)"]), *missing_labels(columns.cells)]
    if id_column is None or missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}; its columns are "
            f"{', '.join((*columns.cells, *columns.passed_over))}; known are valid.csv of CheXpert v1, val_labels.csv "
            "and test_labels.csv of CheXlocalize, and groundtruth.csv"
        )
    shared = SharedStates()
    states: dict[str, LabelStates] = {}
    stems: dict[str, list[str]] = {}
    rows = zip(columns.lines, columns.cells[id_column], zip(*label_columns(columns.cells), strict=True), strict=True)
    for line, cell, codes in rows:
        try:
            name, stem = parse_image_name(cell) if id_column == "Path" else (parse_study_name(cell), "")
            labels = _gold(shared.of_codes(codes), codes)
            if stem:
                view_of_stem(stem)
            if name.part == "train":
                raise DataError(f"{name.key} is a training study, and radiologists labelled none of these")
            _check_agreement(labels, states.setdefault(name.key, labels), name.key)
        except DataError as error:
            raise DataError(f"{path} line {line}: {error}") from None
        found = stems.setdefault(name.key, [])
        if stem and stem not in found:
            found.append(stem)
    return GoldLabels(states, {key: in_order(found) for key, found in stems.items()})


def _gold(states: LabelStates, codes: tuple[str, ...]) -> LabelStates:
    for (observation, state), code in zip(states.items(), codes, strict=True):
        if state not in (LabelState.POSITIVE, LabelState.NEGATIVE):
            raise DataError(f"{observation.value} is {quoted(code)}; radiologists' labels are 0 or 1, never blank")
    return states


def _check_agreement(labels: LabelStates, first: LabelStates, key: str) -> None:
    differing = next((o for o in OBSERVATIONS if labels[o] is not first[o]), None)
    if differing is not None:
        raise DataError(f"{key}: {differing} differs from an earlier image of the study; labels are of whole studies")
