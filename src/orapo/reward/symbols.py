"""A place in the symbols of a statement, and the ways to look and move ahead of it."""

import re

from orapo.reward.noun_phrases import NounPhrase, chunk
from orapo.reward.tokens import IllFormedError, Token, tokenize
from orapo.reward.word_classes import END, WordClasses
from orapo.reward.word_order import check_neighbours


class Symbols:
    """The class string of one sentence after chunking ("N" a noun phrase), read from left to right.

    Args:
        sentence: without its final stop.
        classes: what is known of words.

    Raises:
        IllFormedError: gibberish, or a noun phrase that isn't one.
    """

    def __init__(self, sentence: str, classes: WordClasses) -> None:
        tokens = tokenize(sentence, classes)
        check_neighbours(tokens, classes)
        self._symbols, self._parts = chunk(tokens, classes)
        self.position = 0

    @property
    def at_end(self) -> bool:
        """Whether all symbols are read."""
        return self.position >= len(self._symbols)

    def ahead(self, pattern: re.Pattern[str]) -> bool:
        """Whether the next symbols match."""
        return pattern.match(self._symbols, self.position) is not None

    def take(self, pattern: re.Pattern[str]) -> tuple[NounPhrase | Token, ...] | None:
        """Moves past a match and gives what it covers; None, without moving, where there is none."""
        match = pattern.match(self._symbols, self.position)
        if match is None:
            return None
        self.position = match.end()
        return self._parts[match.start() : match.end()]

    def just_read(self, texts: frozenset[str]) -> bool:
        """True where the last part read is one of these words."""
        part = self._parts[self.position - 1]
        return isinstance(part, Token) and part.text in texts

    def symbol(self, offset: int = 0) -> str:
        """The symbol at ``offset`` from here; ``END`` after the last."""
        index = self.position + offset
        return self._symbols[index] if index < len(self._symbols) else END

    def refuse(self) -> IllFormedError:
        """The error to raise where nothing that may follow does."""
        if self.at_end:
            return IllFormedError("ends in the middle")
        part = self._parts[self.position]
        words = part.text if isinstance(part, Token) else " ".join(token.text for token in part.tokens)
        return IllFormedError(f"doesn't continue as a statement at {words!r}")

    def phrase_here(self) -> NounPhrase:
        """The noun phrase that comes next.

        Raises:
            IllFormedError: something else does.
        """
        part = self._parts[self.position] if self.symbol() == "N" else None
        if not isinstance(part, NounPhrase):
            raise self.refuse()
        return part

    def start_of(self, index: int) -> int:
        """The offset in the sentence of a part's first character."""
        part = self._parts[index]
        return part.start if isinstance(part, Token) else part.tokens[0].start

    def end_of(self, index: int) -> int:
        """One past the last character of a part in the sentence."""
        part = self._parts[index]
        return part.end if isinstance(part, Token) else part.tokens[-1].end
