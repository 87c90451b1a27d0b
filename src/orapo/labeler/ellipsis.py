"""Findings that a sentence speaks of without their noun: "no effusion except a trace on the left", "the left one".

Each becomes a hit of its own with the phrase that it stands for, so that scope is read as for any other hit.
"""

import re
from collections.abc import Iterator, Sequence

from orapo.chexpert import Observation
from orapo.labeler.lexicon import RANKS, Effect, PhraseKind, Reach, scope_words
from orapo.labeler.segments import NO_CUE, Cue, Hit, Segment

_SIDE = r"(?:left|right)(?:[ -]sided)?"
_SIZE = rf"(?:{scope_words('bare_sizes')})"
_PLACED = r"(?:on|in|at) (?:the|either|both|left|right)\b"
_VERB = (
    r"(?:is|are|has|have|had|was|were|persists?|remains?|appears?|cannot|can not|can.t|could|may|might|continues?|does"
    r"|did|shows?|looks?)\b"
)
_AND_NO = r"(?:and|but|yet|though|with) no\b"

_TRIGGER = re.compile(
    r"\b(?:ones?|none|it|they|some|two|three|four|several|few|others?|that|those|there (?:is|are)|the (?:left|right)"
    rf"|than|except\w*|apart|aside|save|{scope_words('amount_nouns')}|{_SIZE} (?:on|in|at|left|right)"
    rf"|{_SIDE},? {_AND_NO}|(?:left|right) (?:is|are|one|{_SIZE}))\b|(?:left|right) ?:"
)
"""One of these stands in every sentence that leaves a noun out."""

_PATTERNS = {
    "one": rf"(?:\b(?:the|an?|another|some|known|old|{_SIZE}|{_SIDE}|\w+ed) ){{0,4}}\bones?"
    rf"(?= ?$|,| ?;| (?:{_VERB}|in|on|at|of the (?:left|right)|along|seen|noted|present|as|that"
    r"|which|with|now|and|but))",
    "side": rf"\bthe {_SIDE}(?: side)?(?= {_VERB})",
    "amount": rf"\b(?<!now )(?:an? |some |only )?(?:{_SIZE} |{_SIDE} |apical |basal |basilar )*"
    rf"\b(?:{scope_words('amount_nouns')})\b(?! of(?! (?:fluid|air)\b))",
    "some": rf"\b(?:some|two|three|four|several|a few|others?)(?= {_PLACED})",
    "that": r"\b(?:that|those)(?= (?:at|in|on|of|along|near) )",
    "size": rf"(?:(?<=[,;:] )|(?<=but )|(?<=and ))"
    rf"(?:{_SIZE}(?= {_PLACED})|{_SIZE} (?:left|right)(?= ?$|,))",
    "there": r"\b(?:now )?there (?:is|are)(?: now)?(?: some)?(?= ?$)",
    "none": r"\bthere (?:is|are)(?= (?:now )?none\b)",
    "bare_side": rf"(?:^|(?<=[;,] )){_SIDE}(?=(?: ?:| is| are| one| ones| side)* {_SIZE}\b)",
    "it": rf"(?:(?<=on the left )|(?<=on the right ))(?:it|they)(?= {_VERB})"
    r"|\b(?:it|they)(?= (?:persist|remain|ha(?:s|ve) (?:not|resolved|cleared|disappeared)"
    rf"|(?:can ?not|could not|can.t) be|(?:is|are) (?:{_SIZE}|gone|resolved)))",
}
_ELLIPTICAL = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _PATTERNS.items()))
_SIDE_TO_COME = re.compile(
    rf"(?:^|[,;:] |\b(?:is|are|with|an?) )(?P<side>(?:{_SIZE} |an? ){{0,8}}{_SIDE}),? (?:and|but|yet|though|with) $"
)
_BARE_PLACE = re.compile(
    r" ?(?:(?:possibly|perhaps|maybe|questionably) )?(?P<place>(?:in|at|on|along|over|within|near) (?:the|both|an?)\b)"
)
_BOUNDARY = re.compile(r"[,;:]| (?:(?:but|and|while|whereas|though|with) |there (?:is|are|was|were|has) )")

