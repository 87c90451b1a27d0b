"""Slips of the pen: a long word with one wrong letter is read as the word, where it is no other word."""

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from string import ascii_lowercase

from orapo.labeler.aligned import AlignedText

_LETTERS = re.compile(r"\b[a-z]{5,}\b")


def correct(cleaned: AlignedText) -> AlignedText:
    """A cleaned text with every slip of ``lexicon/spelling.toml`` put right."""
    meant = _meant()
    if meant.keys().isdisjoint(_LETTERS.findall(cleaned.text)):
        return cleaned
    return cleaned.replace(_LETTERS, lambda found: meant.get(found.group(), found.group()))


@cache
def _meant() -> dict[str, str]:
    """Each wrong spelling and the word that it stands for; none that is near two words or a word itself."""
    entries = tomllib.loads(files("orapo.labeler").joinpath("lexicon", "spelling.toml").read_text(encoding="utf-8"))
    meant: dict[str, str] = {}
    doubtful = {*entries["words"], *entries["short_words"], *entries["never"]}
    for word in entries["words"]:
        for slip in (*_swapped(word), *_changed(word)):
            if meant.setdefault(slip, word) != word:
                doubtful.add(slip)
    for word in entries["short_words"]:
        for slip in (*_swapped(word), *_doubled(word)):
            meant.setdefault(slip, word)
    return {slip: word for slip, word in meant.items() if slip not in doubtful}


def _swapped(word: str) -> Iterator[str]:
    """Each word with two neighbouring letters exchanged."""
    for at in range(len(word) - 1):
        yield word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _doubled(word: str) -> Iterator[str]:
    """Each word with one letter doubled."""
    for at in range(1, len(word)):
        yield word[:at] + word[at] + word[at:]


def _changed(word: str) -> Iterator[str]:
    """The word with a letter left out, put in or replaced; its first letter stays."""
    for at in range(1, len(word) + 1):
        yield word[:at] + word[at + 1 :]
        for letter in ascii_lowercase:
            yield word[:at] + letter + word[at:]
            if at < len(word):
                yield word[:at] + letter + word[at + 1 :]
