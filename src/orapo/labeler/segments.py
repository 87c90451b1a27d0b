"""A sentence cut into the stretches that a cue can reach across, with the phrases and cues found in each."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from orapo.labeler.lexicon import Effect, Lexicon, Phrase, Reach
from orapo.labeler.scanner import Place


class Hit(NamedTuple):
    """A phrase found in a sentence, at ``[start, end)``; elliptical where it stands for one named elsewhere."""

    start: int
    end: int
    phrase: Phrase
    is_elliptical: bool = False


class Cue(NamedTuple):
    """A cue found in a sentence, at ``[start, end)``; of two on one hit the higher rank decides, 0 decides nothing."""

    start: int
    end: int
    effect: Effect
    reach: Reach
    text: str
    rank: int


NO_CUE = Cue(-1, -1, Effect.NONE, Reach.AROUND, "", 0)
"""In place of a cue where no words of the sentence decide."""

_ENDS = (Effect.BREAK, Effect.EXCEPTION)

# After these words "there is" opens no statement of its own: "it is unclear whether there is ...".
_SUBORDINATE = re.compile(r"\b(?:that|if|whether|as) ?$")
# A conjunction before a verb continues with the same subject: "was seen before but has resolved".
_SAME_SUBJECT = re.compile(
    r" ?(?:\w+ly |now |also |still )*(?:is|are|was|were|has|have|had|can|could|may|cannot|remains?|does|did)"
    r"\b(?! there)"
)
_CONJUNCTION = re.compile(r"(?:but|yet|then|though|although|however|and)$")
_ANSWER_WORDS = (
    r"(?:none|nil|no|absent|negative|neg|neither|resolved|removed|not (?:seen|present|identified|visualized))"
)
_ANSWER = re.compile(rf"{_ANSWER_WORDS}$")
_ANSWERED = re.compile(r" ?(?:[:=(\[{?-] ?|- )?$")
_ITEM_END = re.compile(r" ?(?:$|[,;)\]}]|-|and\b|or\b)")
_PREDICATE_BEHIND_DASH = re.compile(
    rf" (?:{_ANSWER_WORDS}|(?:\w+ly )?(?:normal|clear|unremarkable|enlarged|stable|unchanged|borderline|wnl|intact))"
    r"(?= ?(?:$|[,;]))"
)


class Segment(NamedTuple):
    """A stretch of a sentence, ``[start, end)``, that no cue reaches out of.

    Attributes:
        sentence: the whole of it, cleaned.
        start: first character of the stretch.
        end: one past its last.
        hits: in reading order, at least one.
        cues: in reading order.
        opening: what the break before it does, NONE for the first.
    """

    sentence: str
    start: int
    end: int
    hits: list[Hit]
    cues: list[Cue]
    opening: Effect = Effect.NONE


def find_hits(sentence: str, lexicon: Lexicon, places: Sequence[Place] | None = None) -> list[Hit]:
    """Every phrase of the lexicon, leftmost first, without overlaps; look-alikes are left out."""
    phrases = lexicon.phrases
    return [
        Hit(start, end, phrase)
        for start, end, index in lexicon.phrase_scanner.scan(sentence, places)
        if (phrase := phrases[index]).observations
    ]


def find_cues(sentence: str, lexicon: Lexicon, places: Sequence[Place] | None = None) -> list[Cue]:
    """Every cue of the lexicon, leftmost first, without overlaps; shields are left out."""
    families = lexicon.cues
    return [
        Cue(start, end, family.effect, family.reach, sentence[start:end], family.rank)
        for start, end, index in lexicon.cue_scanner.scan(sentence, places)
        if (family := families[index]).effect is not Effect.NONE
    ]


def answers_to_labels(sentence: str, hits: Sequence[Hit], cues: list[Cue]) -> list[Cue]:
    """The cues; a "none" or "resolved" that answers a label ("effusion: none") applies to what stands before it."""
    return [
        cue._replace(reach=Reach.BEFORE) if cue.effect is Effect.NEGATION and _answers(sentence, hits, cue) else cue
        for cue in cues
    ]


def _answers(sentence: str, hits: Sequence[Hit], cue: Cue) -> bool:
    if _ANSWER.match(cue.text) is None:
        return False
    label = next((hit for hit in reversed(hits) if hit.end <= cue.start), None)
    if label is None or _ANSWERED.fullmatch(sentence, label.end, cue.start) is None:
        return False
    return _ITEM_END.match(sentence, cue.end) is not None or cue.text in ("none", "nil", "absent", "negative", "neg")


def split_segments(sentence: str, hits: list[Hit], cues: list[Cue]) -> list[Segment]:
    """Cuts at breaks and exceptions; stretches without a hit are left out."""
    breaks = [cue for cue in cues if cue.effect in _ENDS and not _is_void(sentence, hits, cues, cue)]
    if not breaks:
        return [Segment(sentence, 0, len(sentence), hits, cues)]
    segments = []
    start = next_hit = next_cue = 0
    opening = Effect.NONE
    last = NO_CUE._replace(start=len(sentence), end=len(sentence))
    for stop, resume, effect, *_ in (*breaks, last):
        inside, here = [], []
        while next_hit < len(hits) and hits[next_hit].start < stop:
            inside.append(hits[next_hit])
            next_hit += 1
        while next_cue < len(cues) and cues[next_cue].start < stop:
            here.append(cues[next_cue])
            next_cue += 1
        if inside:
            segments.append(Segment(sentence, start, stop, inside, here, opening))
        start, opening = resume, effect
        next_cue += 1  # the break itself
    return segments


def _is_void(sentence: str, hits: Sequence[Hit], cues: Sequence[Cue], cue: Cue) -> bool:
    """Whether what looks like a break starts no statement of its own."""
    if cue.text.startswith("there"):
        governed = any(
            other.end <= cue.start and other.rank and not sentence[other.end : cue.start].strip(" ,") for other in cues
        )
        return governed or _SUBORDINATE.search(sentence, 0, cue.start) is not None
    if cue.text in ("-", "--"):
        follows_label = any(hit.end == cue.start - 1 for hit in hits)
        return follows_label and _PREDICATE_BEHIND_DASH.match(sentence, cue.end) is not None
    return _CONJUNCTION.match(cue.text) is not None and _SAME_SUBJECT.match(sentence, cue.end) is not None