_SAYS_NORMAL = re.compile(
    r"(?: (?:is|are|appears?|looks?|remains?))?(?: (?!not\b)\w+ly| now| also| again)* (?:clear|free|dry|well"
    r"|fully|intact|sharp|spared|unaffected|normal|unremarkable|negative|aerated|expanded|hyper\w+|elevated"
    r"|not involved|patent)\b"
)
_NOT_NOW = re.compile(
    r"[^,;]* (?:(?:was|were|had) [^,;]*\b(?:yesterday|prior|previous(?:ly)?|earlier|before|last)\b"
    r"|(?:is|was|were|are) an? artifact)"
)
_GONE = re.compile(r" (?:has|have|is|are)(?: now| since| completely)* (?:resolved|cleared|disappeared|gone)\b")
_ECHO = re.compile(r" (?:(?:is|are|was|were|has|have|had|does|do|did) not|isn.t|aren.t|hasn.t|haven.t)$")
_CONTRAST = re.compile(r" ?not (?:the |in the )?(?:[\w-]+ )?$")
_REPEATING = re.compile(r" (?:is|are|was|were|has|have|does|do|did)\b")
_THEN = r"\b(?:prior|previous(?:ly)?|earlier|yesterday|last|before|initially|formerly|old)\b"
_PAST = re.compile(rf"\b(?:was|were|had)\b.*{_THEN}|{_THEN}.*\b(?:was|were|had)\b")


def leaves_out_noun(sentence: str) -> bool:
    """Whether a sentence may speak of a finding without its noun."""
    return _TRIGGER.search(sentence) is not None


def add_elliptical_hits(sentence: str, hits: Sequence[Hit], cues: Sequence[Cue]) -> list[Hit]:
    """The hits of a sentence, and those whose noun is left out, in reading order."""
    if not leaves_out_noun(sentence):
        return list(hits)
    added = [*_without_noun(sentence, hits, cues)]
    added += _in_excepted_places(sentence, [*hits, *added], cues)
    added += _before_denied_sides(sentence, hits, cues)
    return sorted({hit.start: hit for hit in (*added, *hits)}.values()) if added else list(hits)


def _without_noun(sentence: str, hits: Sequence[Hit], cues: Sequence[Cue]) -> Iterator[Hit]:
    """Pronouns, sides and amounts that stand for what was named last."""
    for match in _ELLIPTICAL.finditer(sentence):
        antecedent = _antecedent(hits, match.start())
        if antecedent is None and any(cue.effect is Effect.EXCEPTION and cue.end <= match.start() for cue in cues):
            antecedent = next((hit for hit in hits if hit.start >= match.end()), None)  # "except for a trace, no ..."
        if antecedent is None or _has_noun(sentence, hits, match):
            continue
        if _SAYS_NORMAL.match(sentence, match.end()) or _NOT_NOW.match(sentence, match.end()):
            continue
        if match.lastgroup not in ("side", "bare_side") or _other_side_before(sentence, match):
            yield Hit(*match.span(), antecedent.phrase, is_elliptical=True)


def _antecedent(hits: Sequence[Hit], start: int) -> Hit | None:
    """The last finding or device that is named before ``start``."""
    named = (hit for hit in reversed(hits) if hit.end <= start and hit.phrase.kind is not PhraseKind.NEUTRAL)
    return next(named, None)


def _has_noun(sentence: str, hits: Sequence[Hit], match: re.Match[str]) -> bool:
    """Whether a hit follows in the same stretch, so that the words belong to it ("a trace effusion")."""
    boundary = _BOUNDARY.search(sentence, match.end())
    stop = boundary.start() if boundary else len(sentence)
    return any(match.start() <= hit.start < stop and hit.phrase.is_named for hit in hits)


def _other_side_before(sentence: str, match: re.Match[str]) -> bool:
    return ("left" if "right" in match.group() else "right") in sentence[: match.start()]


def _in_excepted_places(sentence: str, hits: Sequence[Hit], cues: Sequence[Cue]) -> Iterator[Hit]:
    """A bare place after an exception: "no consolidation except in the left lower lobe"."""
    for cue in cues:
        if cue.effect is not Effect.EXCEPTION or any(hit.start >= cue.end and hit.phrase.is_named for hit in hits):
            continue
        place, antecedent = _BARE_PLACE.match(sentence, cue.end), _antecedent(hits, cue.start)
        if place is not None and antecedent is not None:
            yield Hit(*place.span("place"), antecedent.phrase, is_elliptical=True)


