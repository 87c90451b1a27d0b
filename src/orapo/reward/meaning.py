"""Constraints of meaning between the parts of a statement; each refuses with the reason."""

from collections.abc import Sequence

from orapo.reward.noun_phrases import NounPhrase, check_place
from orapo.reward.tokens import IllFormedError, Token
from orapo.reward.word_classes import DEVICE_GROUP, WordClasses

MAX_OBSERVATIONS = 6
"""Observations that a sentence may speak of; "no consolidation, effusion, pneumothorax, edema or fracture" has five."""

_SINGULAR = frozenset({"is", "was", "has", "isn't", "wasn't", "hasn't"})
_PLURAL = frozenset({"are", "were", "have", "aren't", "weren't", "haven't"})
_NO_NUMBER = frozenset({"be", "been", "being", "had", "having", "did", "became", "lay", "made", "bear", ":"})


def check_attachment(host: NounPhrase | None, preposition: str, complement: NounPhrase, classes: WordClasses) -> None:
    """Refuses a finding "of", "in" or "at" another one, or in anatomy where it can't be.

    Args:
        host: what the preposition follows, None at the start of a statement.
        preposition: the last preposition before ``complement``.
        complement: what it leads to.
        classes: what is known of words.

    Raises:
        IllFormedError: such a pair.
    """
    if host is None or preposition not in classes.locating:
        return
    if host.states_finding and complement.head.singular in ("place", "position"):
        raise IllFormedError(f"only a device is {preposition} {complement.head.singular}: {host.head.singular!r}")
    if host.groups and complement.groups and host.groups != complement.groups:
        groups = f"{' and '.join(sorted(host.groups))} {preposition} {' and '.join(sorted(complement.groups))}"
        raise IllFormedError(f"one finding within another: {groups}")
    check_place(host.groups, complement.anatomy, classes)
    misled = host.head.letter == "a" and host.head.singular not in classes.regions
    if preposition == "of" and misled and complement.states_finding:
        raise IllFormedError(f"anatomy of a finding: {host.head.singular!r} of {complement.head.singular!r}")


def check_predicate(subjects: Sequence[NounPhrase], predicate: Sequence[Token], classes: WordClasses) -> None:
    """Refuses to call a finding normal, clear or intact.

    Raises:
        IllFormedError: the predicate calls a finding normal.
    """
    texts = [token.text for token in predicate]
    for pair in classes.opposites:
        if pair.issubset(texts):
            raise IllFormedError(f"says nothing: {' and '.join(sorted(pair))}")
    normal = classes.normality.intersection(texts)
    if normal and "not" not in texts:
        for subject in subjects:
            if subject.groups - {DEVICE_GROUP} and subject.head.letter == "f":
                raise IllFormedError(f"a finding isn't {', '.join(sorted(normal))}: {subject.head.singular!r}")


def check_equation(
    subjects: Sequence[NounPhrase], verbs: Sequence[Token], complements: Sequence[NounPhrase], classes: WordClasses
) -> None:
    """Checks what something "is" or "represents": never anatomy, and a finding only of a finding or an appearance.

    Raises:
        IllFormedError: "the opacity is rib", "the heart is edema", "the effusion is a nodule".
    """
    if not verbs or verbs[-1].text not in classes.equating:
        return
    for complement in complements:
        described = any(token.word.letter == "p" for token in complement.tokens)  # "this is an enlarged heart"
        if complement.head.letter == "a" and not described:
            raise IllFormedError(f"nothing is anatomy: {complement.head.singular!r}")
        is_bare = all(token.word.letter in "afvgum" for token in complement.tokens)
        first = complement.tokens[0].word
        if is_bare and (first.singular in classes.attributes or (first.letter == "v" and not complement.head.plural)):
            raise IllFormedError(f"lacks a determiner: {first.singular!r}")
        if not complement.groups:
            continue
        for subject in subjects:
            if subject.head.singular == complement.head.singular:
                raise IllFormedError(f"says nothing: {subject.head.singular!r} is {complement.head.singular!r}")
            if subject.head.letter in "av" and not subject.groups & complement.groups:
                raise IllFormedError(f"{subject.head.singular!r} is no {complement.head.singular!r}")
            groups = subject.groups | complement.groups
            may_stand_for = verbs[-1].word.letter == "z" and groups <= classes.equatable
            if not may_stand_for and not classes.combine(groups):
                raise IllFormedError(f"{subject.head.singular!r} is no {complement.head.singular!r}")


def check_agreement(subjects: Sequence[NounPhrase], verb: str, classes: WordClasses) -> None:
    """Checks the number of subject and verb, for a single subject whose number is known.

    Raises:
        IllFormedError: "the lungs is", "a fracture are".
    """
    if len(subjects) != 1:
        return
    head, texts = subjects[0].head, {token.text for token in subjects[0].tokens}
    if texts & classes.collectives:
        return
    singular, plural = _number_of(verb)
    if (head.plural is True and singular) or (head.plural is False and plural):
        raise IllFormedError(f"subject and verb disagree: {head.singular!r}, {verb!r}")


def _number_of(verb: str) -> tuple[bool, bool]:
    """Whether a finite present verb is singular, and whether it's plural; a past form is neither."""
    if verb in _SINGULAR | _PLURAL:
        return verb in _SINGULAR, verb in _PLURAL
    if verb.endswith("ed") or verb in _NO_NUMBER:
        return False, False
    return verb.endswith("s") and not verb.endswith("ss"), not verb.endswith("s")


def check_list(phrases: Sequence[NounPhrase]) -> None:
    """Refuses a list that repeats an item.

    Raises:
        IllFormedError: an item occurs twice.
    """
    texts = [" ".join(token.text for token in phrase.tokens) for phrase in phrases]
    for text in texts:
        if texts.count(text) > 1:
            raise IllFormedError(f"repeats itself: {text!r}")


def check_breadth(phrases: Sequence[NounPhrase]) -> None:
    """Refuses a sentence that mentions most of the observations.

    Raises:
        IllFormedError: more than ``MAX_OBSERVATIONS``.
    """
    groups = {group for phrase in phrases for group in phrase.groups} - {"Other"}
    if len(groups) > MAX_OBSERVATIONS:
        raise IllFormedError(f"speaks of {len(groups)} observations, at most {MAX_OBSERVATIONS} in a sentence")
