"""The words that modify mentions, and what those of one mention add up to."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeVar

from orapo.chexpert import Observation
from orapo.labeler import phrase_bounds
from orapo.labeler.attributes import DEVICE_PLACES, Change, Place, Severity, Side, Stated
from orapo.labeler.lexicon import PhraseKind, read_lexicon_file, spell_out
from orapo.labeler.scanner import Scanner
from orapo.labeler.segments import Hit

_Value = TypeVar("_Value")
_INCREASED_IS_THERE = frozenset((Observation.LUNG_OPACITY, Observation.NO_FINDING))
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_PLACE_ONLY, _SIDE_ONLY = (True, False), (False, True)
_HAPPENED = re.compile(r"(?:has|have|had|interval|since) $")


@dataclass(frozen=True, slots=True)
class Modifier:
    """One family of ``lexicon/attributes.toml``; what it doesn't state is None or False."""

    name: str
    side: Side | None
    place: Place | None
    severity: Severity | None
    change: Change | None
    is_likely: bool
    is_measured: bool
    takes_list: bool


class Word(NamedTuple):
    """A modifier found in a sentence, at ``[start, end)``."""

    start: int
    end: int
    modifier: Modifier


class Around(NamedTuple):
    """The modifiers of one hit: before it or inside, after it, and after the break that ends its segment."""

    before: Sequence[Word]
    after: Sequence[Word]
    tail: Sequence[Word]


def _modifier(entry: Mapping[str, Any]) -> Modifier:
    return Modifier(
        name=entry["name"],
        side=Side(entry["side"]) if "side" in entry else None,
        place=Place(entry["place"]) if "place" in entry else None,
        severity=Severity(entry["severity"]) if "severity" in entry else None,
        change=Change(entry["change"]) if "change" in entry else None,
        is_likely=entry.get("likely", False),
        is_measured=entry.get("measured", False),
        takes_list=entry.get("takes_list", False),
    )


@cache
def load_modifiers() -> tuple[Scanner, tuple[Modifier, ...]]:
    """Reads ``lexicon/attributes.toml``; the scanner reports indices of the families."""
    content = read_lexicon_file("attributes.toml")
    words, entries = content["words"], content["modifier"]
    scanner = Scanner([tuple(spell_out(spell_out(form, words), words) for form in entry["forms"]) for entry in entries])
    return scanner, tuple(_modifier(entry) for entry in entries)


def find_modifiers(sentence: str) -> list[Word]:
    """Every modifier of a cleaned sentence, leftmost first, without overlaps; shields are among them."""
    scanner, modifiers = load_modifiers()
    return [Word(start, end, modifiers[index]) for start, end, index in scanner.scan(sentence)]


def mask(sentence: str, words: Iterable[Word]) -> str:
    """The sentence with its modifiers written over, as ``phrase_bounds`` reads it."""
    masked = list(sentence)
    for start, end, modifier in words:
        if not modifier.is_likely:
            masked[start:end] = phrase_bounds.MASK * (end - start)
    return phrase_bounds.without_partitives("".join(masked))


def add_up(sentence: str, masked: str, hit: Hit, around: Around) -> Stated:
    """What the modifiers of a hit state; nothing where they state two things."""
    before, after, tail = around
    local = after
    if hit.phrase.is_device:
        local = [word for word in after if not phrase_bounds.names_tip(masked, hit.end, word.start)]
    changes = [word for word in (*before, *after, *tail) if _is_change(sentence, masked, hit, word)]
    return Stated(
        is_likely=_is_likely(masked, around),
        side=_first([_side(before), _side(local)]),
        place=_first([_place(before, hit), _place(after, hit), _place(tail, hit)]),
        severity=_severity(masked, around),
        size_mm=_size_mm(sentence, (*before, *after)),
        change=_only({word.modifier.change for word in changes}),
    )


def _only(values: set[_Value]) -> _Value | None:
    return next(iter(values)) if len(values) == 1 else None


def _first(values: Iterable[_Value | None]) -> _Value | None:
    return next((value for value in values if value is not None), None)


def _side(words: Sequence[Word]) -> Side | None:
    """Nothing for "the lingula and right middle lobe", where the side is of the second place alone."""
    kinds = [(word.modifier.side is None, word.modifier.place is None) for word in words]
    if [kind for kind in kinds if kind != (True, True)] == [_PLACE_ONLY, _SIDE_ONLY, _PLACE_ONLY]:
        return None
    sides = {word.modifier.side for word in words if word.modifier.side}
    return Side.BILATERAL if len(sides) > 1 else _only(sides)


def _place(words: Iterable[Word], hit: Hit) -> Place | None:
    found = {word.modifier.place for word in words if word.modifier.place}
    return _only(found if hit.phrase.is_device else found - DEVICE_PLACES)


def _is_likely(masked: str, around: Around) -> bool:
    predicates = [word for word in around.after if phrase_bounds.is_predicate(masked, word.start, word.end)]
    return any(word.modifier.is_likely for word in (*around.before, *predicates))


def _severity(masked: str, around: Around) -> Severity | None:
    for words in (around.tail, around.before):
        if found := {word.modifier.severity for word in words if word.modifier.severity}:
            return _only(found)
    return _only(
        {
            word.modifier.severity
            for word in around.after
            if word.modifier.severity and phrase_bounds.ends_degree(masked, word.end)
        }
    )


def _is_change(sentence: str, masked: str, hit: Hit, word: Word) -> bool:
    """Whether a word says that a finding changed; "increased opacity", "heart size is increased" say it's there."""
    if word.modifier.change is None or hit.start <= word.start < hit.end:
        return False
    if sentence[word.start : word.end] == "increased" and not _HAPPENED.search(sentence, 0, word.start):
        if hit.phrase.kind is PhraseKind.NEUTRAL:
            return False
        if word.end < hit.start and not _INCREASED_IS_THERE.isdisjoint(hit.phrase.observations):
            return False
    return word.end <= hit.start or phrase_bounds.stands_alone(masked, word.start, word.end)


def _size_mm(sentence: str, words: Iterable[Word]) -> float | None:
    """The longest diameter; nothing where two lengths are told."""
    measured = [sentence[word.start : word.end] for word in words if word.modifier.is_measured]
    if len(measured) != 1:
        return None
    size = max(float(number) for number in _NUMBER.findall(measured[0]))
    return round(size if "mm" in measured[0] or "milli" in measured[0] else 10 * size, 2) or None
