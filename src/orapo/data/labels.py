"""Label states of many studies: tables of codes, and mappings that studies share."""

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation, label_state_from_code
from orapo.data.tables import number_key, quoted, read_columns
from orapo.errors import DataError

logger = logging.getLogger(__name__)

Column = TypeVar("Column")

LABEL_NAMES = tuple(observation.value for observation in OBSERVATIONS)
"""Names of the 14 labels in the order in which ``SharedStates`` takes codes."""

OLD_NAMES = {Observation.LUNG_OPACITY.value: "Airspace Opacity"}
"""What older tables call an observation."""


class SharedStates:
    """Turns codes into label states; equal states are one mapping: 227,835 of their own would take 150 MB."""

    def __init__(self) -> None:
        self._of_codes: dict[Hashable, LabelStates] = {}
        self._of_states: dict[tuple[LabelState, ...], LabelStates] = {}

    def of_codes(self, codes: tuple[float | str | None, ...]) -> LabelStates:
        """The states of 14 codes in the order of ``OBSERVATIONS``; raises DataError naming the observation."""
        found = self._of_codes.get(codes)
        if found is None:
            found = self._of_codes[codes] = self.of(
                {o: _state(o.value, code) for o, code in zip(OBSERVATIONS, codes, strict=True)}
            )
        return found

    def of(self, states: LabelStates) -> LabelStates:
        """The mapping that stands for all states equal to these."""
        key = tuple(states[observation] for observation in OBSERVATIONS)
        return self._of_states.setdefault(key, dict(zip(OBSERVATIONS, key, strict=True)))


def join_key(cell: str) -> str:
    """The key that joins the ids of two tables: 50414267 and 50414267.0 have one key, s50414267 and s050414267 too."""
    return f"s{number_key(cell[1:])}" if cell[:1] == "s" and cell[1:].isdecimal() else number_key(cell)


def other_key(key: str) -> str:
    """The other spelling of a MIMIC-CXR id, with or without its "s": tables use both. "" for ids that are no number."""
    if key.isdecimal():
        return f"s{key}"
    return key[1:] if key[:1] == "s" and key[1:].isdecimal() else ""


def label_columns(columns: Mapping[str, Column]) -> list[Column]:
    """The 14 columns of codes in the order of ``OBSERVATIONS``, of those found with ``LABEL_COLUMNS`` as optional."""
    return [columns.get(name) or columns[OLD_NAMES[name]] for name in LABEL_NAMES]


def missing_labels(columns: Mapping[str, object]) -> list[str]:
    """The observations that a table has no column for."""
    return [name for name in LABEL_NAMES if not {name, OLD_NAMES.get(name, name)} & columns.keys()]


LABEL_COLUMNS = (*LABEL_NAMES, *OLD_NAMES.values())
"""Every name of a column of codes."""


def read_label_table(
    path: Path, id_columns: Sequence[str], shared: SharedStates, key: Callable[[str, str], str]
) -> tuple[str, dict[str, LabelStates]]:
    """Reads a table of codes, as data sets bring them and ``orapo label`` writes them.

    Args:
        path: .csv, .csv.gz or .parquet, with an id and the 14 observations in any order.
        id_columns: by which studies may be found; the first that the table has counts.
        shared: makes the states.
        key: of an id, by column and cell; raises DataError where the cell is no id.

    Returns:
        The column of the ids, and the states by ``key``.

    Raises:
        DataError: the table can't be read, lacks an id or an observation, or two rows of an id disagree; names the
            line (of Parquet the row).
    """
    columns = read_columns(path, (), (*id_columns, *LABEL_COLUMNS))
    id_column = next((name for name in id_columns if name in columns.cells), None)
    missing = missing_labels(columns.cells)
    if id_column is None or missing:
        lacking = [*([] if id_column else [" or ".join(id_columns)]), *missing]
        raise DataError(f"{path} has no column {', '.join(lacking)}; an id and the 14 observations are needed")
    labels: dict[str, LabelStates] = {}
    rows = zip(columns.lines, columns.cells[id_column], zip(*label_columns(columns.cells), strict=True), strict=True)
    for line, cell, codes in rows:
        try:
            row_id = key(id_column, cell)
            states = shared.of_codes(codes)
            if not row_id:
                raise DataError(f"{id_column} is blank")
            if labels.setdefault(row_id, states) is not states:
                raise DataError(f"{quoted(cell)} stands in an earlier row with other labels")
        except DataError as error:
            raise DataError(f"{path} line {line}: {error}") from None
    return id_column, labels


def check_overlap(path: Path, labels: Mapping[str, object], keys: set[str], where: str, *, by: str) -> None:
    """Checks that labels belong to these studies; those that don't are logged, unless they are of images.

    Raises:
        DataError: none does.
    """
    num_unknown = sum(key not in keys for key in labels)
    if num_unknown == len(labels):
        raise DataError(
            f"{path} has labels of no study of {where}; it has {len(labels):,} by {by}, for example "
            f"{next(iter(labels), '(none)')}, and {where} has {min(keys, default='(none)')}"
        )
    if num_unknown and by == "study_id":
        logger.warning("%s: %d of %d labelled studies are not in %s", path, num_unknown, len(labels), where)


def _state(name: str, code: float | str | None) -> LabelState:
    try:
        return label_state_from_code(code)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
