"""The lexicon's forms as trees: which words a match of a form can begin with.

Understands what the lexicon files use: literals, classes, non-capturing groups, look-arounds (taken as empty) and
repetitions.
"""

import re
from functools import cache
from string import ascii_lowercase, digits
from typing import NamedTuple

from orapo.errors import SettingError

WORD_CHARACTERS = frozenset(ascii_lowercase + digits)
_MARKS = " -/.,?:;'"
_CLASSES = {"w": WORD_CHARACTERS, "d": frozenset(digits), "s": frozenset(" ")}
_ZERO_WIDTH = ("(?=", "(?!", "(?<=", "(?<!")
_CAPTURING = re.compile(r"(?<!\\)\((?!\?)")
_REPEAT = re.compile(r"[?*+]|\{\d*(?:,\d*)?\}")


class Atom(NamedTuple):
    """A literal, a set of characters or a set of alternatives, matched ``least`` to ``most`` times."""

    literal: str
    characters: frozenset[str]
    alternatives: "Alternatives"
    least: int
    most: int


Alternatives = tuple[tuple[Atom, ...], ...]
"""The sequences of "a|b|c"."""
_UNBOUNDED = 99


def parse_form(form: str) -> Alternatives:
    """The alternatives of a form.

    Raises:
        SettingError: a bracket is missing, or there is a capturing group.
    """
    if _CAPTURING.search(form):
        raise SettingError(f"lexicon form {form!r} has a capturing group; use (?:...)")
    alternatives, end = _alternatives(form, 0)
    if end != len(form):
        raise SettingError(f"lexicon form {form!r}: unbalanced bracket at character {end}")
    return alternatives


def first_characters(alternatives: Alternatives) -> frozenset[str]:
    """The characters that a match can begin with; "" among them where a match can be empty."""
    found: set[str] = set()
    for sequence in alternatives:
        for atom in sequence:
            firsts = frozenset(atom.literal[:1]) or atom.characters or first_characters(atom.alternatives)
            found |= firsts - {""}
            if atom.least and "" not in firsts:
                break
        else:
            found.add("")
    return frozenset(found)


def can_begin_with(alternatives: Alternatives, letters: str, *, is_whole_word: bool) -> bool:
    """Whether a match can begin with ``letters`` or end inside them where a word does.

    Args:
        alternatives: of a form.
        letters: the beginning of a text.
        is_whole_word: the last of them isn't followed by another word character.
    """
    behind = len(letters) + 1

    def ends(alternatives: Alternatives, starts: set[int]) -> set[int]:
        found: set[int] = set()
        for sequence in alternatives:
            reached = starts
            for atom in sequence:
                reached = after(atom, reached)
                if not reached:
                    break
            found |= reached
        return found

    def after(atom: Atom, starts: set[int]) -> set[int]:
        reached = set() if atom.least else set(starts)
        current = starts
        for times in range(1, atom.most + 1):
            current = once(atom, current)
            if not current or (times > atom.least and current <= reached):
                break
            if times >= atom.least:
                reached |= current
        return reached

    def once(atom: Atom, starts: set[int]) -> set[int]:
        if atom.literal:
            return {end for at in starts if (end := behind_literal(atom.literal, at))}
        if not atom.characters:
            return ends(atom.alternatives, starts)
        goes_on = not is_whole_word or not atom.characters <= WORD_CHARACTERS
        return {
            min(at + 1, behind)
            for at in starts
            if at == behind or (goes_on if at == len(letters) else letters[at] in atom.characters)
        }

    def behind_literal(literal: str, at: int) -> int:
        if at == behind or letters.startswith(literal, at):
            return min(at + len(literal), behind)
        left = len(letters) - at
        if left < len(literal) and literal.startswith(letters[at:]):
            return 0 if is_whole_word and literal[left] in WORD_CHARACTERS else behind
        return 0

    return any(
        end >= len(letters) or (end > 0 and letters[end] not in WORD_CHARACTERS) for end in ends(alternatives, {0})
    )


def _alternatives(form: str, at: int) -> tuple[Alternatives, int]:
    """The tree of "a|b|c" from ``at`` to the closing bracket or the end, and where that is."""
    found: list[tuple[Atom, ...]] = []
    sequence: list[Atom] = []
    while at < len(form) and form[at] != ")":
        if form[at] == "|":
            found.append(tuple(sequence))
            sequence, at = [], at + 1
            continue
        atom, at = _atom(form, at)
        if repeat := _REPEAT.match(form, at):
            at = repeat.end() + (form[repeat.end() : repeat.end() + 1] in ("?", "+"))
            if atom is not None:
                least, most = _times(repeat.group())
                atom = atom._replace(least=least, most=most)
        if atom is not None:
            _append(sequence, atom)
    return (*found, tuple(sequence)), at


def _append(sequence: list[Atom], atom: Atom) -> None:
    """Adds an atom; literals in a row become one, which is what makes ``can_begin_with`` fast."""
    if sequence and atom.literal and sequence[-1].literal and atom[-2:] == sequence[-1][-2:] == (1, 1):
        sequence[-1] = sequence[-1]._replace(literal=sequence[-1].literal + atom.literal)
    else:
        sequence.append(atom)


def _times(repeat: str) -> tuple[int, int]:
    if repeat[0] != "{":
        return int(repeat == "+"), 1 if repeat == "?" else _UNBOUNDED
    least, _, most = repeat[1:-1].partition(",")
    return int(least or 0), int(most or (_UNBOUNDED if "," in repeat else least))


def _atom(form: str, at: int) -> tuple[Atom | None, int]:
    """One character, class or group (None where it's of no width), and where it ends."""
    if form[at] == "(":
        inner = at + (4 if form.startswith(("(?<=", "(?<!"), at) else 3)
        alternatives, closing = _alternatives(form, inner)
        is_empty = form.startswith(_ZERO_WIDTH, at)
        return (None if is_empty else Atom("", frozenset(), alternatives, 1, 1)), closing + 1
    if form[at] == "[":
        closing = form.index("]", at + 2)
        return Atom("", _characters_of_class(form[at : closing + 1]), (), 1, 1), closing + 1
    if form[at] == "\\":
        return _escaped(form[at + 1]), at + 2
    if form[at] in digits:
        raise SettingError(
            f"lexicon form {form!r} names the digit {form[at]}; the labeler tells no digits apart, use \\d"
        )
    if form[at] == ".":
        return Atom("", frozenset((*WORD_CHARACTERS, *_MARKS)), (), 1, 1), at + 1
    return (None if form[at] in "^$" else Atom(form[at], frozenset(), (), 1, 1)), at + 1


def _escaped(name: str) -> Atom | None:
    if name == "b":
        return None
    return Atom("", _CLASSES[name], (), 1, 1) if name in _CLASSES else Atom(name, frozenset(), (), 1, 1)


@cache
def _characters_of_class(character_class: str) -> frozenset[str]:
    matches = re.compile(character_class).match
    return frozenset(character for character in (*WORD_CHARACTERS, *_MARKS) if matches(character))
