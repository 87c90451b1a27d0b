"""Findings that a sentence speaks of without their noun: "no effusion except a trace on the left", "the left one".

Each becomes a hit of its own with the phrase that it stands for, so that scope is read as for any other hit.
"""

import re
from collections.abc import Sequence

from orapo.labeler.lexicon import RANKS, Effect, PhraseKind, Reach
from orapo.labeler.segments import NO_CUE, Cue, Hit, Segment

_SIDE = r"(?:left|right)(?:[ -]sided)?"
_AMOUNT = r"(?:tiny|trace|small|minimal|minor|mild|moderate|large|subtle|faint|thin|residual|little|slight|minute|new)"
_BE = (
    r"(?:is|are|has|have|had|was|were|persists?|remains?|appears?|cannot|can not|can.t|could|may|might"
    r"|continues?|does|did|shows?|looks?)\b"
)
_TRIGGER = re.compile(
    rf"\b(?:ones?|trace|some|two|three|four|several|few|others?|bands?|strands?|streaks?|patch|that|those|none|amounts?|components?|it|they|there (?:is|are)|the (?:left|right)|except\w*|apart|aside"
    rf"|than|save|{_AMOUNT} (?:on|in|at)|{_SIDE},? (?:and|but|yet|though|with) no)\b"
)
_ELLIPTICAL = re.compile(
    rf"(?P<one>(?:\b(?:the|an?|another|some|known|old|{_AMOUNT}|{_SIDE}|healed|\w+ed) ){{0,4}}\bones?(?= ?$|,| ?;| (?:{_BE}|in|on|at|of the (?:left|right)|along|seen|noted|present|as|that|which)))"
    rf"|(?P<side>\bthe {_SIDE}(?: side)?(?= {_BE}))"
    rf"|(?P<amount>\b(?:an? |some |only )?(?:{_AMOUNT} |{_SIDE} |apical |basal |basilar )*\b(?:trace|sliver|remnant|residuum|amounts?|components?|patch|patches|rim|thin bands?|bands?|strands?|streaks?|pocket|collection|foc(?:us|i)|portion|quantity)\b(?! of))"
    r"|(?P<some>\b(?:some|two|three|four|several|a few|others?)(?= (?:in|on|at|along) (?:the|either|both)\b))"
    rf"|(?P<that>\b(?:that|those)(?= (?:at|in|on|of|along|near) ))"
    rf"|(?P<placed>(?<=[,;] ){_AMOUNT}(?= (?:on|in|at) the)|(?<=(?:but|and) ){_AMOUNT}(?= (?:on|in|at) the))"
    rf"|(?P<there>\b(?:now )?there (?:is|are)(?: now)?(?: some)?(?= ?$))"
    rf"|(?P<none>\bthere (?:is|are)(?= (?:now )?none\b))"
    rf"|(?P<it>\b(?:it|they) (?=(?:persist|remain|ha(?:s|ve) not|is {_AMOUNT}|are {_AMOUNT})))"
)
_COMING_SIDE = re.compile(
    rf"(?:^|[,;:] |\b(?:is|are|with|an?) )(?P<side>(?:{_AMOUNT} |an? )*{_SIDE}),? (?:and|but|yet|though|with) $"
)
_PLACE_ONLY = re.compile(r" ?(?:(?:in|at|on|along|over|within|near) (?:the|both|an?)\b)")
_BOUNDARY = re.compile(r"[,;:]| (?:but|and|while|whereas|though|with) ")


def add_elliptical_hits(sentence: str, hits: Sequence[Hit], cues: Sequence[Cue]) -> list[Hit]:
    """The hits of a sentence, and those whose noun is left out, in reading order."""
    if _TRIGGER.search(sentence) is None:
        return list(hits)
    added: list[Hit] = []
    for match in _ELLIPTICAL.finditer(sentence):
        antecedent = _antecedent(hits, match.start())
        if antecedent is None and any(cue.effect is Effect.EXCEPTION and cue.end <= match.start() for cue in cues):
            antecedent = next(
                (hit for hit in hits if hit.start >= match.end()), None
            )  # "except for a trace, there is no"
        if antecedent is None or _has_noun(sentence, hits, match):
            continue
        if match.lastgroup == "side" and not _other_side_before(sentence, match):
            continue
        added.append(Hit(*match.span(), antecedent.phrase, is_elliptical=True))
    added += _after_exceptions(sentence, hits, cues, added)
    added += _before_denied_sides(sentence, hits, cues)
    return sorted({hit.start: hit for hit in (*added, *hits)}.values()) if added else list(hits)


