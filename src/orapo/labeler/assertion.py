"""What a sentence asserts of each phrase in it: uncertain, negative or positive, in the order of the original labeler.

The order is: words that rule a finding open before any negation ("cannot exclude"), negation, other hedges, positive.
"""

import re
from typing import NamedTuple

from orapo.chexpert import LabelState, Observation
from orapo.labeler.heart import neutral_state
from orapo.labeler.lexicon import Effect, Lexicon, PhraseKind
from orapo.labeler.reach import alternatives, reached_hits
from orapo.labeler.segments import Cue, Hit, Segment, find_cues, find_hits, split_segments

_NORMAL_WORD = re.compile(r"normal|remarkable|wnl")
_BORDERLINE_WORD = re.compile(r"border")
_LINKED = re.compile(r" ?(?:is|are|appears?|remains?|:|,)?(?: \w+ly)? ?(?:within |in )?")
_MARGINAL = re.compile(r" (?:\w+ )?")


class Assertion(NamedTuple):
    """A mention without its place in the report: the part that depends on the sentence alone."""

    observation: Observation
    state: LabelState
    start: int
    end: int
    cue: str


def assert_sentence(sentence: str, lexicon: Lexicon, *, bare_heart_is_positive: bool) -> tuple[Assertion, ...]:
    """Every mention of a cleaned sentence, in reading order."""
    hits = find_hits(sentence, lexicon)
    if not hits:
        return ()
    has_alternatives = " or " in sentence
    assertions: list[Assertion] = []
    for segment in split_segments(sentence, hits, find_cues(sentence, lexicon)):
        strongest = _strongest_cues(segment)
        offered = frozenset(alternatives(segment)) if has_alternatives else ()
        for index, hit in enumerate(segment.hits):
            state, cue = _state_of(segment, index, strongest[index], index in offered, bare_heart_is_positive)
            if state is not None:
                assertions.extend(_assertions_of(hit, state, cue))
    return tuple(assertions)


def _strongest_cues(segment: Segment) -> list[Cue | None]:
    """For each hit the cue of highest rank that reaches it; of equals, the last one read."""
    strongest: list[Cue | None] = [None] * len(segment.hits)
    for cue in segment.cues:
        if not cue.rank:
            if cue.effect is Effect.NORMAL or cue.effect is Effect.BORDERLINE:
                _apply_to_adjacent(segment, cue, strongest)
            continue
        for index in reached_hits(segment, cue):
            holder = strongest[index]
            if holder is None or holder.rank <= cue.rank:
                strongest[index] = cue
    return strongest


def _apply_to_adjacent(segment: Segment, cue: Cue, strongest: list[Cue | None]) -> None:
    """A finding called normal is absent ("interstitial markings are normal"), one called borderline is uncertain."""
    text = segment.sentence
    is_normal = cue.effect is Effect.NORMAL
    is_word = (_NORMAL_WORD if is_normal else _BORDERLINE_WORD).search(cue.text) is not None
    for index, hit in enumerate(segment.hits):
        if hit.phrase.kind is PhraseKind.NEUTRAL or hit.phrase.is_device or strongest[index] is not None:
            continue
        is_in_front = cue.end <= hit.start and _MARGINAL.fullmatch(text, cue.end, hit.start) is not None
        is_behind = hit.end <= cue.start and _LINKED.fullmatch(text, hit.end, cue.start) is not None
        is_around = cue.start < hit.end and hit.start < cue.end  # "no cardiac enlargement": the cue holds the phrase
        if is_around or (is_word and (is_in_front or is_behind)):
            effect, rank = (Effect.NEGATION, 2) if is_normal else (Effect.UNCERTAIN, 1)
            strongest[index] = cue._replace(effect=effect, rank=rank)


def _state_of(
    segment: Segment, index: int, reached: Cue | None, is_offered: bool, bare_heart_is_positive: bool
) -> tuple[LabelState | None, str]:
    phrase = segment.hits[index].phrase
    if phrase.kind is PhraseKind.NEUTRAL:
        state, cue = neutral_state(segment, index, reached=reached)
        if state is None and phrase.bare_positive and bare_heart_is_positive:
            state = LabelState.POSITIVE
        return state, cue
    if reached is not None:
        is_negated = reached.effect is Effect.NEGATION
        return (LabelState.NEGATIVE if is_negated else LabelState.UNCERTAIN), reached.text
    if is_offered:
        return LabelState.UNCERTAIN, "or"
    return (LabelState.UNCERTAIN if phrase.kind is PhraseKind.HEDGED else LabelState.POSITIVE), ""


def _assertions_of(hit: Hit, state: LabelState, cue: str) -> list[Assertion]:
    """One per observation of the phrase; for No Finding, another abnormality speaks against it unless negated."""
    found = []
    for observation in hit.phrase.observations:
        if observation is not Observation.NO_FINDING:
            found.append(Assertion(observation, state, hit.start, hit.end, cue))
        elif state is not LabelState.NEGATIVE:
            against = LabelState.NEGATIVE if state is LabelState.POSITIVE else state
            found.append(Assertion(observation, against, hit.start, hit.end, cue))
    if state is not LabelState.NEGATIVE:
        found += [
            Assertion(observation, LabelState.UNCERTAIN, hit.start, hit.end, hit.phrase.name)
            for observation in hit.phrase.also_uncertain
        ]
    return found
