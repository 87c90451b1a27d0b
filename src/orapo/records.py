"""Frozen text-level records that the stages pass on; no tensors, standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, Literal, NamedTuple

from orapo.chexpert import LabelState, LabelStates, Observation

DEFAULT_PATTERN = r"(?<![^\W_])(?i:answer)[\s*_]*[:=][\s*_]*(?P<answer>[^\n]*\S)"
"""Of an answer: "Answer: ...", on the last line."""


class Split(StrEnum):
    """The part of a data set that a study belongs to; each patient is in one part only."""

    TRAIN = "train"
    VALIDATE = "validate"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class PriorStudy:
    """An earlier study of the same patient and split: in a data set, the latest one that has a report.

    Attributes:
        study_id: unique within its source.
        image_paths: as of a ``Study``; none where its images aren't public.
        views: projection of each image.
        report: the chosen sections; "" only where a user generates reports for own images.
        days_before: days between the two, at least 0; None where only their order is known.
    """

    study_id: str
    image_paths: tuple[str, ...]
    views: tuple[str, ...]
    report: str
    days_before: int | None


@dataclass(frozen=True, slots=True)
class Context:
    """What a radiologist knows before looking at the images; all fields are empty where a source has none.

    Attributes:
        indication: why the study was made, on one line, without marks of de-identification.
        comparison: what it was compared with, likewise on one line.
        technique: how the images were taken, likewise on one line.
        age_years: at least 0; None where it isn't known.
        sex: ``"F"``, ``"M"`` or ``""``.
        prior: never of another split, never of the same time or later.
    """

    indication: str = ""
    comparison: str = ""
    technique: str = ""
    age_years: int | None = None
    sex: str = ""
    prior: PriorStudy | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question asked instead of a report, and how an answer is read and checked (``measures.answers``).

    Attributes:
        text: the whole question, which replaces ``model.instruction``.
        answer: the right one; of a multiple choice, the text of that choice.
        group: accuracy is given by group, and subsets are balanced over groups; for example ``"5 numbers"``.
        kind: "exact" (the same words), "numeric" or "choice".
        choices: of a multiple choice, in the order of their letters, at least 2; empty otherwise.
        tolerance: of a numeric answer, at least 0: how far from ``answer`` still counts as right.
        pattern: regular expression with a group ``answer`` that the end of a completion must match.
    """

    text: str
    answer: str
    group: str
    kind: Literal["exact", "numeric", "choice"] = "exact"
    choices: tuple[str, ...] = ()
    tolerance: float = 0.0
    pattern: str = DEFAULT_PATTERN


@dataclass(frozen=True, slots=True)
class Study:
    """One examination of one patient: its images, the radiologist's report and that report's labels.

    Or one question: it has an answer that can be checked instead of labels, a worked solution instead of the report,
    and perhaps no image.

    Attributes:
        study_id: unique within its source.
        patient_id: studies of one patient share it.
        split: the part of the data set it belongs to.
        image_paths: one per image, at least one but for a question; files, or names with a scheme that only the source
            can open (``phantom:train/3``).
        views: projection of each image, same length as ``image_paths``, for example ``"PA"``, ``"AP"``, ``"L"``.
        oracle_report: the radiologist's report (the chosen sections); "" where no report is public, as for CheXpert's
            test set: such a study can be neither trained on nor compared by text.
        labels: state of all 14 observations; empty for a question.
        context: what was known before; an empty one by default.
        question: None where a report is asked for.
    """

    study_id: str
    patient_id: str
    split: Split
    image_paths: tuple[str, ...]
    views: tuple[str, ...]
    oracle_report: str
    labels: LabelStates
    context: Context = Context()
    question: Question | None = None


class Reading(NamedTuple):
    """A second reader's reading of one report.

    Attributes:
        states: the 14 label states.
        num_refused: the number of sentences that it could not read, which state nothing.
    """

    states: LabelStates
    num_refused: int = 0


class MentionSpan(NamedTuple):
    """Where a report mentions an observation and with which state, without its words.

    Attributes:
        observation: what is mentioned.
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
        text: the statement in one line, as written in the report, or as a language model worded it.
        sentence_index: which sentence of the report it comes from, counted from 0.
        start: its first character in the report; that of the sentence where a language model worded it.
        end: one past the last character.
        mentions: the rule labeler's, in reading order; none where a language model worded the statement.
    """

    text: str
    sentence_index: int
    start: int
    end: int
    mentions: tuple[MentionSpan, ...] = ()


class Judgement(Enum):
    """What the facts of a generated report state about one observation, equation (14)."""

    ENTAILED = "entailed"
    CONTRADICTED = "contradicted"
    NOT_MENTIONED = "not mentioned"


@dataclass(frozen=True, slots=True)
class LabelVerdict:
    """The judgement of one observation, and the facts that it rests on (none where it isn't mentioned)."""

    observation: Observation
    judgement: Judgement
    supporting_facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class FailedJudgement:
    """A report that no judge could read. It has no reward, which differs from a reward of zero.

    Attributes:
        reason: why, in one line, without the report's text.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class RewardBreakdown:
    """Why one generated report earned its reward.

    Attributes:
        total: the reward, in [0, 1]; FactS in a judge's own breakdown.
        precision: of this one report over the 14 observations, in [0, 1]; NaN for an answer to a question.
        recall: as ``precision``.
        true_positives: present and entailed.
        false_positives: absent and entailed, or present and contradicted.
        false_negatives: present and not entailed.
        facts: every fact found in the report.
        verdicts: one per observation, in the order of ``OBSERVATIONS``; none for an answer.
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
        """Whether the report counts as a reward of zero, equation (8)."""
        return self.total == 0 if self.zero is None else self.zero
