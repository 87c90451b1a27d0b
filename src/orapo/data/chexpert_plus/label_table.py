"""Labels made from CheXpert Plus by ``orapo label``: a table with an id and 14 codes in each row."""

from collections.abc import Sequence
from pathlib import Path

from pyarrow import ArrowInvalid, parquet

from orapo.chexpert import LabelStates
from orapo.data.chexpert_plus.image_names import parse_image_name, quoted
from orapo.data.shared_states import LABEL_NAMES, SharedStates
from orapo.data.table_columns import read_columns
from orapo.errors import DataError

ID_COLUMNS = ("study_id", "path_to_image")
"""What a table of labels may be joined by."""


def read_label_table(path: Path) -> tuple[str, dict[str, LabelStates]]:
    """Reads a table written by ``orapo label``: .csv, .csv.gz or .parquet.

    Returns:
        The column that it is joined by ("study_id" or "path_to_image"), and the states by that: ids as
        ``"patient42142/study5"``, paths without what stands before the part and without the ending.

    Raises:
        DataError: the table can't be read, has neither id or not all 14 observations, or two rows of an id disagree.
    """
    columns = _read_parquet(path) if path.suffix == ".parquet" else read_columns(path, LABEL_NAMES, optional=ID_COLUMNS)
    id_column = next((name for name in ID_COLUMNS if name in columns), None)
    if id_column is None:
        raise DataError(f"{path} has neither a column 'study_id' nor 'path_to_image'; label with --id path_to_image")
    shared = SharedStates()
    labels: dict[str, LabelStates] = {}
    for row, codes in enumerate(zip(*(columns[name] for name in LABEL_NAMES), strict=True), start=1):
        try:
            key = _key(id_column, str(columns[id_column][row - 1]))
            states = shared.of_codes(codes)
            if labels.setdefault(key, states) is not states:
                raise DataError(f"{quoted(key)} stands in an earlier row with other labels")
        except DataError as error:
            raise DataError(f"{path} row {row} (the header is row 0): {error}") from None
    return id_column, labels


def _key(id_column: str, text: str) -> str:
    if id_column == "study_id":
        return text
    study, stem = parse_image_name(text)
    return f"{study.key}/{stem}"


def _read_parquet(path: Path) -> dict[str, Sequence[str | float | None]]:
    try:
        names = parquet.read_schema(path).names
        missing = [name for name in LABEL_NAMES if name not in names]
        if missing:
            raise DataError(f"{path} has no column {', '.join(map(repr, missing))}; its columns are {', '.join(names)}")
        table = parquet.read_table(path, columns=[name for name in (*ID_COLUMNS, *LABEL_NAMES) if name in names])
    except (ArrowInvalid, OSError):
        raise DataError(f"table {path} can't be read as Parquet; is the file there and complete?") from None
    return {name: table.column(name).to_pylist() for name in table.column_names}
