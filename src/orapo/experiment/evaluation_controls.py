"""The controls of an evaluation: the scores of reports, labels or answers made without the study's own images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orapo.data.balanced_subset import BalancedSubset
from orapo.data.evaluation_studies import EvaluationStudies, read_training_studies
from orapo.data.phantom_reader import PhantomReader
from orapo.data.phantoms.source import PhantomSource
from orapo.data.source import StudySource
from orapo.data.subset_manifest import SubsetManifest
from orapo.empty_reports import says_nothing
from orapo.errors import OrapoError
from orapo.evaluation.answers import majority_measures, random_measures
from orapo.evaluation.clinical import clinical_measures, observation_counts
from orapo.evaluation.controls import (
    NUM_DRAWS,
    always_positive_states,
    label_frequency_measures,
    most_common_report,
)
from orapo.evaluation.examiner import Examiner, Mark, Scorer, SystemScores
from orapo.evaluation.report_pairs import Written
from orapo.evaluation.resampling import Bootstrap
from orapo.experiment.evaluate_config import Evaluation
from orapo.experiment.targets import build
from orapo.experiment.written_reports import ScoreFile
from orapo.labeler.types import ReportLabeler
from orapo.measures.served import ServedMetrics, ServedSettings
from orapo.records import Question, RewardBreakdown, Study
from orapo.reward.weighted import WeightedReward

TITLES = {
    "shuffled_images": "shuffled images",
    "shuffled_priors": "shuffled priors",
    "always_positive": "always positive",
    "label_frequencies": "label frequencies",
    "most_common_report": "most common report",
    "majority_answer": "majority answer",
    "random_answer": "random answer",
}

TERMS = ("facts", "accuracy", "length", "no_repetition")
"""Terms of a reward that are measured beside the run's, whatever it was paid for: those that cost nothing and that the
examiner does not measure under a name of its own."""


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
            return cls(read_training_studies(source, subset, manifest, section.get("on_bad_image", "refuse")), "")
        except OrapoError as error:
            return cls((), str(error))

    def shared_patients(self, tested: Sequence[Study]) -> int:
        """How many patients of the test studies are in the training studies too."""
        return len({study.patient_id for study in self.studies} & {study.patient_id for study in tested})


def make_examiner(
    source: StudySource,
    labeler: ReportLabeler,
    bootstrap: Bootstrap,
    served: ServedSettings | None,
    *,
    uncertain_is_positive: bool,
) -> Examiner:
    """The examiner of a source's studies: phantoms have a second reader, and may have a mark."""
    mark, readers = None, {}
    if isinstance(source, PhantomSource):
        readers = {PhantomReader.name: PhantomReader(source.wording)}
        if source.mark_goes_with is not None:
            mark = Mark(source.mark_goes_with, source.has_mark)
    return Examiner(
        labeler=labeler,
        bootstrap=bootstrap,
        readers=readers,
        scorer=term_scorer(uncertain_is_positive=uncertain_is_positive),
        metrics=None if served is None else ServedMetrics(served),
        mark=mark,
    )


def term_scorer(*, uncertain_is_positive: bool) -> Scorer:
    """Scores by ``TERMS`` with the settings of reward=fact_score: ``reward_facts`` and the like, in [0, 1]."""
    reward = WeightedReward(dict.fromkeys(TERMS, 1.0), uncertain_is_positive=uncertain_is_positive)

    def score(reports: Sequence[str], studies: Sequence[Study]) -> list[Mapping[str, float]]:
        judged = reward.start(reports, studies).result()
        rows = [one.terms if isinstance(one, RewardBreakdown) else {} for one in judged]
        return [{f"reward_{name}": value for name, value in row.items() if value is not None} for row in rows]

    return score


def why_not_shuffled(studies: Sequence[Study]) -> str:
    """Why the studies can't be shown each other's images; "" where they can."""
    if not any(study.image_paths for study in studies):
        return "the questions have no images"
    return "there is only one study" if len(studies) < 2 else ""


def controls(
    examiner: Examiner,
    training: TrainingStudies,
    studies: Sequence[Study],
    seed: int,
    told: ScoreFile | None = None,
) -> dict[str, SystemScores]:
    """The rows of the controls that look at no image, by key.

    Args:
        examiner: measures them as it measures the system.
        training: the studies that were trained on, or why there are none.
        studies: that are tested on.
        seed: of the drawn labels.
        told: another tool's scores; None for none.
    """
    if asked := _questions(studies):
        return _answer_controls(examiner, training, asked)
    return {
        "always_positive": _always_positive(examiner, studies),
        "label_frequencies": _label_frequencies(examiner, training, studies, seed),
        "most_common_report": _common_report(examiner, training, studies, told or ScoreFile(None)),
    }


def _questions(studies: Sequence[Study]) -> list[Question]:
    return [study.question for study in studies if study.question is not None]


def _answer_controls(
    examiner: Examiner, training: TrainingStudies, asked: Sequence[Question]
) -> dict[str, SystemScores]:
    """Controls of questions: the most frequent training answer, and a random one."""
    learnt = _questions(training.studies)
    if not learnt:
        reason = training.reason or "there are no training questions"
        keys = ("majority_answer", "random_answer")
        return {key: SystemScores(TITLES[key], not_computed=reason) for key in keys}
    answer, majority = majority_measures(learnt, asked)
    told = {
        "majority_answer": (majority, f"the commonest of {len(learnt)} training answers, {answer}; no text"),
        "random_answer": (random_measures(learnt, asked), "expected: one of the choices, else of the training answers"),
    }
    return {key: examiner.of_labels(TITLES[key], measures, note) for key, (measures, note) in told.items()}


def _always_positive(examiner: Examiner, studies: Sequence[Study]) -> SystemScores:
    """The report that affirms everything."""
    states = always_positive_states(len(studies)), [study.labels for study in studies]
    note = "affirms all 14 observations; no text"
    return examiner.of_labels(TITLES["always_positive"], clinical_measures(*states), note, observation_counts(*states))


def _label_frequencies(
    examiner: Examiner, training: TrainingStudies, studies: Sequence[Study], seed: int
) -> SystemScores:
    """Labels drawn at their frequencies in the training studies."""
    title = TITLES["label_frequencies"]
    if training.reason:
        return SystemScores(title, not_computed=training.reason)
    states = [study.labels for study in training.studies]
    measures = label_frequency_measures(states, [study.labels for study in studies], seed)
    note = (
        f"labels drawn at the frequencies of {len(states)} training studies; macro and micro of the expected counts, "
        f"example averages over {NUM_DRAWS} draws; no text"
    )
    return examiner.of_labels(title, measures, note)


def _common_report(
    examiner: Examiner, training: TrainingStudies, studies: Sequence[Study], told: ScoreFile
) -> SystemScores:
    """The most common training report, whatever the image."""
    title = TITLES["most_common_report"]
    reports = [study.oracle_report for study in training.studies if not says_nothing(study.oracle_report)]
    if not reports:
        return SystemScores(title, not_computed=training.reason or "no training study has a report")
    text, count = most_common_report(reports)
    note = f"occurs {count} times among {len(reports)} training reports"
    if count == 1:
        note = f"the first of {len(reports)} training reports, of which none occurs twice"
    pairs = examiner.read(studies, Written((text,) * len(studies)))
    return examiner.scored(title, told.added("most_common_report", pairs), note=note)
