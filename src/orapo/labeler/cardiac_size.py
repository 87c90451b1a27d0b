"""What a sentence states of a heart or mediastinum that it only names: normal, enlarged, stable, or nothing."""

import re

from orapo.chexpert import LabelState
from orapo.labeler.lexicon import Effect, PhraseKind, Reach, scope_words
from orapo.labeler.segments import NO_CUE, Cue, Hit, Segment

_PREDICATES = (Effect.NORMAL, Effect.ENLARGED, Effect.BORDERLINE, Effect.STABLE)
_SIZED = (Effect.ENLARGED, Effect.BORDERLINE)
_STATES = {
    Effect.NORMAL: LabelState.NEGATIVE,
    Effect.ENLARGED: LabelState.POSITIVE,
    Effect.BORDERLINE: LabelState.UNCERTAIN,
    Effect.STABLE: LabelState.UNCERTAIN,
    Effect.UNCERTAIN: LabelState.UNCERTAIN,
    Effect.RULED_OPEN: LabelState.UNCERTAIN,
    Effect.NEGATION: LabelState.NEGATIVE,
    Effect.PRESUPPOSED: LabelState.POSITIVE,
}
_COPULA = re.compile(
    r"\b(?:is|are|was|were|be|been|remains?|appears?|seems?|looks?|has|have|demonstrates?|shows?|measures?)\b"
)
_PREDICATIVE = re.compile(r"(?:\b(?:is|are|was|were|remains?|appears?|seems?)\b(?: \w+){0,2}|,) ?$")
_ATTRIBUTIVE = re.compile(rf"(?: (?:{scope_words('between_attribute_and_heart')})|,)* ?")
_JOINED_IN_FRONT = re.compile(r" ?(?:,|and\b|or\b)")
_SHARED_PREDICATE = re.compile(r" and (?:[\w-]+ ){1,4}(?:are|remain|have|were|appear)\b")
_NEITHER = re.compile(r"neither|nor|none")
_LIST_GAP = re.compile(r",? ?(?:(?:and|or) )?(?:the )?")
_DIMENSIONS = re.compile(
    r"(?:(?:,| and| or|, and) (?:\w+ )?(?:size|shape|configuration|contours?|width|position|appearance|dimensions?))+"
    r" of\b"
)
_TELEGRAPHIC_SUBJECT = re.compile(rf"\b(?:{scope_words('other_subjects')})(?: \w+ly)? $")
_OTHER_SUBJECT = re.compile(rf"\b(?:{scope_words('other_subjects')})\b")
_CONNECTED = re.compile(r"(?:,|\band\b|\bor\b)(.*)$")
_NOUN_BEHIND = re.compile(r" (?!in\b|for\b|and\b|size\b|limits?\b)(?:[\w-]+ )?" + _OTHER_SUBJECT.pattern)
_LONGEST_REACH = 110  # characters between a subject and its predicate; lists of four structures fit


def neutral_state(segment: Segment, index: int, *, reached: Cue | None) -> tuple[LabelState | None, Cue]:
    """The state of a named heart or mediastinum and the deciding cue; None when nothing is said of its size.

    Args:
        segment: where the hit stands.
        index: the hit, of a neutral phrase.
        reached: the general cue (negation, hedge) that reaches the hit, used when no predicate decides.
    """
    if not segment.cues:
        return None, NO_CUE
    hit = segment.hits[index]
    decisive = _around(segment, hit) or _in_front(segment, hit) or _behind(segment, hit)
    if decisive is not None and reached is not None and _NEITHER.match(reached.text) and reached.end <= hit.start:
        # "neither heart size nor mediastinal width is normal", "... is enlarged"
        return (LabelState.POSITIVE if decisive.effect is Effect.NORMAL else LabelState.NEGATIVE), reached
    if decisive is not None and decisive.effect is Effect.ENLARGED and reached is not None and reached.end <= hit.start:
        return _STATES[reached.effect], reached  # "possible enlarged heart", "no definite widening of ..."
    is_sized_in_front = decisive is not None and decisive.end <= hit.start and decisive.effect in _SIZED
    if is_sized_in_front and reached is not None and hit.end <= reached.start:
        return _STATES[reached.effect], reached  # "an enlarged heart cannot be excluded", "... is not seen"
    if decisive is not None:
        return _STATES[decisive.effect], decisive
    if reached is not None:
        return _STATES[reached.effect], reached
    shared = _shared_attribute(segment, index)
    return (None, NO_CUE) if shared is None else (_STATES[shared.effect], shared)