def _before_denied_sides(sentence: str, hits: Sequence[Hit], cues: Sequence[Cue]) -> Iterator[Hit]:
    """A side whose noun comes later: "moderate right and no left pleural effusion"."""
    for cue in cues:
        if cue.text not in ("no", "without") or (side := _SIDE_TO_COME.search(sentence[: cue.start])) is None:
            continue
        noun = next((hit for hit in hits if hit.start >= cue.end), None)
        if noun is not None and not any(side.start("side") <= hit.start < cue.start for hit in hits):
            yield Hit(*side.span("side"), noun.phrase, is_elliptical=True)


def echoed_predicate(segment: Segment, before: Segment, previous: Sequence[Cue | None]) -> Cue | None:
    """The cue for the last hit of a segment that denies the predicate of the segment before without repeating it.

    "The left effusion has resolved; the right has not", "edema is excluded; effusion is not", "cleared, but not ...".

    Args:
        segment: it may end with "is not" or "has not", or begin with "but not".
        before: the segment before.
        previous: the cue of each hit there.
    """
    text, hit = segment.sentence, segment.hits[-1]
    is_contrast = text.endswith("but", 0, segment.start) and _CONTRAST.fullmatch(text, segment.start, hit.start)
    if not (is_contrast or _ECHO.fullmatch(text, hit.end, segment.end)):
        return None
    said = previous[-1]
    if hit.phrase.kind is PhraseKind.NEUTRAL and any(cue.effect is Effect.NORMAL for cue in before.cues):
        effect = Effect.PRESUPPOSED  # "the heart is normal; the mediastinum is not"
    elif said is None:
        effect = Effect.NEGATION
    elif said.reach is not Reach.BEFORE:
        return None
    else:
        effect = Effect.RULED_OPEN if said.effect is Effect.NEGATION and "exclude" in said.text else Effect.PRESUPPOSED
    return (said or NO_CUE._replace(text="not"))._replace(effect=effect, rank=RANKS[effect])


def repeated_denial(segment: Segment, cue: Cue, index: int, strongest: Sequence[Cue | None]) -> Effect | None:
    """The effect of "nor is" or "nor has" on hit ``index``: that on the hit before; None where it repeats nothing."""
    if index == 0 or _REPEATING.match(segment.sentence, cue.end) is None:
        return None
    before = segment.hits[index - 1]
    if before.phrase.kind is PhraseKind.NEUTRAL:
        enlarged = any(c.effect is Effect.ENLARGED and before.end <= c.start < cue.start for c in segment.cues)
        return Effect.PRESUPPOSED if enlarged else Effect.NEGATION
    said = strongest[index - 1]
    return Effect.PRESUPPOSED if said is None else said.effect


def excepted_observations(segments: Sequence[Segment], number: int) -> frozenset[Observation]:
    """Observations that a denial in segment ``number`` doesn't deny, since an exception beside it states them."""
    beside = [segments[number + 1]] if segments[number + 1 :] else []
    exceptions = [segment for segment in beside if segment.opening is Effect.EXCEPTION]
    if number and segments[number - 1].opening is Effect.EXCEPTION and segments[number].opening is not Effect.EXCEPTION:
        exceptions.append(segments[number - 1])
    return frozenset(name for segment in exceptions for hit in segment.hits for name in hit.phrase.observations)


def is_superseded(segment: Segment, later: Sequence[Segment]) -> bool:
    """Whether a segment states the past of a finding and a later one its present: "there was an effusion; now none"."""
    if any(hit.is_elliptical and _GONE.match(segment.sentence, hit.end) for other in later for hit in other.hits):
        return True  # "there was an effusion, but it has resolved"
    clause = max(segment.sentence.rfind(mark, 0, segment.start) for mark in ";,") + 1  # "there was" is a break itself
    if _PAST.search(segment.sentence, clause, segment.end) is None:
        return False
    spoken_of = {hit.phrase.observations for hit in segment.hits}
    return any(hit.phrase.observations in spoken_of for other in later for hit in other.hits)
