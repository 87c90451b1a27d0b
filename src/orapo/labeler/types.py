"""What the labeler says of a report: mentions with their assertion, and the 14 states they aggregate to."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from orapo.chexpert import LabelState, LabelStates, Observation
from orapo.labeler.attribute_scope import read_sentence
from orapo.labeler.attributes import Attributes, Stated, attributes_of
from orapo.records import MentionSpan


class Mention(NamedTuple):
    """One place where a report speaks of an observation.

    Attributes:
        observation: what is spoken of.
        state: POSITIVE, NEGATIVE or UNCERTAIN, never UNMENTIONED.
        start: first character of the matched words in the report.
        end: one past their last character.
        cue: the words that decided the state, as cleaned for matching; "" when nothing negates or hedges the mention.
        cue_start: first character of those words in the report, -1 where ``cue`` names the phrase or there is none.
        cue_end: one past their last character, or -1.
        matched_text: the words that were recognised, as cleaned for matching.
        sentence: their sentence, as cleaned for matching.
        sentence_index: which sentence of the report, counted from 0.
        start_in_sentence: first character of the matched words in ``sentence``.
    """

    observation: Observation
    state: LabelState
    start: int
    end: int
    cue: str
    cue_start: int
    cue_end: int
    matched_text: str
    sentence: str
    sentence_index: int
    start_in_sentence: int

    @property
    def attributes(self) -> Attributes:
        """What the report states of it: certainty, side, place, severity, size, change; read when first asked for."""
        at = self.start_in_sentence
        stated = next((said for start, end, said in read_sentence(self.sentence) if start <= at < end), Stated())
        return attributes_of(stated, self.observation, self.state, self.cue)

    @property
    def span(self) -> MentionSpan:
        """What is kept of it where the report's words aren't."""
        return MentionSpan(self.observation, self.state, self.start, self.end, self.cue_start, self.cue_end)


@dataclass(frozen=True, slots=True)
class LabeledReport:
    """The 14 label states of one report, with every mention that they rest on."""

    states: LabelStates
    mentions: tuple[Mention, ...]


@runtime_checkable
class ReportLabeler(Protocol):
    """Labels one report: ``orapo.labeler.Labeler``, or another with the same method."""

    def label(self, report: str, /) -> LabeledReport:
        """The 14 label states of a report, which may be empty."""