def _shared_attribute(segment: Segment, index: int) -> Cue | None:
    """The attribute of a list that the name stands in: "normal heart size, mediastinum and vessels"."""
    while index:
        before, hit = segment.hits[index - 1], segment.hits[index]
        if before.phrase.kind is not PhraseKind.NEUTRAL:
            return None
        if _LIST_GAP.fullmatch(segment.sentence, before.end, hit.start) is None:
            return None
        index -= 1
        if (cue := _in_front(segment, before)) is not None:
            return cue
    return None


def _is_predicate(cue: Cue) -> bool:
    return cue.effect in _PREDICATES or (
        cue.reach is Reach.BEFORE and cue.effect in (Effect.UNCERTAIN, Effect.NEGATION, Effect.RULED_OPEN)
    )


def _around(segment: Segment, hit: Hit) -> Cue | None:
    """A predicate that holds the name itself: "normal in size and contour"."""
    for cue in segment.cues:
        if cue.start < hit.end and hit.start < cue.end and cue.effect in _PREDICATES:
            return cue
    return None


def _in_front(segment: Segment, hit: Hit) -> Cue | None:
    """An attribute: "normal heart size", "stable enlargement of the cardiac silhouette"."""
    best: Cue | None = None
    edge = hit.start
    for cue in reversed(segment.cues):
        if cue.end > edge or cue.effect not in _PREDICATES:
            continue
        between = segment.sentence[cue.end : edge]
        if _ATTRIBUTIVE.fullmatch(between) is None:
            break
        if _JOINED_IN_FRONT.match(between) and _DIMENSIONS.match(between) is None:
            break
        if (
            _TELEGRAPHIC_SUBJECT.search(segment.sentence, segment.start, cue.start)
            and _behind(segment, hit) is not None
        ):
            break  # "lungs clear heart enlarged"
        if _PREDICATIVE.search(segment.sentence, segment.start, cue.start) and not _is_list(between):
            return best if cue.effect is not Effect.STABLE or _is_subject_in_front(segment, cue) else (best or cue)
        beats_stable = best is not None and best.effect is Effect.STABLE and cue.effect is Effect.NORMAL
        if best is None or cue.effect is Effect.ENLARGED or beats_stable:
            best = cue
        edge = cue.start
    return best


def _is_list(between: str) -> bool:
    """An attribute after a comma is still one when nothing but its noun follows ("lungs clear, normal heart")."""
    return between.strip() in ("", "size", "sized")


def _is_subject_in_front(segment: Segment, cue: Cue) -> bool:
    return _OTHER_SUBJECT.search(segment.sentence, segment.start, cue.start) is not None


def _behind(segment: Segment, hit: Hit) -> Cue | None:
    """A predicate: "heart size and mediastinal contours are within normal limits"; normal beats stable."""
    first: Cue | None = None
    edge = hit.end
    for cue in segment.cues:
        if cue.start < edge or not _is_predicate(cue):
            continue
        between = segment.sentence[edge : cue.start]
        if len(between) > _LONGEST_REACH:
            break
        shares = cue.effect is Effect.STABLE and _SHARED_PREDICATE.match(between)
        if not shares and _holds_finding(segment, edge, cue.start):
            break
        if first is None:
            if not _reaches_first(segment, between, cue):
                break
            first = cue
        elif _OTHER_SUBJECT.search(between) or _NOUN_BEHIND.match(segment.sentence, cue.end, segment.end):
            break
        elif first.effect is Effect.STABLE and cue.effect is Effect.NORMAL:
            return cue
        edge = cue.end
    return first


def _holds_finding(segment: Segment, start: int, stop: int) -> bool:
    return any(start <= hit.start < stop and hit.phrase.kind is not PhraseKind.NEUTRAL for hit in segment.hits)


def _reaches_first(segment: Segment, between: str, cue: Cue) -> bool:
    """Whether the first predicate after a name belongs to it and not to a later subject of the sentence."""
    copula = _COPULA.search(between)
    if copula is not None:
        connected = _CONNECTED.search(between, copula.end())
        return connected is None or _OTHER_SUBJECT.search(connected.group(1)) is None
    if _COPULA.match(cue.text):
        return True
    if _NOUN_BEHIND.match(segment.sentence, cue.end, segment.end):
        # "heart normal lungs clear" has its predicate at once; "heart size, normal mediastinum" hasn't
        return not between.strip()
    return True
