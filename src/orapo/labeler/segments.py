"""A sentence cut into the stretches that a cue can reach across, with the phrases and cues found in each."""

from collections.abc import Iterator
from typing import NamedTuple

from orapo.labeler.lexicon import Effect, Lexicon, Phrase, Reach


class Hit(NamedTuple):
    """A phrase found in a sentence, at ``[start, end)``."""

    start: int
    end: int
    phrase: Phrase


class Cue(NamedTuple):
    """A cue found in a sentence, at ``[start, end)``; of two on one hit the higher rank decides, 0 decides nothing."""

    start: int
    end: int
    effect: Effect
    reach: Reach
    text: str
    rank: int


class Segment(NamedTuple):
    """A stretch of a sentence, ``[start, end)``, that no cue reaches out of; hits and cues in reading order."""

    sentence: str
    start: int
    end: int
    hits: list[Hit]
    cues: list[Cue]


def find_hits(sentence: str, lexicon: Lexicon) -> list[Hit]:
    """Every phrase of the lexicon, leftmost first, without overlaps; look-alikes are left out."""
    phrases = lexicon.phrases
    hits = []
    for start, end, index in lexicon.phrase_scanner.scan(sentence):
        phrase = phrases[index]
        if phrase.observations:
            hits.append(Hit(start, end, phrase))
    return hits


def find_cues(sentence: str, lexicon: Lexicon) -> list[Cue]:
    """Every cue of the lexicon, leftmost first, without overlaps; shields are left out."""
    families = lexicon.cues
    cues = []
    for start, end, index in lexicon.cue_scanner.scan(sentence):
        family = families[index]
        if family.effect is not Effect.NONE:
            cues.append(Cue(start, end, family.effect, family.reach, sentence[start:end], family.rank))
    return cues


def split_segments(sentence: str, hits: list[Hit], cues: list[Cue]) -> Iterator[Segment]:
    """Cuts at break cues; stretches without a hit are left out."""
    breaks = [cue for cue in cues if cue.effect is Effect.BREAK]
    if not breaks:
        yield Segment(sentence, 0, len(sentence), hits, cues)
        return
    previous, start = 0, 0
    for stop, resume in [*((cue.start, cue.end) for cue in breaks), (len(sentence), len(sentence))]:
        inside = [hit for hit in hits if previous <= hit.start < stop]
        if inside:
            here = [cue for cue in cues if start <= cue.start < stop and cue.effect is not Effect.BREAK]
            yield Segment(sentence, start, stop, inside, here)
        previous, start = stop, resume
