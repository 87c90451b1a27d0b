"""The word classes of the offline judge, read once from ``word_classes.toml``."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from orapo.errors import DataError

CLASS_LETTERS: Mapping[str, str] = {
    "determiner": "d",
    "negation": "n",
    "denial": "t",
    "existential": "x",
    "pronoun": "e",
    "relative": "r",
    "conjunction": "c",
    "clause_conjunction": "s",
    "modal": "k",
    "be": "b",
    "have": "h",
    "verb": "z",
    "preposition": "i",
    "adverb": "l",
    "predicate": "p",
    "adjective": "j",
    "participle": "y",
    "anatomy": "a",
    "device": "v",
    "general": "g",
}
"""Letter of each word class in a statement's class string; "f" finding, "o" left and right, "m" number, "u" unknown."""

DEVICE_GROUP = "Support Devices"
SIDE = "o"
UNKNOWN = "u"
GARBAGE = "?"
END = "$"
"""Stands for a class letter after the last word."""

_NUMBER = re.compile(r"\d+(?:[.,]\d+)?(?:st|nd|rd|th|mm|cm|%|-?year-old)?|[tcl]\d{1,2}|\d+(?:[-x]\d+)+")
_HAS_VOWEL = re.compile(r"[aeiouy]")
_GARBAGE = re.compile(r"(.)\1\1|[a-z]\d+[a-z]|\d[a-z]+\d")
_LONGEST_WORD = 24
_ENDINGS: Mapping[str, str] = {"ly": "l", "ing": "y", "ed": "p"}


@dataclass(frozen=True, slots=True)
class Word:
    """What is known of one word.

    Attributes:
        letter: its class.
        singular: the dictionary form of a noun, else the word itself.
        group: the observation that a finding or device word states, "" for other words.
        plural: True and False for known nouns, None where number is unknown or has no meaning.
        known: False for a word that stands in no class; its class is a guess.
    """

    letter: str
    singular: str
    group: str = ""
    plural: bool | None = None
    known: bool = True


@dataclass(frozen=True, slots=True)
class Succession:
    """What may directly follow a word.

    Attributes:
        letters: classes of the next word, ``END`` among them where it may be the last one.
        after: classes of the word in front with which anything may follow.
        reason: for refusing another one.
    """

    letters: frozenset[str]
    after: frozenset[str]
    reason: str


@dataclass(frozen=True)
class WordClasses:
    """Word classes and the constraints of meaning between them; see the comments in ``word_classes.toml``.

    Attributes:
        words: entry of every known word and fixed phrase.
        token: finds the next fixed phrase, word or mark in lower-case text.
        combinable: pairs of observations that one phrase may state.
        misplaced: per observation the anatomy that it can't be in.
        preposition_pairs: per preposition those that may follow it directly.
        never_before: per premodifier those that can't follow it in a noun phrase.
        successions: per word what may follow it directly.
    """

    words: Mapping[str, Word]
    token: re.Pattern[str]
    combinable: frozenset[frozenset[str]]
    misplaced: Mapping[str, frozenset[str]]
    attributes: frozenset[str]
    normality: frozenset[str]
    restrictions: frozenset[str]
    intransitive: frozenset[str]
    collectives: frozenset[str]
    regions: frozenset[str]
    locating: frozenset[str]
    equating: frozenset[str]
    equatable: frozenset[str]
    predicate_only: frozenset[str]
    linking: frozenset[str]
    standing_alone: frozenset[str]
    parts: frozenset[str]
    transitive: frozenset[str]
    units: frozenset[str]
    counting: frozenset[str]
    before_of: frozenset[str]
    never_after_be: frozenset[str]
    preposition_pairs: Mapping[str, frozenset[str]]
    never_before: Mapping[str, frozenset[str]]
    successions: Mapping[str, tuple[Succession, ...]]
    opposites: frozenset[frozenset[str]]
    sides: Mapping[str, frozenset[str]]

    def combine(self, groups: frozenset[str]) -> bool:
        """True where findings of these observations may be said in one phrase."""
        return all(frozenset((a, b)) in self.combinable for a in groups for b in groups if a < b)

    def lookup(self, word: str) -> Word:
        """The entry of a lower-case word; unknown words are classed by their ending, gibberish as ``GARBAGE``."""
        known = self.words.get(word)
        if known is not None:
            return known
        if _NUMBER.fullmatch(word):
            return Word("m", word)
        if set(word) == {"_"}:
            return Word("g", word)  # a de-identification mark stands for a name or a date
        if max(map(len, word.split("-"))) > _LONGEST_WORD or not word.isascii() or _GARBAGE.search(word):
            return Word(GARBAGE, word)
        parts = word.split("-")
        if len(parts) > 1 and all(part in self.words for part in parts):
            last = self.words[parts[-1]]
            return last if last.letter in "afvg" else Word("j", word)
        if not _HAS_VOWEL.search(word) and len(word) > 4:
            return Word(GARBAGE, word)
        letter = next(
            (letter for ending, letter in _ENDINGS.items() if word.endswith(ending) and len(word) > 4), UNKNOWN
        )
        return Word(letter, word, known=False)


