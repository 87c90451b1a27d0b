"""What the labeler says of a report: mentions with their assertion, and the 14 states they aggregate to."""

from dataclasses import dataclass
from typing import NamedTuple

from orapo.chexpert import LabelState, LabelStates, Observation


class Mention(NamedTuple):
    """One place where a report speaks of an observation.

    Attributes:
        observation: what is spoken of.
        state: POSITIVE, NEGATIVE or UNCERTAIN, never UNMENTIONED.
        sentence_index: which sentence of the report, counted from 0.
        sentence: that sentence, as cleaned for matching.
        start: first character of the matched words in ``sentence``.
        end: one past their last character.
        cue: the words that decided the state, "" when nothing negates or hedges the mention.
    """

    observation: Observation
    state: LabelState
    sentence_index: int
    sentence: str
    start: int
    end: int
    cue: str

    @property
    def matched_text(self) -> str:
        """The words that were recognised."""
        return self.sentence[self.start : self.end]


@dataclass(frozen=True, slots=True)
class LabeledReport:
    """The 14 label states of one report, with every mention that they rest on."""

    states: LabelStates
    mentions: tuple[Mention, ...]
