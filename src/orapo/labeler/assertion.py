"""What a sentence asserts of each phrase in it: uncertain, negative or positive, in the order of the original labeler.

The order is: words that rule a finding open before any negation ("cannot exclude"), negation, other hedges, positive.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from orapo.chexpert import LabelState, Observation
from orapo.labeler.asides import split_asides
from orapo.labeler.cardiac_size import neutral_state
from orapo.labeler.ellipsis import (
    add_elliptical_hits,
    echoed_predicate,
    excepted_observations,
    is_superseded,
    repeated_denial,
)
from orapo.labeler.lexicon import RANKS, Effect, Lexicon, PhraseKind, Reach
from orapo.labeler.negation_scope import alternatives, reached_hits, taken_for_granted
from orapo.labeler.presupposition import denied_predicate
from orapo.labeler.segments import NO_CUE, Cue, Segment, answers_to_labels, find_cues, find_hits, split_segments

_NORMAL_WORD = re.compile(r"(?<!ab)normal(?!i)|remarkable|wnl")
_BORDERLINE_WORD = re.compile(r"border")
_LINKED = re.compile(r" ?(?:is|are|appears?|remains?|:|,|-)?(?: \w+ly)? ?(?:within |in )?")
_MARGINAL = re.compile(r" (?:\w+ )?")
_NO_CHANGE = re.compile(r"(?:no|without|not|little|minimal|never|any|zero|lack of|absence of)\b")


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
    """Assertions on every mention of a cleaned sentence, in reading order."""
    parts = split_asides(sentence)
    if len(parts) == 1:
        return _assert_part(sentence, lexicon, bare_heart_is_positive=bare_heart_is_positive)
    found = [
        assertion._replace(
            start=part.origins[assertion.start],
            end=part.origins[assertion.end - 1] + 1,
            cue_start=assertion.cue_start if assertion.cue_start < 0 else part.origins[assertion.cue_start],
        )
        for part in parts
        for assertion in _assert_part(part.text, lexicon, bare_heart_is_positive=bare_heart_is_positive)
    ]
    return tuple(sorted(found, key=lambda assertion: assertion.start))


def _assert_part(sentence: str, lexicon: Lexicon, *, bare_heart_is_positive: bool) -> tuple[Assertion, ...]:
    """As ``assert_sentence``, for a sentence without asides or for one aside."""
    segments = read_segments(sentence, lexicon)
    assertions: list[Assertion] = []
    previous: list[Cue | None] = []
    for number, segment in enumerate(segments):
        strongest = _strongest_cues(segment)
        if number and (echo := echoed_predicate(segment, segments[number - 1], previous)) is not None:
            strongest[-1] = echo
        previous = strongest
        if len(segments) > 1 and is_superseded(segment, segments[number + 1 :]):
            continue
        read = _assertions(segment, strongest, bare_heart_is_positive=bare_heart_is_positive)
        excepted = excepted_observations(segments, number) if len(segments) > 1 else ()
        assertions += [
            assertion
            for assertion in read
            if assertion.observation not in excepted or assertion.state is not LabelState.NEGATIVE
        ]
    return tuple(assertions)


def read_segments(sentence: str, lexicon: Lexicon) -> list[Segment]:
    """Cuts a cleaned sentence without asides into segments with their mentions and cues; [] without a mention."""
    phrase_places, cue_places = lexicon.places.of(sentence)
    hits = find_hits(sentence, lexicon, phrase_places)
    if not hits:
        return []
    cues = find_cues(sentence, lexicon, cue_places)
    hits = add_elliptical_hits(sentence, hits, cues)
    return split_segments(sentence, hits, answers_to_labels(sentence, hits, cues))


def _assertions(segment: Segment, strongest: Sequence[Cue | None], *, bare_heart_is_positive: bool) -> list[Assertion]:
    """Asserts each hit of a segment; ``strongest`` has the cue that decides it."""
    offered = alternatives(segment) if " or " in segment.sentence else ()
    assertions = []
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
            cue = reached
            if reached.effect is Effect.PRESUPPOSED:
                told = phrase.when_unqualified
            else:
                told = phrase.when_negative if reached.effect is Effect.NEGATION else phrase.when_uncertain
        elif index in offered:
            cue, told = _OR, phrase.when_uncertain
        else:
            cue, told = NO_CUE, phrase.when_unqualified
        for observation, said, own_cue in told:
            place = (-1, own_cue) if own_cue else (cue.start, cue.text)
            assertions.append(Assertion(observation, said, hit.start, hit.end, *place))
    return assertions


def _strongest_cues(segment: Segment) -> list[Cue | None]:
    """For each hit the cue of highest rank that reaches it; of equals, the last one read."""
    strongest: list[Cue | None] = [None] * len(segment.hits)
    for cue in segment.cues:
        if cue.effect is Effect.STABLE and _NO_CHANGE.match(cue.text):
            spared = reached_hits(segment, cue._replace(effect=Effect.NEGATION))
            _presuppose(strongest, [*spared, *taken_for_granted(segment, cue, spared)], cue)
        if not cue.rank:
            if cue.effect is Effect.NORMAL or cue.effect is Effect.BORDERLINE:
                _apply_to_adjacent(segment, cue, strongest)
            continue
        reached = list(reached_hits(segment, cue))
        if cue.effect is Effect.NEGATION and cue.reach is Reach.AFTER:
            _presuppose(strongest, taken_for_granted(segment, cue, reached), cue)
            effect = denied_predicate(segment, cue, reached)
            if (
                reached
                and cue.text == "nor"
                and (said := repeated_denial(segment, cue, reached[0], strongest)) is not None
            ):
                effect = said
            cue = cue._replace(effect=effect, rank=RANKS[effect])
        for index in reached:
            holder = strongest[index]
            if holder is None or holder.rank <= cue.rank:
                strongest[index] = cue
    return strongest


def _presuppose(strongest: list[Cue | None], indices: Sequence[int], cue: Cue) -> None:
    """Says of these hits that they are there, whatever else is denied of them."""
    for index in indices:
        strongest[index] = cue._replace(effect=Effect.PRESUPPOSED, rank=RANKS[Effect.PRESUPPOSED])


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
