"""The samples of an annotation joined to studies."""

import gc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orapo.data.annotations.samples import Sample, read_samples
from orapo.errors import DataError
from orapo.records import Split

STRENGTH = {Split.TRAIN: 0, Split.VALIDATE: 1, Split.TEST: 2}
"""Where a patient or a study stands in several splits, the strongest one gets it."""


@dataclass(slots=True)
class AnnotatedStudy:
    """One study.

    Attributes:
        study_id: unique in the file.
        patient_id: studies of one patient share it.
        split: of its samples; test if one of them is there, else validate if one is there.
        sample_ids: ids of its samples, in the file's order.
        image_paths: as written, each once.
        report: of its first sample, as written.
    """

    study_id: str
    patient_id: str
    split: Split
    sample_ids: list[str]
    image_paths: list[str]
    report: str

    @property
    def text(self) -> str:
        """The report with white space collapsed; "" when blank."""
        return " ".join(self.report.split())


@dataclass(frozen=True, slots=True)
class AnnotatedStudies:
    """What a file amounts to.

    Attributes:
        studies: by id, in the order of their first samples.
        num_samples: per split, as the file has them.
        num_in_several_splits: studies whose samples stand in more than one split.
        num_differing_reports: studies, known by their folders, whose samples have different reports.
        num_without_patient: studies that nothing names a patient of; each counts as a patient of its own.
    """

    studies: Mapping[str, AnnotatedStudy]
    num_samples: Mapping[Split, int]
    num_in_several_splits: int
    num_differing_reports: int
    num_without_patient: int

    def notes(self) -> Iterable[str]:
        """What a user should know of the file, a line each."""
        if self.num_in_several_splits:
            yield (
                f"{self.num_in_several_splits:,} studies have samples in several splits; each counts for test, else "
                "for validate, with all its images"
            )
        if self.num_differing_reports:
            yield f"{self.num_differing_reports:,} studies have samples with different reports; the first one counts"
        if self.num_without_patient:
            yield (
                f"{self.num_without_patient:,} studies name no patient (no subject_id, no patientN/studyM folder); "
                "each counts as a patient of its own, so that splits may share patients unseen"
            )


def read_studies(path: Path) -> AnnotatedStudies:
    """Reads an annotation file; see ``read_samples`` and ``join_samples``."""
    collects = gc.isenabled()
    gc.disable()  # a third of the time would go into looking for cycles among millions of texts, and there are none
    try:
        return join_samples(read_samples(path), path)
    finally:
        if collects:
            gc.enable()


def join_samples(samples: Iterable[Sample], path: Path) -> AnnotatedStudies:
    """Joins samples of one study: its images in the file's order, its report once.

    Samples that name their study must agree in the report. Where only the folders of the images tell the study, the
    first report counts: rows of CheXpert Plus differ in invented dates.

    Raises:
        DataError: samples of one study differ in the patient, or in the report though they name the study.
    """
    studies: dict[str, AnnotatedStudy] = {}
    num_samples = dict.fromkeys(Split, 0)
    several: set[str] = set()
    differing: set[str] = set()
    without_patient: set[str] = set()
    for sample in samples:
        num_samples[sample.split] += 1
        study = studies.get(sample.study_id)
        if study is None:
            study = studies[sample.study_id] = _new_study(sample)
            if not sample.states_patient:
                without_patient.add(study.study_id)
            continue
        _check_same(sample, study, path)
        if sample.report != study.report:
            differing.add(study.study_id)
        if sample.split is not study.split:
            several.add(study.study_id)
            study.split = max(study.split, sample.split, key=STRENGTH.__getitem__)
        study.sample_ids.append(sample.sample_id)
        study.image_paths += [image for image in sample.image_paths if image not in study.image_paths]
    return AnnotatedStudies(studies, num_samples, len(several), len(differing), len(without_patient))


def _new_study(sample: Sample) -> AnnotatedStudy:
    return AnnotatedStudy(
        study_id=sample.study_id,
        patient_id=sample.patient_id,
        split=sample.split,
        sample_ids=[sample.sample_id],
        image_paths=list(dict.fromkeys(sample.image_paths)),
        report=sample.report,
    )


def _check_same(sample: Sample, study: AnnotatedStudy, path: Path) -> None:
    if sample.patient_id != study.patient_id:
        raise DataError(
            f"{path}: {sample.place}: study {study.study_id} is of patient {sample.patient_id} here and of "
            f"{study.patient_id} in an earlier sample"
        )
    if sample.states_study and sample.report != study.report:
        raise DataError(
            f"{path}: {sample.place}: study {study.study_id} has another report than in an earlier sample; samples of "
            "one study_id are its images and must share the report"
        )
