"""Rules of English on the order of words that hold whatever the sentence says; each refuses with the reason."""

from collections.abc import Sequence

from orapo.reward.tokens import IllFormedError, Token
from orapo.reward.word_classes import END, WordClasses

_ARTICLES = frozenset({"a", "an"})
_NOT_FINITE = frozenset({"be", "been", "being", "have", "having"})


def check_neighbours(tokens: Sequence[Token], classes: WordClasses) -> None:
    """What may stand beside what: articles, adverbs of degree, units, prepositions, words that need one.

    Raises:
        IllFormedError: two neighbours that never are.
    """
    text = letter = ""
    for token, after in zip(tokens, [*(token.word.letter for token in tokens[1:]), END], strict=True):
        if token.text == text:
            raise IllFormedError(f"repeats a word: {text!r}")
        if text in _ARTICLES and not _article_fits(text, token.text):
            raise IllFormedError(f"wrong article: {text!r} before {token.text!r}")
        if token.text in classes.units and letter != "m" and text not in classes.counting:
            raise IllFormedError(f"a unit without a number: {token.text!r}")
        if token.word.letter == "i":
            _check_preposition(text, letter, token.text, classes)
        for succession in classes.successions.get(token.text, ()):
            if after not in succession.letters and letter not in succession.after:
                raise IllFormedError(f"{succession.reason}: {token.text!r}")
        text, letter = token.text, token.word.letter


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


def _check_preposition(before: str, letter: str, preposition: str, classes: WordClasses) -> None:
    """Whether a preposition may follow ``before``, a word of class ``letter``."""
    if letter == "i" and preposition not in classes.preposition_pairs.get(before, ()):
        raise IllFormedError(f"two prepositions: {before!r}, {preposition!r}")
    if letter == "b" and preposition in classes.never_after_be:
        raise IllFormedError(f"doesn't follow {before!r}: {preposition!r}")
    if preposition == "of" and letter in ("p", "j") and before not in classes.before_of:
        raise IllFormedError(f"takes no 'of': {before!r}")


def _article_fits(article: str, word: str) -> bool:
    """False in the clear cases only: abbreviations, "h", "u" and numbers go by sound."""
    if len(word) < 4 or not word.isalpha() or word[0] in "hu" or word.startswith(("one", "eu")):
        return True
    return (word[0] in "aeio") == (article == "an")
