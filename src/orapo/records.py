"""Frozen text-level records that travel between the stages; no tensors, standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, NamedTuple

from orapo.chexpert import LabelState, LabelStates, Observation


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


class MentionSpan(NamedTuple):
    """Where a report speaks of an observation and what it says, without its words.

    Attributes:
        observation: what is spoken of.
        state: POSITIVE, NEGATIVE or UNCERTAIN, never UNMENTIONED.
        start: first character of the mention in the report.
        end: one past its last character.
        cue_start: first character of the words that decided the state, -1 where there are none.
        cue_end: one past their last character, or -1.
    """

    observation: Observation
    state: LabelState
    start: int
    end: int
    cue_start: int
    cue_end: int

    def to_row(self) -> dict[str, str | int]:
        """Plain words and numbers, for a line of JSON."""
        return {**self._asdict(), "observation": self.observation.value, "state": self.state.value}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "MentionSpan":
        """Reads what ``to_row`` made.

        Raises:
            KeyError: an entry is missing.
            ValueError: an unknown observation or state, or a place that is no number.
        """
        places = (int(row[name]) for name in ("start", "end", "cue_start", "cue_end"))
        return cls(Observation(row["observation"]), LabelState(row["state"]), *places)


@dataclass(frozen=True, slots=True)
class Fact:
    """One atomic clinical statement of a generated report, equation (13).

    Attributes:
        text: the statement in one line, as written in the report, or as a language model put it.
        sentence_index: which sentence of the report it comes from, counted from 0.
        start: its first character in the report; that of the sentence where a language model put it.
        end: one past the last character.
        mentions: what the rule labeler reads in it, in reading order; none where a language model put it.
    """

    text: str
    sentence_index: int
    start: int
    end: int
    mentions: tuple[MentionSpan, ...] = ()


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
        total: the reward, in [0, 1]; of a judge's own reading, FactS.
        precision: of this one report over the 14 observations, in [0, 1].
        recall: of this one report over the 14 observations, in [0, 1].
        true_positives: present and entailed.
        false_positives: absent and entailed, or present and contradicted.
        false_negatives: present and not entailed.
        facts: every fact found in the report.
        verdicts: one per observation, in the order of ``OBSERVATIONS``.
        rejected: statements that were not read as facts, each with the reason; empty for judges that reject nothing.
        judge: who read the report: "offline", or the model that answered; empty where a judge has no name.
        terms: each term's value by name, in [0, 1]; None where the study leaves it undefined.
        zero: whether it counts as a reward of zero, equation (8); None: where ``total`` is 0.
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
    terms: Mapping[str, float | None] = field(default_factory=dict)
    zero: bool | None = None

    @property
    def is_zero(self) -> bool:
        """Whether it counts as a reward of zero."""
        return self.total == 0 if self.zero is None else self.zero
