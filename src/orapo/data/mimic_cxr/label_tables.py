"""Tables of labels for MIMIC-CXR: its own, the radiologist's, and those that ``orapo label`` writes."""

from collections.abc import Sequence
from pathlib import Path

from pyarrow import ArrowException, parquet

from orapo.chexpert import OBSERVATIONS, LabelStates, Observation
from orapo.data.shared_states import SharedStates
from orapo.data.table_columns import read_columns
from orapo.errors import DataError

_NAME, _OLD_NAME = Observation.LUNG_OPACITY.value, "Airspace Opacity"


def read_label_table(path: Path, shared: SharedStates) -> dict[str, LabelStates]:
    """Reads a table with the column study_id and the 14 observations, in any order.

    Args:
        path: .csv, .csv.gz or .parquet; ids with or without the leading "s"; "Airspace Opacity" means Lung Opacity.
        shared: makes the states.

    Returns:
        States by study id with the leading "s".

    Raises:
        DataError: the table can't be used; names the row.
    """
    columns = _parquet_columns(path) if path.suffix == ".parquet" else _csv_columns(path)
    labels: dict[str, LabelStates] = {}
    rows = zip(*(columns[observation.value] for observation in OBSERVATIONS), strict=True)
    for row, (cell, codes) in enumerate(zip(columns["study_id"], rows, strict=True), start=1):
        study = cell.removeprefix("s")
        if not study.isdecimal():
            raise DataError(f"{path} row {row}: study_id is no id like s50414267 or 50414267")
        try:
            states = shared.of_codes(codes)
        except DataError as error:
            raise DataError(f"{path} row {row}: study s{study}: {error}") from None
        if labels.setdefault(f"s{study}", states) is not states:
            raise DataError(f"{path} row {row}: study s{study} is in an earlier row with other labels")
    return labels


def _csv_columns(path: Path) -> dict[str, list[str]]:
    names = [observation.value for observation in OBSERVATIONS if observation.value != _NAME]
    return _complete(read_columns(path, ("study_id", *names), optional=(_NAME, _OLD_NAME)), path)


def _parquet_columns(path: Path) -> dict[str, list[str]]:
    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError):
        raise DataError(f"table {path} can't be read as Parquet; is it complete?") from None
    wanted = ("study_id", _OLD_NAME, *(observation.value for observation in OBSERVATIONS))
    columns = {name: _as_text(table.column(name).to_pylist()) for name in table.column_names if name in wanted}
    return _complete(columns, path)


def _as_text(cells: Sequence[object]) -> list[str]:
    return ["" if cell is None else str(cell) for cell in cells]


def _complete(columns: dict[str, list[str]], path: Path) -> dict[str, list[str]]:
    if _OLD_NAME in columns and _NAME not in columns:
        columns[_NAME] = columns[_OLD_NAME]
    missing = [name for name in ("study_id", *(o.value for o in OBSERVATIONS)) if name not in columns]
    if missing:
        raise DataError(f"{path} has no column {', '.join(map(repr, missing))}; study_id and the 14 labels are needed")
    return columns
