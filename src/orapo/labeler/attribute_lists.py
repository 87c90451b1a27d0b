"""Which modifiers of one mention hold for others: in lists, and where one finding is said to be another."""

from collections.abc import Sequence

from orapo.chexpert import Observation
from orapo.labeler import phrase_bounds
from orapo.labeler.attributes import Side, Stated
from orapo.labeler.modifiers import Around
from orapo.labeler.segments import Hit

_O = Observation
_IN_LUNG = frozenset((_O.LUNG_LESION, _O.LUNG_OPACITY, _O.CONSOLIDATION, _O.PNEUMONIA, _O.ATELECTASIS))
_SIDED = _IN_LUNG | {_O.PNEUMOTHORAX, _O.PLEURAL_EFFUSION, _O.PLEURAL_OTHER, _O.FRACTURE}


def share(masked: str, hits: Sequence[Hit], around: Sequence[Around], stated: Sequence[Stated]) -> list[Stated]:
    """What is stated of each hit of a segment, with what it has from its neighbours.

    Args:
        masked: the sentence, as ``phrase_bounds`` reads it.
        hits: of the segment.
        around: the modifiers of each hit.
        stated: what those alone state.
    """
    sharing = _Sharing(masked, hits, around, stated)
    sharing.share_places_forwards()
    sharing.share_places_backwards()
    sharing.share_hedges()
    sharing.share_governing_changes()
    sharing.share_predicates()
    return sharing.stated


class _Sharing:
    def __init__(self, masked: str, hits: Sequence[Hit], around: Sequence[Around], stated: Sequence[Stated]) -> None:
        self.masked = masked
        self.hits = hits
        self.around = around
        self.stated = [*stated]

    def share_places_forwards(self) -> None:
        """As in "left atelectasis and effusion", "left opacity, likely pneumonia"; a "bilateral" isn't shared."""
        is_given = [any(word.modifier.side for word in before) for before, _, _ in self.around]
        source: dict[int, int] = {}
        for index in range(1, len(self.hits)):
            own = self.stated[index]
            if self._identifies(index):
                source[index] = index - 1
            elif self._is_bare(index) and index - 1 in source:
                source[index] = source[index - 1]
            elif self._is_bare(index) and is_given[index - 1] and self.stated[index - 1].side is not Side.BILATERAL:
                self._locate(index, index - 1)
            if index in source:
                self._locate(index, source[index], is_same=True)
            is_given[index] |= self.stated[index] != own

    def share_places_backwards(self) -> None:
        """As in "atelectasis and effusion on the left"."""
        for index in range(len(self.hits) - 1, 0, -1):
            if any(word.modifier.side for word in self.around[index].after) and self._is_bare(index):
                self._locate(index - 1, index)

    def share_hedges(self) -> None:
        """As in "likely atelectasis and small effusion"."""
        for index in range(1, len(self.hits)):
            said = self.stated[index]
            is_joined = phrase_bounds.is_joined(self.masked, *self._gap(index))
            if is_joined and self.stated[index - 1].is_likely and not said.change:
                self.stated[index] = said._replace(is_likely=True)

    def share_governing_changes(self) -> None:
        """As in "no change in the left effusion, edema or atelectasis"."""
        is_governed = [any(word.modifier.takes_list for word in before) for before, _, _ in self.around]
        for index in range(1, len(self.hits)):
            if is_governed[index - 1] and not self.stated[index].change and self._is_list(index):
                self.stated[index] = self.stated[index]._replace(change=self.stated[index - 1].change)
                is_governed[index] = True

    def share_predicates(self) -> None:
        """As in "left effusion and right atelectasis are unchanged"."""
        change = None
        for index in range(len(self.hits) - 1, -1, -1):
            changed = [word for word in self.around[index].after if word.modifier.change]
            if changed:
                is_plural = phrase_bounds.is_plural(self.masked, self.hits[index].end, changed[0].start)
                change = self.stated[index].change if is_plural else None
            elif change and not self.stated[index].change:
                self.stated[index] = self.stated[index]._replace(change=change)
            if not index or not self._is_list(index):
                change = None

    def _gap(self, index: int) -> tuple[int, int]:
        """The span between the hit and the one before it."""
        return self.hits[index - 1].end, self.hits[index].start

    def _is_list(self, index: int) -> bool:
        return phrase_bounds.is_list(self.masked, *self._gap(index))

    def _is_bare(self, index: int) -> bool:
        """Whether the hit stands in a list without modifiers; "A, B" is one where "or C" or the like follows."""
        if not phrase_bounds.is_bare_list(self.masked, *self._gap(index)):
            return False
        is_open = index + 1 < len(self.hits) and self._is_list(index + 1)
        return is_open or not phrase_bounds.is_comma(self.masked, *self._gap(index))

    def _identifies(self, index: int) -> bool:
        """As in "opacity may represent pneumonia", "opacity, likely pneumonia"."""
        if phrase_bounds.identifies(self.masked, *self._gap(index)):
            return True
        is_opacity = _O.LUNG_OPACITY in self.hits[index - 1].phrase.observations
        return is_opacity and phrase_bounds.is_apposition(self.masked, *self._gap(index))

    def _locate(self, taker: int, giver: int, *, is_same: bool = False) -> None:
        """Gives a hit that is nowhere yet the other's side, and where both are in the lung its place.

        Args:
            taker: index of the hit.
            giver: index of the other.
            is_same: they are one finding, so that edema too stands where it does, and anything can tell where.
        """
        said, given = self.stated[taker], self.stated[giver]
        to, by = (frozenset(self.hits[index].phrase.observations) for index in (taker, giver))
        edema = {_O.EDEMA} if is_same else frozenset[Observation]()
        if said.side or said.place or not to & (_SIDED | edema) or not (is_same or by & _SIDED):
            return
        is_in_lung = to & (_IN_LUNG | edema) and by & _IN_LUNG
        self.stated[taker] = said._replace(side=given.side, place=given.place if is_in_lung else None)
