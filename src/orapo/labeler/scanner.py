"""One pass over a sentence for many phrase families.

A single alternation of a thousand forms would try most of them at every word. The scanner therefore learns of each word
it meets which forms can begin with it: for most words none, so that a sentence costs little more than the look-up of
its words.
"""

import re
from collections.abc import Callable, Sequence

from orapo.errors import SettingError
from orapo.labeler.form_syntax import WORD_CHARACTERS, can_begin_with, first_characters, parse_form

_PREFIX_LENGTH = 3
_LETTERS_AHEAD = 2
_MOST_REMEMBERED = 100_000
_LONGEST_LEARNED = 60
"""Characters without a blank; a longer stretch is hardly met again, and has hundreds of words to learn from."""
_DIGITS_MASKED = str.maketrans("123456789", "000000000")
_FOR_FIRST, _FOR_SECOND = 1, 2

Place = tuple[int, int]
"""Where a stretch without blanks starts in a sentence, and where the next one does."""

Match = Callable[[str, int], re.Match[str] | None]
_Start = tuple[int, Match, tuple[int, ...]]
"""Offset in a token, the pattern of the forms that can begin there, and the family of each of its groups."""


class Scanner:
    """Finds phrase families in a sentence, leftmost first, without overlaps; the earlier family wins at one place."""

    def __init__(self, families: Sequence[tuple[str, ...]]) -> None:
        """Reads the families.

        Args:
            families: the forms of each; a form is matched from word boundary to word boundary.

        Raises:
            SettingError: a form has a capturing group, could match nothing, or begins with a blank.
        """
        self._forms = [(index, form) for index, forms in enumerate(families) for form in forms]
        self._trees = [parse_form(form) for _, form in self._forms]
        self._numbers_of_prefix: dict[str, list[int]] = {}
        for number, tree in enumerate(self._trees):
            firsts = first_characters(tree)
            if not firsts.isdisjoint(("", " ")):
                raise SettingError(f"lexicon form {self._forms[number][1]!r} can match nothing or begin with a blank")
            for first in firsts:
                self._numbers_of_prefix.setdefault(first, []).append(number)
        self._numbers_of_letters: dict[str, tuple[int, ...]] = {}
        self._starts_of_token: dict[str, tuple[tuple[int, tuple[int, ...]], ...]] = {}
        self._starts_before: dict[str, tuple[_Start, ...]] = {}
        self._compiled: dict[tuple[int, ...], tuple[Match, tuple[int, ...]]] = {}

    def scan(self, sentence: str, places: Sequence[Place] | None = None) -> list[tuple[int, int, int]]:
        """Finds the families.

        Args:
            sentence: cleaned.
            places: where matches can begin, from ``Places``; without, everywhere.

        Returns:
            Start, end and family index of every match.
        """
        found = []
        starts_before = self._starts_before
        reached = 0
        for position, behind in places if places is not None else every_place(sentence):
            # what follows decides more often than not ("the heart", "the lungs"), and two letters tell
            ahead = sentence[position : behind + _LETTERS_AHEAD]
            starts = starts_before.get(ahead)
            if starts is None:
                starts = self._learn_ahead(sentence[position : behind - 1], ahead)
            for offset, match, families in starts:
                start = position + offset
                if start >= reached and (matched := match(sentence, start)) is not None:
                    reached = matched.end()
                    found.append((start, reached, families[(matched.lastindex or 1) - 1]))
        return found

    def starts(self, token: str) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Where in a stretch without blanks a match can begin, a word or a mark, and the forms that can."""
        if (known := self._starts_of_token.get(token)) is not None:
            return known
        if len(self._starts_of_token) >= _MOST_REMEMBERED:
            self._starts_of_token.clear()
        starts = []
        for at, character in enumerate(token):
            if at and token[at - 1] in WORD_CHARACTERS:
                continue
            end = at
            while end < len(token) and token[end] in WORD_CHARACTERS:
                end += 1
            letters = token[at:end] or character
            numbers = self._numbers_of_letters.get(letters)
            if numbers is None:
                if len(self._numbers_of_letters) >= _MOST_REMEMBERED:
                    self._numbers_of_letters.clear()
                numbers = self._beginning_with(letters, is_whole_word=end > at)
                self._numbers_of_letters[letters] = numbers
            if numbers:
                starts.append((at, numbers))
        return self._starts_of_token.setdefault(token, tuple(starts))

    def _learn_ahead(self, token: str, ahead: str) -> tuple[_Start, ...]:
        """The starts of a token that its next letters leave."""
        if len(self._starts_before) >= _MOST_REMEMBERED:
            self._starts_before.clear()
        starts = []
        is_learned = len(token) <= _LONGEST_LEARNED
        for at, numbers in self.starts(token):
            left = tuple(
                number
                for number in numbers
                if not is_learned or can_begin_with(self._trees[number], ahead[at:], is_whole_word=False)
            )
            if left:
                starts.append((at, *self._compile(left)))
        return self._starts_before.setdefault(ahead, tuple(starts))

    def _beginning_with(self, letters: str, *, is_whole_word: bool) -> tuple[int, ...]:
        """The forms that can begin with a word or mark; prefixes narrow them down, because words share those."""
        numbers = self._numbers_of_prefix.get(letters[0], [])
        for length in range(2, min(len(letters), _PREFIX_LENGTH) + 1):
            prefix = letters[:length]
            if prefix not in self._numbers_of_prefix:
                self._numbers_of_prefix[prefix] = [
                    number for number in numbers if can_begin_with(self._trees[number], prefix, is_whole_word=False)
                ]
            numbers = self._numbers_of_prefix[prefix]
        if not is_whole_word:
            return tuple(numbers)
        return tuple(number for number in numbers if can_begin_with(self._trees[number], letters, is_whole_word=True))

    def _compile(self, numbers: tuple[int, ...]) -> tuple[Match, tuple[int, ...]]:
        if numbers not in self._compiled:
            chosen: dict[int, list[str]] = {}
            for index, form in (self._forms[number] for number in numbers):
                chosen.setdefault(index, []).append(form)
            groups = "|".join(f"({'|'.join(forms)})" for forms in chosen.values())
            self._compiled[numbers] = re.compile(rf"(?:{groups})(?![a-z0-9])").match, tuple(chosen)
        return self._compiled[numbers]


def mask_digits(sentence: str) -> str:
    """The sentence with a 0 for each digit, so that numbers are no words to learn; no form tells digits apart."""
    return sentence.translate(_DIGITS_MASKED)


class Places:
    """Where in a sentence matches of two scanners can begin; one look-up per word serves both."""

    def __init__(self, first: Scanner, second: Scanner) -> None:
        self._first, self._second = first, second
        self._matters: dict[str, int] = {}

    def of(self, sentence: str) -> tuple[list[Place], list[Place]]:
        """The places of a cleaned sentence for each of the scanners, in reading order."""
        first: list[Place] = []
        second: list[Place] = []
        matters_of = self._matters.get
        position = 0
        for token in sentence.split(" "):
            behind = position + len(token) + 1
            matters = matters_of(token)
            if matters is None:
                matters = self._learn(token)
            if matters:
                if matters != _FOR_SECOND:
                    first.append((position, behind))
                if matters != _FOR_FIRST:
                    second.append((position, behind))
            position = behind
        return first, second

    def _learn(self, token: str) -> int:
        if len(self._matters) >= _MOST_REMEMBERED:
            self._matters.clear()
        matters = _FOR_FIRST * bool(self._first.starts(token)) + _FOR_SECOND * bool(self._second.starts(token))
        return self._matters.setdefault(token, matters)


def every_place(sentence: str) -> list[Place]:
    """Each stretch without blanks."""
    return [(found.start(), found.end() + 1) for found in re.finditer("[^ ]+", sentence)]
