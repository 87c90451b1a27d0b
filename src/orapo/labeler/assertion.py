"""What a sentence asserts of each phrase in it: uncertain, negative or positive, in the order of the original labeler.

The order is: words that rule a finding open before any negation ("cannot exclude"), negation, other hedges, positive.
"""

import re
from typing import NamedTuple

from orapo.chexpert import LabelState, Observation
from orapo.labeler.cardiac_size import neutral_state
from orapo.labeler.lexicon import Effect, Lexicon, PhraseKind
from orapo.labeler.negation_scope import alternatives, reached_hits
from orapo.labeler.segments import NO_CUE, Cue, Segment, find_cues, find_hits, split_segments

_NORMAL_WORD = re.compile(r"normal|remarkable|wnl")
_BORDERLINE_WORD = re.compile(r"border")
_LINKED = re.compile(r" ?(?:is|are|appears?|remains?|:|,)?(?: \w+ly)? ?(?:within |in )?")
_MARGINAL = re.compile(r" (?:\w+ )?")


class Assertion(NamedTuple):
    """A mention without its place in the report: the part that depends on the sentence alone.

    Attributes:
        observation: what is spoken of.
        state: as in ``Mention``.
        start: first character of the matched words.
        end: one past their last character.
        cue_start: first character of the words that decided, -1 where ``cue`` isn't in the sentence.
        cue: those words.
    """

    observation: Observation
    state: LabelState
    start: int
    end: int
    cue_start: int
    cue: str


_OR = NO_CUE._replace(text="or")


def assert_sentence(sentence: str, lexicon: Lexicon, *, bare_heart_is_positive: bool) -> tuple[Assertion, ...]:
    """Every mention of a cleaned sentence, in reading order."""
    phrase_places, cue_places = lexicon.places.of(sentence)
    hits = find_hits(sentence, lexicon, phrase_places)
    if not hits:
        return ()
    has_alternatives = " or " in sentence
    assertions: list[Assertion] = []
    for segment in split_segments(sentence, hits, find_cues(sentence, lexicon, cue_places)):
        strongest = _strongest_cues(segment)
        offered = alternatives(segment) if has_alternatives else ()
        for index, hit in enumerate(segment.hits):
            phrase = hit.phrase
            reached = strongest[index]
            if phrase.kind is PhraseKind.NEUTRAL:
                state, cue = neutral_state(segment, index, reached=reached)
                if state is None:
                    if not (phrase.bare_positive and bare_heart_is_positive):
                        continue
                    state = LabelState.POSITIVE
                told = phrase.told(state)
            elif reached is not None:
                cue, told = (
                    reached,
                    phrase.when_negative if reached.effect is Effect.NEGATION else phrase.when_uncertain,
                )
            elif index in offered:
                cue, told = _OR, phrase.when_uncertain
            else:
                cue, told = NO_CUE, phrase.when_unqualified
            for observation, said, own_cue in told:
                place = (-1, own_cue) if own_cue else (cue.start, cue.text)
                assertions.append(Assertion(observation, said, hit.start, hit.end, *place))
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
