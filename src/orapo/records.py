"""Frozen text-level records that travel between the stages; no tensors, standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from orapo.chexpert import LabelStates, Observation


class Split(StrEnum):
    """Which part of a data set a study belongs to; a patient is never in two."""

    TRAIN = "train"
    VALIDATE = "validate"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Study:
    """One examination of one patient: its images, the radiologist's report and that report's labels.

    Attributes:
        study_id: unique within its source.
        patient_id: studies of one patient share it.
        split: the part of the data set it belongs to.
        image_paths: one per image, at least one; files, or names that only the source can open (phantoms).
        views: projection of each image, same length as ``image_paths``, for example ``"PA"``, ``"AP"``, ``"L"``.
        oracle_report: the radiologist's report (the chosen sections); "" where no report is public, as for CheXpert's
            test set: such a study can be neither trained on nor compared by text.
        labels: state of all 14 observations.
    """

    study_id: str
    patient_id: str
    split: Split
    image_paths: tuple[str, ...]
    views: tuple[str, ...]
    oracle_report: str
    labels: LabelStates


@dataclass(frozen=True, slots=True)
class Fact:
    """One atomic clinical statement of a generated report, equation (13).

    Attributes:
        text: the statement, as written in the report.
        sentence_index: which sentence of the report it comes from, counted from 0.
    """

    text: str
    sentence_index: int


class Judgement(Enum):
    """What the facts of a generated report say of one observation, equation (14)."""

    ENTAILED = "entailed"
    CONTRADICTED = "contradicted"
    NOT_MENTIONED = "not mentioned"


@dataclass(frozen=True, slots=True)
class LabelVerdict:
    """The judgement of one observation, and the facts that it rests on (none when it isn't mentioned)."""

    observation: Observation
    judgement: Judgement
    supporting_facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class FailedJudgement:
    """A report that no judge could read: it has no reward, which is not a reward of zero.

    Attributes:
        reason: why, in one line, without the report's text.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class RewardBreakdown:
    """Why one generated report earned its reward.

    Attributes:
        total: the reward, in [0, 1].
        precision: of this one report over the 14 observations, in [0, 1].
        recall: of this one report over the 14 observations, in [0, 1].
        true_positives: present and entailed.
        false_positives: absent and entailed, or present and contradicted.
        false_negatives: present and not entailed.
        facts: every fact found in the report.
        verdicts: one per observation, in the order of ``OBSERVATIONS``.
        rejected: statements that were not read as facts, each with the reason; empty for judges that reject nothing.
        judge: who read the report: "offline", or the model that answered; empty where a judge has no name.
    """

    total: float
    precision: float
    recall: float
    true_positives: frozenset[Observation]
    false_positives: frozenset[Observation]
    false_negatives: frozenset[Observation]
    facts: tuple[Fact, ...]
    verdicts: tuple[LabelVerdict, ...]
    rejected: Mapping[str, str]
    judge: str = ""
