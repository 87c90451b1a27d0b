"""Which studies of MIMIC-CXR the settings allow, with which images and labels."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orapo.chexpert import LabelStates
from orapo.data.mimic_cxr.files import RADIOLOGIST
from orapo.data.mimic_cxr.label_tables import read_label_table
from orapo.data.mimic_cxr.settings import MimicSettings
from orapo.data.mimic_cxr.tables import MimicStudy
from orapo.data.shared_states import SharedStates
from orapo.data.source import LeftOut
from orapo.data.study_table import ReportLabeler
from orapo.data.views import is_frontal
from orapo.errors import DataError
from orapo.labeler import Labeler
from orapo.records import Split

logger = logging.getLogger(__name__)

LabelStudy = Callable[[MimicStudy], LabelStates | LeftOut]
"""The labels of a study, or why it has none."""

ReadReport = Callable[[MimicStudy], str | LeftOut]
"""The sections asked for of a study's report, or which of them it lacks."""


def keep_images(study: MimicStudy, settings: MimicSettings) -> MimicStudy | LeftOut:
    """The study with the images of the views asked for, the first ``max_images`` of them."""
    views = study.views
    if settings.views == "frontal":
        # Frontal images come first.
        views = views[: sum(is_frontal(view, blank=False) for view in views)]
        if not views:
            return LeftOut(study.study_id, "no frontal image")
    views = views[: settings.max_images]
    return study if views == study.views else study._replace(dicom_ids=study.dicom_ids[: len(views)], views=views)


def choose_labels(
    settings: MimicSettings,
    files: Mapping[str, Path],
    studies: Sequence[MimicStudy],
    read_report: ReadReport,
    labeler: ReportLabeler | None,
) -> LabelStudy:
    """The labels that the settings ask for.

    Args:
        settings: those of the source.
        files: the tables: under "labels" the one for all studies, under ``RADIOLOGIST`` that of 2.1.0 where asked for.
        studies: all of them, to see that a table belongs to them.
        read_report: for the labeler.
        labeler: ``orapo.labeler.Labeler()`` when None.

    Raises:
        DataError: a table can't be used, or has labels of no study.
    """
    shared = SharedStates()
    if settings.labels == "labeler":
        label = _label_by_report(read_report, labeler or Labeler(), shared)
    else:
        labels = read_label_table(files["labels"], shared)
        _check_overlap(files["labels"], labels, {study.study_id for study in studies}, "the table of images")
        label = _label_by_table(labels)
    if RADIOLOGIST not in files:
        return label
    radiologist = read_label_table(files[RADIOLOGIST], shared)
    test_ids = {study.study_id for study in studies if study.split is Split.TEST}
    _check_overlap(files[RADIOLOGIST], radiologist, test_ids, "the test split")
    return _with_radiologist(label, radiologist, settings)


def _label_by_table(labels: Mapping[str, LabelStates]) -> LabelStudy:
    def label(study: MimicStudy) -> LabelStates | LeftOut:
        states = labels.get(study.study_id)
        return LeftOut(study.study_id, "no labels") if states is None else states

    return label


def _label_by_report(read_report: ReadReport, labeler: ReportLabeler, shared: SharedStates) -> LabelStudy:
    def label(study: MimicStudy) -> LabelStates | LeftOut:
        report = read_report(study)
        return report if isinstance(report, LeftOut) else shared.of(labeler.label(report).states)

    return label


def _with_radiologist(label: LabelStudy, radiologist: Mapping[str, LabelStates], settings: MimicSettings) -> LabelStudy:
    def label_or_leave(study: MimicStudy) -> LabelStates | LeftOut:
        states = radiologist.get(study.study_id) if study.split is Split.TEST else None
        if states is None and study.split is Split.TEST and settings.test_studies == "radiologist":
            return LeftOut(study.study_id, "no radiologist's labels")
        return label(study) if states is None or not settings.radiologist_test_labels else states

    return label_or_leave


def _check_overlap(path: Path, labels: Mapping[str, LabelStates], study_ids: set[str], where: str) -> None:
    num_unknown = sum(study_id not in study_ids for study_id in labels)
    if num_unknown == len(labels):
        raise DataError(
            f"{path} has labels of no study of {where}; it has {len(labels)}, for example {next(iter(labels))}"
        )
    if num_unknown:
        logger.warning("%s: %d of %d labelled studies are not in %s", path, num_unknown, len(labels), where)
