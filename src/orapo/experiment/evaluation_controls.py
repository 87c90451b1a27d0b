"""The controls of an evaluation: what a score is worth that nothing was looked at for."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from orapo.data.balanced_subset import BalancedSubset
from orapo.data.evaluation_studies import EvaluationStudies, read_training_studies
from orapo.data.subset_manifest import SubsetManifest
from orapo.empty_reports import says_nothing
from orapo.errors import OrapoError
from orapo.evaluation.clinical_measures import clinical_measures
from orapo.evaluation.controls import (
    NUM_DRAWS,
    always_positive_states,
    label_frequency_measures,
    most_common_report,
)
from orapo.evaluation.report_pairs import ReportLabeler, pair_reports
from orapo.evaluation.resampling import Bootstrap
from orapo.evaluation.system_measures import SystemScores, observation_counts, system_measures
from orapo.experiment.command_line import one_line
from orapo.experiment.evaluate_config import Evaluation
from orapo.experiment.targets import build
from orapo.records import Study

log = logging.getLogger(__name__)

TITLES = {
    "shuffled_images": "shuffled images",
    "always_positive": "always positive",
    "label_frequencies": "label frequencies",
    "most_common_report": "most common report",
}


@dataclass(frozen=True)
class TrainingStudies:
    """What the policy trained on, or would by these settings; empty with the reason where that can't be read."""

    studies: tuple[Study, ...]
    reason: str

    @classmethod
    def read(cls, evaluation: Evaluation, studies: EvaluationStudies) -> "TrainingStudies":
        """Reads them; a source without training studies is no error, since the rest of the table stands without."""
        section = evaluation.training_config.data
        is_same = section.source == evaluation.config.data.source
        try:
            source = studies.source if is_same else build(section.source, "data.source")
            manifest = None if evaluation.manifest is None else SubsetManifest.read(evaluation.manifest)
            subset: BalancedSubset = build(section.subset, "data.subset")
            return cls(read_training_studies(source, subset, manifest), "")
        except Exception as error:
            # Hydra wraps what a source's constructor raises.
            if not isinstance(error, OrapoError) and not isinstance(error.__cause__, OrapoError):
                raise
            return cls((), one_line(error))

    def shared_patients(self, tested: Sequence[Study]) -> int:
        """Patients of the test studies who were trained on."""
        return len({study.patient_id for study in self.studies} & {study.patient_id for study in tested})


def always_positive(studies: Sequence[Study], bootstrap: Bootstrap) -> SystemScores:
    """The report that affirms everything."""
    states = always_positive_states(len(studies))
    measures = clinical_measures(states, [study.labels for study in studies])
    note = "affirms all 14 observations; no text"
    return SystemScores(TITLES["always_positive"], bootstrap.estimates(measures), {}, note=note)


def label_frequencies(
    training: TrainingStudies, studies: Sequence[Study], seed: int, bootstrap: Bootstrap
) -> SystemScores:
    """Labels drawn at their frequencies in the training studies."""
    title = TITLES["label_frequencies"]
    if training.reason:
        return SystemScores(title, {}, {}, not_computed=training.reason)
    states = [study.labels for study in training.studies]
    measures = label_frequency_measures(states, [study.labels for study in studies], seed)
    note = (
        f"labels drawn at the frequencies of {len(states)} training studies; macro and micro of the expected counts, "
        f"example averages over {NUM_DRAWS} draws; no text"
    )
    return SystemScores(title, bootstrap.estimates(measures), {}, note=note)


def common_report(
    training: TrainingStudies, studies: Sequence[Study], labeler: ReportLabeler, bootstrap: Bootstrap
) -> SystemScores:
    """The most common training report, whatever the image."""
    title = TITLES["most_common_report"]
    reports = [study.oracle_report for study in training.studies if not says_nothing(study.oracle_report)]
    if not reports:
        return SystemScores(title, {}, {}, not_computed=training.reason or "no training study has a report")
    common = most_common_report(reports)
    pairs = pair_reports(studies, [common.text] * len(studies), labeler)
    images = [len(study.image_paths) for study in studies]
    measures = system_measures(pairs, images, None, None)
    note = f"occurs {common.count} times among {common.num_reports} training reports"
    if common.count == 1:
        note = f"the first of {common.num_reports} training reports, of which none occurs twice"
    return SystemScores(title, bootstrap.estimates(measures), observation_counts(pairs), note=note)
