"""Whether two reports state the same of their findings: side, place, severity or size, and change."""

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import NamedTuple

from orapo.chexpert import Observation
from orapo.labeler import Attributes, Certainty, Labeler, Side

SIZE_TOLERANCE = 0.2
"""Two lengths agree when they differ by at most this fraction of the longer one."""

_MOST_REMEMBERED_REPORTS = 20_000


class AttributePair(NamedTuple):
    """One thing that a report states of one finding.

    Attributes:
        finding: one of the 13 observations; never No Finding.
        kind: "side", "place", "severity", "size" or "change".
        value: the word, or the length in millimetres.
    """

    finding: Observation
    kind: str
    value: str | float

    def agrees(self, other: "AttributePair") -> bool:
        """Whether both state the same; lengths within ``SIZE_TOLERANCE``."""
        if isinstance(self.value, float) and isinstance(other.value, float):
            is_close = abs(self.value - other.value) <= SIZE_TOLERANCE * max(self.value, other.value)
            return self[:2] == other[:2] and is_close
        return self == other


class AttributeAgreement(NamedTuple):
    """Counts of pairs of one generated report beside the radiologist's.

    Attributes:
        stated: pairs of the radiologist's report.
        found: those of them that the generated report states too.
        written: pairs of the generated report.
        right: those of them that the radiologist's report states too.
    """

    stated: int
    found: int
    written: int
    right: int

    @property
    def f1(self) -> float | None:
        """2 P R / (P + R) with P = right / written and R = found / stated; None where the radiologist states nothing.

        A pair that is left out is a miss, a pair that the radiologist does not state is false; 0 without a right pair.
        """
        if not self.stated:
            return None
        if not self.right:
            return 0.0
        precision, recall = self.right / self.written, self.found / self.stated
        return 2 * precision * recall / (precision + recall)


class ChangeAgreement(NamedTuple):
    """Counts of the changes that a radiologist's report states, beside one generated report.

    Attributes:
        stated: pairs of a finding and its change.
        answered: those of them for whose finding the generated report states a change too.
        right: those of them that the generated report states too.
    """

    stated: int
    answered: int
    right: int


def change_agreement(generated_report: str, oracle_report: str) -> ChangeAgreement:
    """Compares the changes that two reports state of their findings; both may be empty."""
    written, stated = changes_of(generated_report), changes_of(oracle_report)
    answered = {pair.finding for pair in written}
    return ChangeAgreement(len(stated), sum(pair.finding in answered for pair in stated), len(stated & written))


def attribute_agreement(generated_report: str, oracle_report: str) -> AttributeAgreement:
    """Compares what two reports state of their findings; both may be empty."""
    return compare_pairs(attribute_pairs(generated_report), attribute_pairs(oracle_report))


def compare_pairs(written: Collection[AttributePair], stated: Collection[AttributePair]) -> AttributeAgreement:
    """Compares the pairs of a generated report with those of the radiologist's."""
    return AttributeAgreement(len(stated), _agreeing(stated, written), len(written), _agreeing(written, stated))


@lru_cache(maxsize=_MOST_REMEMBERED_REPORTS)
def attribute_pairs(report: str) -> frozenset[AttributePair]:
    """What the rule labeler reads of findings that are there or may be there, and of those that have resolved.

    Of a finding that is denied only its resolution counts: "no left effusion" does not place an effusion. What is
    bilateral is left and right.
    """
    return frozenset(
        AttributePair(mention.observation, kind, value)
        for mention in _labeler().mentions(report)
        if mention.observation is not Observation.NO_FINDING
        for kind, value in _stated(mention.attributes)
    )


def changes_of(report: str) -> frozenset[AttributePair]:
    """Pairs of a finding and its change."""
    return frozenset(pair for pair in attribute_pairs(report) if pair.kind == "change")


def _stated(attributes: Attributes) -> Iterator[tuple[str, str | float]]:
    if attributes.change is not None:
        yield "change", attributes.change.value
    if attributes.certainty is Certainty.DENIED:
        return
    if attributes.side is not None:
        sides = (Side.LEFT, Side.RIGHT) if attributes.side is Side.BILATERAL else (attributes.side,)
        yield from (("side", side.value) for side in sides)
    if attributes.place is not None:
        yield "place", attributes.place.value
    if attributes.severity is not None:
        yield "severity", attributes.severity.value
    if attributes.size_mm is not None:
        yield "size", float(attributes.size_mm)


def _agreeing(pairs: Collection[AttributePair], others: Collection[AttributePair]) -> int:
    return sum(any(pair.agrees(other) for other in others) for pair in pairs)


@lru_cache(maxsize=1)
def _labeler() -> Labeler:
    return Labeler()
