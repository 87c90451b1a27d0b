"""A sentence cut into the stretches that a cue can reach across, with the phrases and cues found in each."""

from collections.abc import Sequence
from typing import NamedTuple

from orapo.labeler.lexicon import Effect, Lexicon, Phrase, Reach
from orapo.labeler.scanner import Place


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


NO_CUE = Cue(-1, -1, Effect.NONE, Reach.AROUND, "", 0)
"""In place of a cue where no words of the sentence decide."""


class Segment(NamedTuple):
    """A stretch of a sentence, ``[start, end)``, that no cue reaches out of; hits and cues in reading order."""

    sentence: str
    start: int
    end: int
    hits: list[Hit]
    cues: list[Cue]


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


def split_segments(sentence: str, hits: list[Hit], cues: list[Cue]) -> list[Segment]:
    """Cuts at break cues; stretches without a hit are left out."""
    breaks = [cue for cue in cues if cue.effect is Effect.BREAK]
    if not breaks:
        return [Segment(sentence, 0, len(sentence), hits, cues)]
    segments = []
    start = next_hit = next_cue = 0
    for stop, resume in [*((cue.start, cue.end) for cue in breaks), (len(sentence), len(sentence))]:
        inside, here = [], []
        while next_hit < len(hits) and hits[next_hit].start < stop:
            inside.append(hits[next_hit])
            next_hit += 1
        while next_cue < len(cues) and cues[next_cue].start < stop:
            here.append(cues[next_cue])
            next_cue += 1
        if inside:
            segments.append(Segment(sentence, start, stop, inside, here))
        start = resume
        next_cue += 1  # the break itself
    return segments
