"""From the words of a statement to its noun phrases: the chunks between verbs, prepositions and conjunctions."""

import re
from itertools import pairwise
from typing import NamedTuple

from orapo.reward.tokens import IllFormedError, Token
from orapo.reward.word_classes import DEVICE_GROUP, Word, WordClasses
from orapo.reward.word_order import check_premodifiers

# Premodifiers may be coordinated ("patchy and confluent opacities"), nouns may follow each other ("lung base opacity").
# Left and right are nouns after a determiner or preposition ("on the left"), numbers after a preposition.
_CHUNK = re.compile(
    r"n?d{0,2}(?:[lpy]|[jmou](?:(?:,?c|,)(?=l{0,2}[jpmuyo])|,(?=f(?![lkt]*[bhzp])))?)*"
    r"[afvgu](?:[mu]{0,2}[afvgu]|m)*"
    r"|(?:d|(?<=i))o(?![jafvgu])"
    r"|(?:d[jlpmou]*|(?<=[bigj])|^)y(?=i)"
    r"|n?d?(?<=[iy])m|d(?=[klt]*[bhz])"
)


class NounPhrase(NamedTuple):
    """One noun phrase without what follows it ("a small effusion", not "on the left").

    Attributes:
        tokens: its words.
        head: its last noun.
        negated: it begins with "no".
        groups: observations that its finding and device words state.
        anatomy: dictionary forms of its anatomical nouns.
    """

    tokens: tuple[Token, ...]
    head: Word
    negated: bool
    groups: frozenset[str]
    anatomy: frozenset[str]

    @property
    def states_finding(self) -> bool:
        """Whether its head is a finding; a device is none."""
        return self.head.letter == "f"


def chunk(tokens: tuple[Token, ...], classes: WordClasses) -> tuple[str, tuple[NounPhrase | Token, ...]]:
    """The class string of a statement with every noun phrase replaced by "N", and what each letter stands for.

    Raises:
        IllFormedError: a noun phrase joins what doesn't belong together.
    """
    letters = "".join(token.word.letter for token in tokens)
    for place, token in enumerate(tokens):  # "mild to moderate", "sixth through eighth" coordinate adjectives
        if token.text in ("to", "through") and letters[place - 1 : place] == "j" == letters[place + 1 : place + 2]:
            letters = f"{letters[:place]}c{letters[place + 1 :]}"
    symbols: list[str] = []
    parts: list[NounPhrase | Token] = []
    done = 0
    for match in _CHUNK.finditer(letters):
        symbols.append(letters[done : match.start()])
        parts.extend(tokens[done : match.start()])
        symbols.append("N")
        parts.append(_noun_phrase(tokens[match.start() : match.end()], classes))
        done = match.end()
    symbols.append(letters[done:])
    parts.extend(tokens[done:])
    return "".join(symbols), tuple(parts)


def _noun_phrase(tokens: tuple[Token, ...], classes: WordClasses) -> NounPhrase:
    words = [token.word for token in tokens]
    nouns = [word for word in words if word.letter in "afvgu"] or words[-1:]
    groups = frozenset(word.group for word in words if word.group)
    anatomy = frozenset(word.singular for word in words if word.letter == "a")
    phrase = NounPhrase(tokens, nouns[-1], words[0].letter == "n", groups, anatomy)
    if tokens[-1].word.letter == "d" and tokens[-1].text not in classes.standing_alone:
        raise IllFormedError(f"an article without a noun: {tokens[-1].text!r}")
    _check_compound(phrase, nouns, classes)
    _check_modifiers(phrase, classes)
    _check_determiner(phrase, classes)
    check_premodifiers(tokens, classes)
    return phrase


def _check_compound(phrase: NounPhrase, nouns: list[Word], classes: WordClasses) -> None:
    text = " ".join(token.text for token in phrase.tokens)
    if not classes.combine(phrase.groups):
        raise IllFormedError(f"one phrase for {' and '.join(sorted(phrase.groups))}: {text!r}")
    for first, second in pairwise(nouns):
        if first.letter == "f" and second.letter == "a":
            raise IllFormedError(f"a finding doesn't qualify anatomy: {text!r}")
        if first.singular in classes.attributes and second.letter in "fva":
            raise IllFormedError(f"a measure doesn't qualify a thing: {text!r}")
        if first.plural and (first.letter in "fag" or first.letter == "v" == second.letter):
            raise IllFormedError(f"a plural doesn't qualify: {text!r}")
        if first.letter == "v" and second.letter == "a":
            raise IllFormedError(f"a device doesn't qualify anatomy: {text!r}")
        is_like = first.letter == second.letter and second.singular not in classes.regions
        if first.singular in classes.parts and is_like:
            raise IllFormedError(f"a part doesn't qualify the whole: {text!r}")
        if first == second:
            raise IllFormedError(f"repeats a word: {text!r}")
    check_place(phrase.groups, phrase.anatomy, classes)
    normal = any(token.text in classes.normality for token in phrase.tokens)
    if normal and phrase.groups - {DEVICE_GROUP} and not phrase.negated:
        raise IllFormedError(f"a finding isn't normal: {text!r}")


def _check_modifiers(phrase: NounPhrase, classes: WordClasses) -> None:
    texts = [token.text for token in phrase.tokens]
    for before, text in pairwise(["", *texts]):
        if text in classes.predicate_only and before != "previously":
            raise IllFormedError(f"not before a noun: {text!r}")
    sides = [side for side, names in classes.sides.items() if names.intersection(texts)]
    if len(sides) > 1 and not any(token.word.letter in "c," for token in phrase.tokens):
        raise IllFormedError(f"several sides: {' '.join(texts)!r}")


def _check_determiner(phrase: NounPhrase, classes: WordClasses) -> None:
    texts = {token.text for token in phrase.tokens}
    determiners = [token.text for token in phrase.tokens if token.word.letter == "d"]
    if len(determiners) > 1 and determiners[0] not in ("all", "both"):
        raise IllFormedError(f"two determiners: {' '.join(determiners)!r}")
    if phrase.head.plural and texts & {"a", "an", "another"} and not texts & classes.collectives:
        raise IllFormedError(f"singular article, plural noun: {phrase.head.singular!r}")
    if phrase.head.plural is False and texts & {"these", "those", "both"} and phrase.head.letter in "fa":
        raise IllFormedError(f"plural determiner, singular noun: {phrase.head.singular!r}")


def check_place(groups: frozenset[str], anatomy: frozenset[str], classes: WordClasses) -> None:
    """Refuses findings where they can't be.

    Raises:
        IllFormedError: one of the findings has no business in one of the places.
    """
    for group in groups:
        wrong = classes.misplaced.get(group, frozenset()) & anatomy
        if wrong:
            raise IllFormedError(f"{group} of the {', '.join(sorted(wrong))}")
