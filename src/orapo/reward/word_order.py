"""Rules of English on the order of words that hold whatever the sentence says; each refuses with the reason."""

from collections.abc import Sequence
from itertools import pairwise

from orapo.reward.tokens import IllFormedError, Token
from orapo.reward.word_classes import END, WordClasses

_ARTICLES = frozenset({"a", "an"})
_NOT_FINITE = frozenset({"be", "been", "being", "have", "having"})


def check_neighbours(tokens: Sequence[Token], classes: WordClasses) -> None:
    """What may stand beside what: articles, adverbs of degree, units, prepositions, words that need one.

    Raises:
        IllFormedError: two neighbours that never are.
    """
    letters = ["", *(token.word.letter for token in tokens), END]
    for place, token in enumerate(tokens):
        _check_next(token, letters[place], letters[place + 2], classes)
    _check_unit("", tokens[0], classes)
    for first, second in pairwise(tokens):
        if first.text == second.text:
            raise IllFormedError(f"repeats a word: {first.text!r}")
        if first.text in _ARTICLES and not _article_fits(first.text, second.text):
            raise IllFormedError(f"wrong article: {first.text!r} before {second.text!r}")
        _check_unit(first.word.letter, second, classes, first.text)
        if second.word.letter == "i":
            _check_preposition(first, second, classes)


def check_premodifiers(tokens: Sequence[Token], classes: WordClasses) -> None:
    """Number before size before side before place before kind, within one run of a noun phrase.

    Raises:
        IllFormedError: "pleural small effusion", "lower left lobe".
    """
    barred: frozenset[str] = frozenset()
    for place, token in enumerate(tokens):
        if token.text in barred:
            raise IllFormedError(f"wrong order: {tokens[place - 1].text!r} before {token.text!r}")
        if token.word.letter in "c,":
            barred = frozenset()
        elif token.text in classes.never_before:
            barred |= classes.never_before[token.text]
        if place and token.text in classes.transitive and tokens[place - 1].word.letter not in "lc,":
            raise IllFormedError(f"not before a noun: {token.text!r}")


def check_verbs(group: Sequence[Token]) -> None:
    """Modal before have before be before the verb, each in the form that the one before it asks for.

    Args:
        group: words of one verb group, with its adverbs.

    Raises:
        IllFormedError: "been has", "may shows", "is has".
    """
    before: Token | None = None
    is_denied = False
    for token in group:
        letter = token.word.letter
        is_denied |= token.text == "not"
        if letter not in "kbhzi":
            continue
        if letter == "i":
            fits = token.text == "to"
        elif before is None:
            fits = token.text not in ("be", "been") and not (is_denied and letter in "kb")
        else:
            fits = _may_follow(before, token)
        if not fits:
            raise IllFormedError(f"verbs in the wrong order or form: {' '.join(verb.text for verb in group)!r}")
        before = token


def _may_follow(before: Token, verb: Token) -> bool:
    """Whether ``verb`` has the form that a verb, modal or "to" in front asks for."""
    text, asks = verb.text, before.word.letter
    if text == "been":
        return asks == "h"
    if verb.word.letter in "kbh" and text not in _NOT_FINITE:
        return False
    if text in ("be", "have"):
        return asks in "ki"
    is_base = not text.endswith(("ed", "s")) or text.endswith("ss")
    return is_base if asks in "ki" else text.endswith("ed") or not is_base or asks != "b" or text == "being"


def _check_next(token: Token, before: str, after: str, classes: WordClasses) -> None:
    for succession in classes.successions.get(token.text, ()):
        if after not in succession.letters and before not in succession.after:
            raise IllFormedError(f"{succession.reason}: {token.text!r}")


def _check_unit(letter: str, unit: Token, classes: WordClasses, text: str = "") -> None:
    if unit.text in classes.units and letter != "m" and text not in classes.counting:
        raise IllFormedError(f"a unit without a number: {unit.text!r}")


def _check_preposition(first: Token, second: Token, classes: WordClasses) -> None:
    letter = first.word.letter
    if letter == "i" and second.text not in classes.preposition_pairs.get(first.text, frozenset()):
        raise IllFormedError(f"two prepositions: {first.text!r}, {second.text!r}")
    if letter == "b" and second.text in classes.never_after_be:
        raise IllFormedError(f"doesn't follow {first.text!r}: {second.text!r}")
    if second.text == "of" and letter in "pj" and first.text not in classes.before_of:
        raise IllFormedError(f"takes no 'of': {first.text!r}")


def _article_fits(article: str, word: str) -> bool:
    """False in the clear cases only: abbreviations, "h", "u" and numbers go by sound."""
    if len(word) < 4 or not word.isalpha() or word[0] in "hu" or word.startswith(("one", "eu")):
        return True
    return (word[0] in "aeio") == (article == "an")
