"""One pass over a sentence for many phrase families.

A single alternation of a thousand forms would try most of them at every word. The scanner therefore knows with which
three characters each form can start, looks for such word starts with one small pattern, and tries only those forms
there.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import product
from string import ascii_lowercase, digits

from orapo.errors import SettingError

_PREFIX_LENGTH = 3
_WORD_CHARACTERS = frozenset(ascii_lowercase + digits)
_MARKS = " -/.,?:;'"
_CLASSES = {"w": _WORD_CHARACTERS, "d": frozenset(digits), "s": frozenset(" "), "b": frozenset(("",))}
_ZERO_WIDTH = ("(?=", "(?!", "(?<=", "(?<!")
_GROUP = re.compile(r"(?<!\\)\((?!\?)")
_REPEAT = re.compile(r"[?*+]|\{\d*,?\d*\}")


def possible_prefixes(form: str) -> frozenset[str]:
    """The first three characters that a match of ``form`` can have (fewer where a match can be shorter).

    Understands what the lexicon files use: literals, classes, non-capturing groups, look-arounds (taken as empty) and
    repetitions.
    """
    prefixes, end = _alternatives(form, 0)
    if end != len(form):
        raise SettingError(f"lexicon form {form!r}: unbalanced bracket at character {end}")
    return prefixes


def _joined(heads: frozenset[str], tails: frozenset[str]) -> frozenset[str]:
    """Every head followed by every tail, cut; heads that are long enough already stay as they are."""
    heads = frozenset(heads)
    short = [head for head in heads if len(head) < _PREFIX_LENGTH]
    if not short:
        return heads
    return (heads - set(short)) | {(head + tail)[:_PREFIX_LENGTH] for head, tail in product(short, tails)}


def _alternatives(form: str, at: int) -> tuple[frozenset[str], int]:
    """Prefixes of "a|b|c" from ``at`` to the closing bracket or the end, and where that is."""
    found: frozenset[str] = frozenset()
    sequence = frozenset(("",))
    while at < len(form) and form[at] != ")":
        if form[at] == "|":
            found, sequence, at = found | sequence, frozenset(("",)), at + 1
            continue
        atom, at = _atom(form, at)
        if repeat := _REPEAT.match(form, at):
            at = repeat.end() + (form[repeat.end() : repeat.end() + 1] == "?")
            if repeat.group() in "*+" or repeat.group()[0] == "{":
                atom |= _joined(atom, atom)
            if repeat.group() in "?*" or repeat.group().startswith(("{0", "{,")):
                atom |= {""}
        sequence = _joined(sequence, atom)
    return found | sequence, at


def _atom(form: str, at: int) -> tuple[frozenset[str], int]:
    """Prefixes of one character, class or group, and where it ends."""
    if form[at] == "(":
        is_empty = form.startswith(_ZERO_WIDTH, at)
        inner = at + (4 if form.startswith(("(?<=", "(?<!"), at) else 3)
        prefixes, closing = _alternatives(form, inner)
        return (frozenset(("",)) if is_empty else prefixes), closing + 1
    if form[at] == "[":
        closing = form.index("]", at + 2)
        return _characters_of_class(form[at : closing + 1]), closing + 1
    if form[at] == "\\":
        return _CLASSES.get(form[at + 1], frozenset((form[at + 1],))), at + 2
    return frozenset(("",)) if form[at] in "^$" else frozenset((form[at],)), at + 1


@cache
def _characters_of_class(character_class: str) -> frozenset[str]:
    matches = re.compile(character_class).match
    return frozenset(character for character in (*_WORD_CHARACTERS, *_MARKS) if matches(character))


class Scanner:
    """Finds phrase families in a sentence, leftmost first, without overlaps; the earlier family wins at one place."""

    def __init__(self, families: Sequence[tuple[str, ...]]) -> None:
        """Compiles the families.

        Args:
            families: the forms of each; a form is matched from word boundary to word boundary.

        Raises:
            SettingError: a form has a capturing group, or could match nothing.
        """
        self._forms_of_prefix: dict[str, dict[int, list[str]]] = {}
        for index, forms in enumerate(families):
            for form in forms:
                prefixes = possible_prefixes(form)
                if _GROUP.search(form) or "" in prefixes:
                    raise SettingError(f"lexicon form {form!r} has a capturing group or can match nothing; use (?:...)")
                for prefix in prefixes:
                    self._forms_of_prefix.setdefault(prefix, {}).setdefault(index, []).append(form)
        self._starts = _compile_starts(self._forms_of_prefix)
        self._compiled: dict[str, tuple[re.Pattern[str], tuple[int, ...]]] = {}

    def scan(self, sentence: str) -> Iterator[tuple[int, int, int]]:
        """Start, end and family index of every match in a cleaned sentence."""
        compiled = self._compiled
        reached = 0
        for candidate in self._starts.finditer(sentence):
            start = candidate.start()
            if start < reached:
                continue
            prefix = sentence[start : start + _PREFIX_LENGTH]
            pattern, families = compiled.get(prefix) or self._compile(prefix)
            found = pattern.match(sentence, start)
            if found is not None:
                reached = found.end()
                yield start, reached, families[(found.lastindex or 1) - 1]

    def _compile(self, prefix: str) -> tuple[re.Pattern[str], tuple[int, ...]]:
        """The forms that can start with ``prefix``, compiled when a report first has a word that does."""
        chosen: dict[int, list[str]] = {}
        for known in {prefix[:length] for length in range(1, _PREFIX_LENGTH + 1)} & self._forms_of_prefix.keys():
            for index, forms in self._forms_of_prefix[known].items():
                chosen.setdefault(index, []).extend(forms)
        families = tuple(sorted(chosen))
        groups = "|".join(f"({'|'.join(chosen[index])})" for index in families)
        self._compiled[prefix] = re.compile(rf"(?:{groups})(?![a-z0-9])"), families
        return self._compiled[prefix]


def _compile_starts(prefixes: Iterable[str]) -> re.Pattern[str]:
    """A pattern that matches one character: the first of a word with one of the prefixes."""
    endings: dict[str, set[str]] = {}
    for prefix in prefixes:
        endings.setdefault(prefix[0], set()).add(prefix[1:])
    branches = []
    for first, rest in sorted(endings.items()):
        ahead = "" if "" in rest else f"(?={'|'.join(re.escape(ending) for ending in sorted(rest))})"
        branches.append(re.escape(first) + ahead)
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(branches)})")
