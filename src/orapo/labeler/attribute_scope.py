"""Which of a sentence's modifiers belong to which of its mentions, within the segments that bound the cues too."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from orapo.chexpert import Observation
from orapo.labeler import noun_phrases
from orapo.labeler.attributes import Side, Stated
from orapo.labeler.lexicon import load_lexicon
from orapo.labeler.modifiers import Around, Word, add_up, find_modifiers, mask
from orapo.labeler.segments import Hit, Segment, find_cues, find_hits, split_segments

_O = Observation
_IN_LUNG = frozenset((_O.LUNG_LESION, _O.LUNG_OPACITY, _O.CONSOLIDATION, _O.PNEUMONIA, _O.ATELECTASIS))
_SIDED = _IN_LUNG | {_O.PNEUMOTHORAX, _O.PLEURAL_EFFUSION, _O.PLEURAL_OTHER, _O.FRACTURE}
_SAME = _SIDED | {_O.EDEMA}
_MOST_REMEMBERED_SENTENCES = 20_000


@lru_cache(maxsize=_MOST_REMEMBERED_SENTENCES)
def read_sentence(sentence: str) -> tuple[tuple[int, int, Stated], ...]:
    """Start and end of each phrase of a cleaned sentence, and what the words around it state."""
    lexicon = load_lexicon("none")
    hits = find_hits(sentence, lexicon)
    if not hits:
        return ()
    words = find_modifiers(sentence)
    if not words:
        return tuple((hit.start, hit.end, Stated()) for hit in hits)
    segments = split_segments(sentence, hits, find_cues(sentence, lexicon))
    return tuple(_SentenceReader(sentence, words).read(segments))


class _SentenceReader:
    def __init__(self, sentence: str, words: Sequence[Word]) -> None:
        self.sentence = sentence
        self.words = words
        self.masked = mask(sentence, words)

    def read(self, segments: Sequence[Segment]) -> Iterator[tuple[int, int, Stated]]:
        ends = [0, *(segment.hits[-1].end for segment in segments)]
        places = [
            noun_phrases.there_start(self.masked, end, segment.start)
            for end, segment in zip(ends, segments, strict=False)
        ]
        for segment, place, stop in zip(segments, places, [*places[1:], len(self.sentence)], strict=True):
            around = self._deal(segment, place, stop)
            stated = [add_up(self.sentence, self.masked, *pair) for pair in zip(segment.hits, around, strict=True)]
            self._share_forwards(segment.hits, around, stated)
            self._share_backwards(segment.hits, around, stated)
            yield from ((hit.start, hit.end, said) for hit, said in zip(segment.hits, stated, strict=True))

    def _deal(self, segment: Segment, place: int, stop: int) -> list[Around]:
        """The modifiers of each hit.

        Args:
            segment: with the hits.
            place: where a place in front of the segment starts ("in the left lung there is"), else the segment's start.
            stop: where such a place in front of the next segment starts, else that segment's start.
        """
        hits = segment.hits
        start = noun_phrases.phrase_start(self.masked, segment.start, hits[0].start, is_first=True)
        front = self._leading(place, start) + self._within(start, hits[0].end)
        front += [word for word in self._within(segment.start, start) if self._is_hedge_of(word, hits[0])]
        around = []
        for hit, following in zip(hits, hits[1:], strict=False):
            start = noun_phrases.phrase_start(self.masked, hit.end, following.start, is_first=False)
            behind, inside = self._behind(hit, start), self._within(start, following.end)
            if noun_phrases.holds_place(self.masked, hit.end, start):
                behind += [word for word in inside if _is_local(word)]
            ahead = [word for word in behind if self._is_hedge_of(word, following)]
            around.append(Around(front, [word for word in behind if word not in ahead], ()))
            front = ahead + inside
        last = hits[-1]
        around.append(
            Around(front, self._behind(last, min(segment.end, stop)), self._tail(max(segment.end, last.end), stop))
        )
        return around

    def _within(self, start: int, stop: int) -> list[Word]:
        """The modifiers that begin in ``[start, stop)``."""
        return [word for word in self.words if start <= word.start < stop]

    def _behind(self, hit: Hit, stop: int) -> list[Word]:
        return self._within(hit.end, noun_phrases.predicate_end(self.masked, hit.end, stop))

    def _leading(self, start: int, stop: int) -> list[Word]:
        if not noun_phrases.leads(self.masked, start, stop):
            return []
        return [word for word in self._within(start, stop) if _is_local(word)]

    def _is_hedge_of(self, word: Word, following: Hit) -> bool:
        return word.modifier.is_likely and not noun_phrases.has_connector(self.masked, word.end, following.start)

    def _tail(self, start: int, stop: int) -> list[Word]:
        """What is said of the last hit behind the break: "now moderate", "but has increased"."""
        return [
            word
            for word in self._within(start, stop)
            if (word.modifier.severity and noun_phrases.is_renewed(self.masked, start, word.start, word.end))
            or (
                word.modifier.change
                and noun_phrases.ends_change(self.masked, word.end)
                and not noun_phrases.names_subject(self.masked, start, word.start)
            )
        ]

    def _share_forwards(self, hits: Sequence[Hit], around: Sequence[Around], stated: list[Stated]) -> None:
        """A side in front of a list holds for all of it, and so does what governs it ("no change in A or B")."""
        is_shared = [any(word.modifier.side for word in front) for front, _, _ in around]
        is_governed = [any(word.modifier.takes_list for word in front) for front, _, _ in around]
        for index in range(1, len(hits)):
            giver, taker = stated[index - 1], stated[index]
            start, stop = hits[index - 1].end, hits[index].start
            is_bare = noun_phrases.is_bare_list(self.masked, start, stop)
            if self._identifies(hits[index - 1], hits[index]):
                taker = _located(taker, giver, hits[index - 1], hits[index], _SAME)
            elif is_bare and is_shared[index - 1] and giver.side is not Side.BILATERAL:
                taker = _located(taker, giver, hits[index - 1], hits[index], _SIDED)
            is_shared[index] |= taker.side is not stated[index].side
            if is_bare and giver.is_likely:
                taker = taker._replace(is_likely=True)
            if is_governed[index - 1] and not taker.change and noun_phrases.is_list(self.masked, start, stop):
                taker = taker._replace(change=giver.change)
                is_governed[index] = True
            stated[index] = taker

    def _identifies(self, hit: Hit, following: Hit) -> bool:
        """Whether the first is said to be the second: "opacity may represent pneumonia", "opacity, likely pneumonia"."""
        if noun_phrases.identifies(self.masked, hit.end, following.start):
            return True
        is_opacity = _O.LUNG_OPACITY in hit.phrase.observations
        return is_opacity and noun_phrases.is_apposition(self.masked, hit.end, following.start)

    def _share_backwards(self, hits: Sequence[Hit], around: Sequence[Around], stated: list[Stated]) -> None:
        """What stands behind a list: "A and B on the left" where neither has more, "A and B are unchanged"."""
        for index in range(len(hits) - 2, -1, -1):
            giver, taker, behind = stated[index + 1], stated[index], around[index + 1].behind
            start, stop = hits[index].end, hits[index + 1].start
            if any(word.modifier.side for word in behind) and noun_phrases.is_bare_list(self.masked, start, stop):
                taker = _located(taker, giver, hits[index + 1], hits[index], _SIDED)
            stated[index] = taker
        self._share_predicates(hits, around, stated)

    def _share_predicates(self, hits: Sequence[Hit], around: Sequence[Around], stated: list[Stated]) -> None:
        change = None
        for index in range(len(hits) - 1, -1, -1):
            changed = [word for word in around[index].behind if word.modifier.change]
            if changed:
                is_plural = noun_phrases.is_plural(self.masked, hits[index].end, changed[0].start)
                change = stated[index].change if is_plural else None
            elif change and not stated[index].change:
                stated[index] = stated[index]._replace(change=change)
            if not index or not noun_phrases.is_list(self.masked, hits[index - 1].end, hits[index].start):
                change = None


def _is_local(word: Word) -> bool:
    return word.modifier.side is not None or word.modifier.place is not None


def _located(taker: Stated, giver: Stated, from_hit: Hit, hit: Hit, sided: frozenset[Observation]) -> Stated:
    """The first with the second's side, and where both are in the lung its place, unless it has one of its own."""
    observations = hit.phrase.observations
    if taker.side or taker.place or sided.isdisjoint(observations):
        return taker
    if sided is _SIDED and sided.isdisjoint(from_hit.phrase.observations):
        return taker
    in_lung = _IN_LUNG if sided is _SIDED else _IN_LUNG | {_O.EDEMA}
    is_in_lung = not in_lung.isdisjoint(observations) and not in_lung.isdisjoint(from_hit.phrase.observations)
    return taker._replace(side=giver.side, place=giver.place if is_in_lung else None)