def _antecedent(hits: Sequence[Hit], start: int) -> Hit | None:
    """The last finding or device that is named before ``start``."""
    found = [hit for hit in hits if hit.end <= start and hit.phrase.kind is not PhraseKind.NEUTRAL]
    return found[-1] if found else None


def _has_noun(sentence: str, hits: Sequence[Hit], match: re.Match[str]) -> bool:
    """Whether a hit stands in the same stretch behind, which the words then belong to ("a trace effusion")."""
    boundary = _BOUNDARY.search(sentence, match.end())
    stop = boundary.start() if boundary else len(sentence)
    return any(match.start() <= hit.start < stop for hit in hits)


def _other_side_before(sentence: str, match: re.Match[str]) -> bool:
    other = "left" if "right" in match.group() else "right"
    return other in sentence[: match.start()]


def _after_exceptions(sentence: str, hits: Sequence[Hit], cues: Sequence[Cue], added: Sequence[Hit]) -> list[Hit]:
    """A bare place behind an exception: "no consolidation except in the left lower lobe"."""
    found = []
    for cue in cues:
        if cue.effect is not Effect.EXCEPTION or (place := _PLACE_ONLY.match(sentence, cue.end)) is None:
            continue
        antecedent = _antecedent(hits, cue.start)
        if antecedent is not None and not any(hit.start >= cue.end for hit in (*hits, *added)):
            found.append(Hit(cue.end + 1, place.end(), antecedent.phrase, is_elliptical=True))
    return found


def _before_denied_sides(sentence: str, hits: Sequence[Hit], cues: Sequence[Cue]) -> list[Hit]:
    """A side whose noun comes later: "moderate right and no left pleural effusion"."""
    found = []
    for cue in cues:
        if cue.effect is not Effect.NEGATION or cue.text not in ("no", "without"):
            continue
        side = _COMING_SIDE.search(sentence[: cue.start])
        noun = next((hit for hit in hits if hit.start >= cue.end), None)
        if side is not None and noun is not None:
            if not any(side.start("side") <= hit.start < cue.start for hit in hits):
                found.append(Hit(*side.span("side"), noun.phrase, is_elliptical=True))
    return found


_ECHO = re.compile(r" (?:(?:is|are|was|were|has|have|had|does|do|did) not|isn.t|aren.t|hasn.t|haven.t)$")
_CONTRAST = re.compile(r" ?not (?:the |in the )?(?:[\w-]+ )?$")
_PAST = re.compile(
    r"\b(?:was|were|had)\b.*\b(?:prior|previous(?:ly)?|earlier|yesterday|last|before|initially|formerly|old)\b"
)


def echoed_predicate(segment: Segment, before: Segment, previous: Sequence[Cue | None]) -> Cue | None:
    """The cue of the last hit of a segment that repeats what was said before it without saying it: "effusion is not".

    Args:
        segment: it may end with "is not", or begin with "but not".
        before: the segment before.
        previous: the cue of each hit there.
    """
    text, hit = segment.sentence, segment.hits[-1]
    is_echo = _ECHO.fullmatch(text, hit.end, segment.end) or (
        text[: segment.start].endswith("but") and _CONTRAST.fullmatch(text, segment.start, hit.start)
    )
    said = previous[-1] if previous else None
    if is_echo and hit.phrase.kind is PhraseKind.NEUTRAL and any(cue.effect is Effect.NORMAL for cue in before.cues):
        return NO_CUE._replace(effect=Effect.PRESUPPOSED, text="not", rank=RANKS[Effect.PRESUPPOSED])
    if not is_echo or said is not None and said.reach is not Reach.BEFORE:
        return None
    if said is None:
        return NO_CUE._replace(effect=Effect.NEGATION, text="not", rank=RANKS[Effect.NEGATION])
    if said.effect is Effect.NEGATION and "exclude" in said.text:
        return said._replace(effect=Effect.RULED_OPEN, rank=RANKS[Effect.RULED_OPEN])
    return said._replace(effect=Effect.PRESUPPOSED, rank=RANKS[Effect.PRESUPPOSED])


def is_superseded(segment: Segment, later: Sequence[Segment]) -> bool:
    """Whether a segment tells what was, and a later one speaks of the same now: "was seen before; there is none now"."""
    if _PAST.search(segment.sentence, max(0, segment.start - len("there was ")), segment.end) is None:
        return False
    phrases = {hit.phrase.observations for hit in segment.hits}
    return any(hit.phrase.observations in phrases for other in later for hit in other.hits)
