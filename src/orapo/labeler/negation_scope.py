"""Which mentions a cue applies to: those after it in a list, its subject before it, or both neighbours."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from orapo.labeler.lexicon import Effect, Reach
from orapo.labeler.lists import STOPS, VERB, Gap, has_a_word_for_each, hedge_carries, negation_carries
from orapo.labeler.presupposition import subject_before
from orapo.labeler.segments import Cue, Hit, Segment

Carries = Callable[[Segment, int, Gap], bool]

_PART_OF_DEVICE = re.compile(r" (?:\w+ )?(?:tip|tips|end|ends|course|portion|side ?-?(?:port|hole)s?)\b")
_ANOTHER_SUBJECT = re.compile(
    r" (?!(?:which|that|and|but|has|have|previously|prior|now|also|likely|seen|noted|as|on|in|both|all|if)\b)[a-z]"
)
_ANOTHER_STATEMENT = re.compile(r", and an? .*")
_REMOVAL = re.compile(r"remov|extubat|discontinu|extract|explant|taken out|withdraw")
_ANSWER = re.compile(
    r"(?:[:=([{-] ?)?(?:all )?(?:none|nil|no|absent|negative|neg|neither|no evidence|not \w+|resolved|removed)$"
)
_NEEDS_SIGN = ("resolved", "removed")
_SIGNS = tuple(":=([{-?")
_ANSWERED = re.compile(
    r"\b(?:none|nil|no|absent|present|yes|negative|positive|neg|pos|small|moderate|large|trace|mild)\b|[:=]"
)


def reached_hits(segment: Segment, cue: Cue) -> Sequence[int]:
    """Indices of the hits of the segment that the cue speaks of.

    Devices are removed, findings resolve: "removed" doesn't make an effusion go, nor "resolved" a tube.
    """
    if cue.effect is Effect.PRESUPPOSED:
        first = [index for index, hit in enumerate(segment.hits) if hit.start >= cue.end][:1]
        return [index for index in first if not Gap.of(segment.sentence[cue.end : segment.hits[index].start]).connector]
    if cue.reach is Reach.AROUND:
        indices = _nearest_on_both_sides(segment, cue)
    elif cue.reach is Reach.BEFORE:
        indices = _hits_before(segment, cue)
    else:
        indices = _hits_after(segment, cue, hedge_carries if cue.effect is Effect.UNCERTAIN else negation_carries)
    if cue.effect is not Effect.NEGATION or not (is_removal := _REMOVAL.search(cue.text) is not None):
        return [*indices]
    hits = segment.hits
    return [index for index in indices if hits[index].phrase.is_device == is_removal]


def taken_for_granted(segment: Segment, cue: Cue, reached: Sequence[int]) -> Sequence[int]:
    """The list of hits that a denial presupposes: both findings in "no growth of the nodule or the effusion"."""
    first = reached[-1] + 1 if reached else next((i for i, hit in enumerate(segment.hits) if hit.start >= cue.end), -1)
    if not 0 <= first < len(segment.hits) or segment.hits[first].start >= _next_stop(segment, cue):
        return ()
    start = segment.hits[first].start
    gap = Gap.of(segment.sentence[segment.hits[first - 1].end if reached else cue.end : start], is_first=not reached)
    if "and" in gap.connector or not gap.takes_for_granted:
        return ()
    return [*_hits_after(segment, cue._replace(start=start, end=start), negation_carries)]


def _hits_after(segment: Segment, cue: Cue, carries: Carries) -> Iterator[int]:
    previous, is_first = cue.end, True
    own_preposition = _repeated_preposition(cue.text.rpartition(" ")[2])
    own_stop = _next_stop(segment, cue)
    is_of = cue.text.endswith(" of")
    for index, hit in enumerate(segment.hits):
        if hit.start < cue.end:
            continue
        if hit.start >= own_stop:
            return
        words = segment.sentence[previous : hit.start]
        if own_preposition is not None:
            words = own_preposition.sub(r"\1", words)  # "no change in the edema or in the effusion"
        if not carries(segment, index, Gap.of(words, is_first=is_first, is_of=is_of)):
            return
        if not is_first and words == ", " and has_a_word_for_each(segment, cue):
            return
        yield index
        previous, is_first = max(previous, hit.end), False


@cache
def _repeated_preposition(word: str) -> re.Pattern[str] | None:
    """Where a list says the preposition of its cue again."""
    return re.compile(rf"((?:,|\band|\bor|\bnor) ){word} ") if word in ("of", "in", "for", "from", "to") else None


def _next_stop(segment: Segment, cue: Cue) -> int:
    """Where the next cue of the same kind takes over; "nor" continues what was denied before it."""
    stops = (
        other.start
        for other in segment.cues
        if other.start >= cue.end and other.reach is Reach.AFTER and other.effect in STOPS and other.text != "nor"
    )
    return next(stops, segment.end)


def _hits_before(segment: Segment, cue: Cue) -> Iterator[int]:
    """The subject of the cue: the nearest hit in front of it, then leftwards over a list closed by "and" or "or"."""
    following: Hit | None = None
    is_list = answers = _answers(segment, cue)
    index = sum(hit.end <= cue.start for hit in segment.hits)
    while index > 0:
        index -= 1
        hit = segment.hits[index]
        gap = Gap.of(segment.sentence[hit.end : following.start if following else cue.start])
        if gap.connector and VERB.search(gap.before) and not (following is None and gap.words.endswith("but ")):
            return
        if following is None:
            if hit.phrase.is_device and _PART_OF_DEVICE.match(gap.words):
                return  # "the tube's tip isn't seen" leaves the tube where it is
            if gap.connector == "," and _ANOTHER_SUBJECT.match(gap.behind):
                return  # "tube in place, tip not seen": it's the tip that isn't seen
            if gap.connector and answers:
                return  # "the left lung has a mass, and the right has none"
            index = subject_before(segment.sentence, segment.hits, index)
        else:
            if (not gap.connector and VERB.search(gap.words)) or (answers and _ANSWERED.search(gap.words)):
                return
            is_list |= "or" in gap.connector or "and" in gap.connector
            if (gap.connector == "," and not is_list) or _ANOTHER_STATEMENT.fullmatch(gap.connector + gap.behind):
                return
        yield index
        following = segment.hits[index]


def _answers(segment: Segment, cue: Cue) -> bool:
    """Whether a cue answers the label or labels in front of it ("consolidation, effusion: none")."""
    if _ANSWER.match(cue.text) is None:
        return False
    if cue.text.startswith(_SIGNS):
        return True
    return (cue.text not in _NEEDS_SIGN and not cue.text.startswith("not ")) or segment.sentence[
        : cue.start
    ].rstrip().endswith(_SIGNS)


def _nearest_on_both_sides(segment: Segment, cue: Cue) -> Iterator[int]:
    before = [index for index, hit in enumerate(segment.hits) if hit.end <= cue.start]
    after = [index for index, hit in enumerate(segment.hits) if hit.start >= cue.end]
    yield from before[-1:]
    yield from after[:1]


_OR_BEHIND = re.compile(r" or\b(?! (?:larger|more|greater|so|less|two|three|four)\b)")
_OR_BETWEEN = re.compile(r",? ?or (?:[\w-]+ ){0,5}$|(?: [\w-]+){0,5},? or (?:[\w-]+ ){0,5}$")
_OR_IN_FRONT = re.compile(r"\bor (?!(?:two|three|four|more|left|right)\b)(?:[\w-]+ ){0,2}$")
_SIDES = re.compile(r"\b(?:left|right|one|upper|lower|middle|mid) or (?:[\w-]+ ){0,3}$")


def alternatives(segment: Segment) -> frozenset[int]:
    """Indices of hits that are offered as alternatives ("atelectasis or pneumonia"), whatever else is said of them."""
    text, hits = segment.sentence, segment.hits
    flagged = [False] * len(hits)
    for index, hit in enumerate(hits):
        if _OR_BEHIND.match(text, hit.end, segment.end):
            flagged[index] = True
        front = text[hits[index - 1].end if index else segment.start : hit.start]
        if "or" not in front or VERB.search(front) or _SIDES.search(front):
            continue
        if index and _OR_BETWEEN.match(front):
            flagged[index] = True
            flagged[index - 1] |= not any(hits[index - 1].end <= cue.start < hit.start for cue in segment.cues)
        elif not index and _OR_IN_FRONT.search(front):
            flagged[index] = True
    for index in range(len(hits) - 2, -1, -1):  # "A, B or C": the comma joins A to the alternatives
        if flagged[index + 1] and text[hits[index].end : hits[index + 1].start] == ", ":
            flagged[index] = True
    return frozenset(index for index, is_alternative in enumerate(flagged) if is_alternative)
