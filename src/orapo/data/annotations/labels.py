"""Labels of annotated studies: by the report labeler, or from a table."""

from collections.abc import Sequence
from pathlib import Path

from orapo.chexpert import LabelStates
from orapo.data.annotations.studies import AnnotatedStudy
from orapo.data.shared_states import LABEL_NAMES, SharedStates
from orapo.data.study_table import ReportLabeler
from orapo.data.table_columns import read_columns
from orapo.errors import DataError

_ID_COLUMNS = ("study_id", "id")


class LabelTable:
    """Label states by study id or by sample id."""

    def __init__(self, path: Path) -> None:
        """Reads a CSV (``.gz`` when compressed): a column ``study_id`` or ``id`` and the 14 observations.

        ``orapo label`` writes such tables, and mimic-cxr-2.0.0-chexpert.csv.gz is one.

        Raises:
            DataError: the table can't be read, has no such column, a code is not allowed, or an id has two labels.
        """
        columns = read_columns(path, LABEL_NAMES, optional=_ID_COLUMNS)
        self.id_column = next((name for name in _ID_COLUMNS if name in columns), None)
        if self.id_column is None:
            raise DataError(f"{path} has neither a column 'study_id' nor 'id'; studies are found by one of them")
        shared = SharedStates()
        self._states: dict[str, LabelStates] = {}
        rows = zip(columns[self.id_column], zip(*(columns[name] for name in LABEL_NAMES), strict=True), strict=True)
        for row, (row_id, codes) in enumerate(rows, start=1):
            try:
                states = shared.of_codes(codes)
            except DataError as error:
                raise DataError(f"{path} row {row} (the header is row 0): {error}") from None
            if self._states.setdefault(self._key(row_id), states) is not states:
                raise DataError(f"{path} row {row} (the header is row 0): {row_id} has other labels in an earlier row")

    def find(self, study: AnnotatedStudy) -> LabelStates | None:
        """The study's labels; None when the table has none."""
        if self.id_column == "study_id":
            return self._states.get(self._key(study.study_id))
        return next((found for sample_id in study.sample_ids if (found := self._states.get(sample_id))), None)

    def _key(self, row_id: str) -> str:
        """50414267 and s50414267 are one study."""
        return row_id[1:] if self.id_column == "study_id" and row_id[:1] == "s" and row_id[1:].isdecimal() else row_id


def label_reports(studies: Sequence[AnnotatedStudy], labeler: ReportLabeler) -> dict[str, LabelStates]:
    """The labeler's states by study id."""
    shared = SharedStates()
    return {study.study_id: shared.of(labeler.label(study.text).states) for study in studies}
