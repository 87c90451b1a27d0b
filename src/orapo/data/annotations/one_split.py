"""Every patient of an annotation brought into one split: random splits share patients between training and test."""

from pathlib import Path

from orapo.data.annotations.studies import STRENGTH, AnnotatedStudies, AnnotatedStudy
from orapo.data.source import LeftOut
from orapo.errors import DataError
from orapo.records import Split

IN_HELD_OUT = "patient is in test or validate"
IN_TEST = "patient is in test"
NO_REPORT = "no report"


def sort_out(annotated: AnnotatedStudies, path: Path, *, shared_patients: str) -> dict[Split, list[LeftOut]]:
    """Leaves out studies of patients who stand in a stronger split, and those without a report.

    Args:
        annotated: as read.
        path: for messages.
        shared_patients: ``"leave_out"`` or ``"refuse"``.

    Raises:
        DataError: a patient stands in several splits, and that is to be refused.
    """
    displaced = _displaced(annotated)
    if shared_patients == "refuse" and (displaced or annotated.num_in_several_splits):
        shared = {study.patient_id for study, _ in displaced}
        example = f", for example {displaced[0][0].patient_id}" if displaced else ""
        raise DataError(
            f"{path}: {len(shared):,} patients have studies in several splits{example}, and "
            f"{annotated.num_in_several_splits:,} studies have samples in several; shared_patients=leave_out keeps "
            "each patient in test, else in validate"
        )
    left_out: dict[Split, list[LeftOut]] = {split: [] for split in Split}
    for study, reason in displaced:
        left_out[study.split].append(LeftOut(study.study_id, reason))
    gone = {study.study_id for study, _ in displaced}
    for study in annotated.studies.values():
        if (not study.report or study.report.isspace()) and study.study_id not in gone:
            left_out[study.split].append(LeftOut(study.study_id, NO_REPORT))
    return left_out


def _displaced(annotated: AnnotatedStudies) -> list[tuple[AnnotatedStudy, str]]:
    """Studies whose patient has others in a stronger split, with the reason for leaving them out."""
    strongest: dict[str, Split] = {}
    for study in annotated.studies.values():
        split = strongest.setdefault(study.patient_id, study.split)
        strongest[study.patient_id] = max(split, study.split, key=STRENGTH.__getitem__)
    return [
        (study, IN_HELD_OUT if study.split is Split.TRAIN else IN_TEST)
        for study in annotated.studies.values()
        if strongest[study.patient_id] is not study.split
    ]
