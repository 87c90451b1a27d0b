"""The words and marks of one sentence, each with its class."""

import re
from typing import NamedTuple

from orapo.reward.word_classes import GARBAGE, Word, WordClasses

_MARKS = {",": ",", ";": ";", ":": ":", "/": "c", "&": "c", "-": ";", "–": ";", "—": ";", "~": "l", "?": "l"}
_FUNCTION = frozenset("dntxercskbhi,;:")

MAX_UNKNOWN_FRACTION = 1 / 3
"""Share of a statement's content words that may be unknown."""
MAX_TOKENS = 60
"""Longest statement; beyond it a sentence runs on."""


class IllFormedError(Exception):
    """A statement is ungrammatical; the message is the reason."""


class Token(NamedTuple):
    """One word or mark: what is known of it and its place in the sentence."""

    text: str
    word: Word
    start: int
    end: int


def tokenize(sentence: str, classes: WordClasses) -> tuple[Token, ...]:
    """Words and marks of one sentence without its final stop.

    Raises:
        IllFormedError: gibberish, too long, or too many unknown words.
    """
    tokens = tuple(_token(match, classes) for match in classes.token.finditer(sentence.lower()))
    if not tokens:
        raise IllFormedError("no words")
    if len(tokens) > MAX_TOKENS:
        raise IllFormedError(f"runs on: {len(tokens)} words and marks, at most {MAX_TOKENS}")
    for token in tokens:
        if token.word.letter == GARBAGE:
            raise IllFormedError(f"gibberish: {token.text!r}")
    content = [token for token in tokens if token.word.letter not in _FUNCTION]
    unknown = [token.text for token in content if not token.word.known]
    if len(unknown) > MAX_UNKNOWN_FRACTION * len(content):
        raise IllFormedError(f"unknown words: {', '.join(unknown)}")
    return tokens


def _token(match: re.Match[str], classes: WordClasses) -> Token:
    text = match.group()
    if len(text) == 1 and not text.isalnum() and text != "_":
        word = Word(_MARKS.get(text, GARBAGE), text)
    else:
        word = classes.lookup(text)
    return Token(text, word, match.start(), match.end())
