"""Whose labels a study of CheXpert Plus gets: CheXbert's, those of this project's labeler, or a table's."""

from collections.abc import Callable
from pathlib import Path

from orapo.chexpert import LabelStates
from orapo.data.chexpert_plus.chexbert_labels import read_chexbert_labels
from orapo.data.chexpert_plus.label_table import read_label_table
from orapo.data.chexpert_plus.table import PlusStudy
from orapo.data.shared_states import SharedStates
from orapo.data.study_table import ReportLabeler
from orapo.errors import DataError

LabelStudy = Callable[[PlusStudy, str], LabelStates | None]
"""Labels of a study with the chosen text of its report; None when there are none for it."""


def label_by_text(labeler: ReportLabeler) -> LabelStudy:
    """Labels the chosen text."""
    shared = SharedStates()
    return lambda _, report: shared.of(labeler.label(report).states)


def label_by_file(path: Path, table: tuple[PlusStudy, ...], *, is_chexbert: bool) -> LabelStudy:
    """Looks labels up by the image of the study's first row, or by study id where the file has that.

    Args:
        path: CheXbert's JSON lines, or a table written by ``orapo label``.
        table: the studies, to see that the file belongs to them.
        is_chexbert: which of the two it is.

    Raises:
        DataError: the file can't be used, or has not one study of the table.
    """
    id_column, labels = ("path_to_image", read_chexbert_labels(path)) if is_chexbert else read_label_table(path)

    def label(study: PlusStudy, _: str = "") -> LabelStates | None:
        return labels.get(study.study_id if id_column == "study_id" else study.image_key)

    if not any(label(study) is not None for study in table):
        raise DataError(
            f"{path} has labels of no study of the table; it has {len(labels):,} by {id_column}, for example "
            f"{next(iter(labels), '(none)')}, and the table has {table[0].study_id} ({table[0].image_key})"
        )
    return label
