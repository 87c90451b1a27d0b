"""Which of a sentence's modifiers belong to which of its mentions, within the segments that bound the cues too."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

from orapo.labeler import phrase_bounds
from orapo.labeler.asides import split_asides
from orapo.labeler.assertion import read_segments
from orapo.labeler.attribute_lists import share
from orapo.labeler.attributes import DEVICE_PLACES, Stated
from orapo.labeler.lexicon import load_lexicon
from orapo.labeler.modifiers import Around, Word, add_up, find_modifiers, mask
from orapo.labeler.scanner import mask_digits
from orapo.labeler.segments import Hit, Segment

_MOST_REMEMBERED_SENTENCES = 20_000


@lru_cache(maxsize=_MOST_REMEMBERED_SENTENCES)
def read_sentence(sentence: str) -> tuple[tuple[int, int, Stated], ...]:
    """Start and end of each phrase of a cleaned sentence, and what the words around it state."""
    return tuple(
        (part.origins[start], part.origins[end - 1] + 1, stated)
        for part in split_asides(sentence)
        for start, end, stated in _read_part(part.text)
    )


def _read_part(sentence: str) -> tuple[tuple[int, int, Stated], ...]:
    scanned = mask_digits(sentence)
    segments = read_segments(scanned, load_lexicon("none"))
    words = find_modifiers(scanned) if segments else ()
    if not words:
        return tuple((hit.start, hit.end, Stated()) for segment in segments for hit in segment.hits)
    return tuple(_SentenceReader(sentence, words).read(segments))


class _SentenceReader:
    def __init__(self, sentence: str, words: Sequence[Word]) -> None:
        self.sentence = sentence
        self.words = words
        self.masked = mask(sentence, words)

    def read(self, segments: Sequence[Segment]) -> Iterator[tuple[int, int, Stated]]:
        ends = [0, *(segment.hits[-1].end for segment in segments)]
        places = [
            phrase_bounds.there_start(self.masked, end, segment.start)
            for end, segment in zip(ends, segments, strict=False)
        ]
        for segment, place, stop in zip(segments, places, [*places[1:], len(self.sentence)], strict=True):
            around = self._deal(segment, place, stop)
            stated = [add_up(self.sentence, self.masked, *pair) for pair in zip(segment.hits, around, strict=True)]
            shared = share(self.masked, segment.hits, around, stated)
            yield from ((hit.start, hit.end, said) for hit, said in zip(segment.hits, shared, strict=True))

    def _deal(self, segment: Segment, place: int, stop: int) -> list[Around]:
        """The modifiers of each hit.

        Args:
            segment: with the hits.
            place: where a place before the segment starts ("in the left lung there is"), else the segment's start.
            stop: where such a place before the next segment starts, else that segment's start.
        """
        hits = segment.hits
        start = phrase_bounds.phrase_start(self.masked, segment.start, hits[0].start, is_first=True)
        before = self._leading(place, start) + self._within(start, hits[0].end)
        before += [word for word in self._within(segment.start, start) if self._is_hedge_of(word, hits[0])]
        around = []
        for hit, following in pairwise(hits):
            start = phrase_bounds.phrase_start(self.masked, hit.end, following.start, is_first=False)
            after, inside = self._after(hit, start), self._within(start, following.end)
            if phrase_bounds.holds_place(self.masked, hit.end, start):
                after += [word for word in inside if _is_local(word)]
            ahead = [word for word in after if self._is_hedge_of(word, following)]
            around.append(Around(before, [word for word in after if word not in ahead], ()))
            before = ahead + inside
        last = hits[-1]
        around.append(
            Around(before, self._after(last, min(segment.end, stop)), self._tail(max(segment.end, last.end), stop))
        )
        return around

    def _within(self, start: int, stop: int) -> list[Word]:
        """The modifiers that begin in ``[start, stop)``."""
        return [word for word in self.words if start <= word.start < stop]

    def _after(self, hit: Hit, stop: int) -> list[Word]:
        return self._within(hit.end, phrase_bounds.predicate_end(self.masked, hit.end, stop))

    def _leading(self, start: int, stop: int) -> list[Word]:
        if not phrase_bounds.leads(self.masked, start, stop):
            return []
        return [word for word in self._within(start, stop) if _is_local(word)]

    def _is_hedge_of(self, word: Word, following: Hit) -> bool:
        return word.modifier.is_likely and not phrase_bounds.has_connector(self.masked, word.end, following.start)

    def _tail(self, start: int, stop: int) -> list[Word]:
        """What is said of the last hit after the break: "now moderate", "but has increased", "with tip in the SVC"."""
        return [
            word
            for word in self._within(start, stop)
            if (word.modifier.severity and phrase_bounds.is_renewed(self.masked, start, word.start, word.end))
            or (
                word.modifier.change
                and phrase_bounds.ends_change(self.masked, word.end)
                and not phrase_bounds.names_subject(self.masked, start, word.start)
            )
            or (word.modifier.place in DEVICE_PLACES and phrase_bounds.names_tip(self.masked, start, word.start))
        ]


def _is_local(word: Word) -> bool:
    return word.modifier.side is not None or word.modifier.place is not None