@lru_cache(maxsize=1)
def load_word_classes() -> WordClasses:
    """Reads the packaged table.

    Raises:
        DataError: a word stands in two classes, or a class has no letter.
    """
    table = tomllib.loads(files("orapo.reward").joinpath("word_classes.toml").read_text(encoding="utf-8"))
    words: dict[str, Word] = {}
    for form, word in _entries(table):
        if form in words and words[form] != word:
            raise DataError(
                f"word_classes.toml: {form!r} stands in two classes, {words[form]} and {word}; each has one"
            )
        words[form] = word
    for phrase, word_class in table["phrases"].items():
        words[phrase] = Word(CLASS_LETTERS[word_class], phrase)
    for side in ("left", "right"):
        words[side] = Word(SIDE, side)
    longest_first = sorted(table["phrases"], key=len, reverse=True)
    sets = {
        name: frozenset(entry["words"].split())
        for name, entry in table.items()
        if isinstance(entry, dict) and entry.keys() == {"words"}
    }
    return WordClasses(
        words=words,
        token=re.compile(
            rf"(?<![a-z0-9])(?:{'|'.join(map(re.escape, longest_first))})(?![a-z0-9])"
            r"|_+|[^\W_]+(?:[.'’-][^\W_]+)*%?|\S"
        ),
        combinable=frozenset(frozenset(pair) for pair in table["combinable"]["pairs"]),
        misplaced={group: frozenset(nouns.split()) for group, nouns in table["misplaced"].items()},
        sides={side: frozenset(names.split()) for side, names in table["sides"].items()},
        opposites=frozenset(frozenset(pair) for pair in table["opposites"]["pairs"]),
        preposition_pairs={first: frozenset(names.split()) for first, names in table["preposition_pairs"].items()},
        never_before=_never_before(table["order"]),
        successions=_successions(table["next"]),
        equatable=frozenset(table["equatable"]["groups"]),
        **sets,
    )


def _never_before(rules: Sequence[Mapping[str, str]]) -> dict[str, frozenset[str]]:
    never_before: dict[str, frozenset[str]] = {}
    for rule in rules:
        for word in rule["words"].split():
            never_before[word] = never_before.get(word, frozenset()) | frozenset(rule["never_before"].split())
    return never_before


def _successions(rules: Sequence[Mapping[str, str]]) -> dict[str, tuple[Succession, ...]]:
    every = frozenset((*CLASS_LETTERS.values(), *"fomu,;:", END))
    successions: dict[str, tuple[Succession, ...]] = {}
    for rule in rules:
        letters = frozenset(rule["letters"]) if "letters" in rule else every - frozenset(rule["never"])
        succession = Succession(letters, frozenset(rule.get("after", "")), rule["reason"])
        for word in rule["words"].split():
            successions[word] = (*successions.get(word, ()), succession)
    return successions


def _entries(table: Mapping[str, Any]) -> Iterator[tuple[str, Word]]:
    irregular = {singular: plural for plural, singular in table["plurals"].items()}
    for word_class, names in table["words"].items():
        if word_class not in CLASS_LETTERS:
            raise DataError(f"word_classes.toml: class {word_class!r} is none of {', '.join(CLASS_LETTERS)}")
        letter = CLASS_LETTERS[word_class]
        for name in names.split():
            if letter in "avg":
                yield from _noun(name, letter, DEVICE_GROUP if letter == "v" else "", irregular)
            else:
                yield name, Word(letter, name)
    for group, names in table["findings"].items():
        for name in names.split():
            yield from _noun(name, "f", group, irregular)


def _noun(name: str, letter: str, group: str, irregular: Mapping[str, str]) -> Iterator[tuple[str, Word]]:
    yield name, Word(letter, name, group, plural=False)
    regular = _regular_plural(name)
    for plural in {regular, irregular.get(name, regular)}:
        if plural != name:
            yield plural, Word(letter, name, group, plural=True)


def _regular_plural(noun: str) -> str:
    if noun.endswith("is"):
        return noun[:-2] + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    return noun + "s"
