"""Regular expressions of the project on 100,000 characters of its worst input: time must grow with length alone.

The patterns are found by importing every module; the worst inputs are made from each pattern's own parts: what a repeat
takes, thousands of times, with and without what stands before it, and without what should follow.
"""

import ast
import importlib
import pkgutil
import random
import re
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from re import _constants as code  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

import pytest

import orapo
from orapo.data.report_sections import parse_sections
from orapo.labeler import Labeler, sentences
from orapo.labeler.attribute_scope import read_sentence
from orapo.labeler.lexicon import load_lexicon
from orapo.labeler.quirks import Quirks
from orapo.reward import tokens
from orapo.reward.entailment import OfflineJudge
from orapo.reward.word_classes import load_word_classes

pytestmark = pytest.mark.slow

ROOT = Path(orapo.__file__).parent
SIZES = (30, 300, 1_000, 10_000, 100_000)
SECONDS_A_CHARACTER = 2e-5
"""Of processor time; a step of the matcher takes some 1e-8, and a pattern may take many for a character."""
LEAST_SECONDS = 0.15
MOST_INPUTS = 12
SENTENCE = 2 * sentences._LONGEST_SENTENCE + 3  # with the one before it, which it may continue
STATEMENT = tokens.MAX_TOKENS + 1  # a letter for each word or mark, and the end
LONGEST = {
    "orapo.labeler.sentences": SIZES[-1],
    "orapo.labeler.spelling": SIZES[-1],
    "orapo.labeler.tables": SIZES[-1],
    "orapo.labeler": SENTENCE,
    "orapo.reward.grammar": STATEMENT,
    "orapo.reward.noun_phrases": STATEMENT,
    "orapo.remote.call_errors": 2_000,  # what is read of a service's message
}
"""Characters that the functions of a module look at, at once, where they look at fewer; the first that fits counts."""


class Place(NamedTuple):
    """Where a pattern stands.

    Attributes:
        module: that has it.
        name: its name there, "" where it has none.
        is_anchored: it is only asked for a match at one place of a text.
    """

    module: str
    name: str
    is_anchored: bool

    @property
    def longest(self) -> int:
        """Characters that it is shown at once."""
        fitting = (size for name, size in LONGEST.items() if f"{self.module}.".startswith(f"{name}."))
        return next(fitting, SIZES[-1])


@cache
def patterns() -> dict[re.Pattern[str], Place]:
    """Those that modules name, also in tables and tuples; those that stand where they are used; those of the lexica."""
    found: dict[re.Pattern[str], Place] = {}
    modules = [each.name for each in pkgutil.walk_packages([str(ROOT)], "orapo.")]
    loaded = {name: importlib.import_module(name) for name in modules if not name.endswith("__main__")}
    trees = {name: ast.parse(Path(str(module.__file__)).read_text()) for name, module in loaded.items()}
    uses = {name: list(_uses(tree)) for name, tree in trees.items()}
    for module in loaded:
        for name, value in vars(loaded[module]).items():
            where = [module] if name.startswith("_") else uses
            used = {use for each in where for what, use in uses[each] if what == name} - {"pattern"}
            for pattern in _in(value):
                found.setdefault(pattern, Place(module, name, bool(used) and used <= {"match", "fullmatch"}))
        for use, pattern in _inline(trees[module]):
            found.setdefault(pattern, Place(module, f"re.{use}", use in ("match", "fullmatch")))
    found[load_word_classes().token] = Place("orapo.reward.word_classes", "token", is_anchored=False)
    for quirk in ("none", "original"):
        lexicon = load_lexicon(Quirks.named(quirk).vocabulary)
        for family in (*lexicon.phrases, *lexicon.cues):
            for form in family.forms:
                if re.search(r"[*+]|,\}", form):  # the others take a few characters each
                    found[re.compile(form)] = Place("orapo.labeler.lexicon", family.name, is_anchored=True)
    return found


def _in(value: Any) -> Iterator[re.Pattern[str]]:
    if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
        yield value
    elif isinstance(value, dict | list | tuple | frozenset):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _in(each)


def _uses(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What is done with each name: the method that is called, "" for anything else, as where it is handed on."""
    methods: dict[int, str] = {}
    for each in ast.walk(tree):
        match each:
            case ast.Attribute(ast.IfExp(_, first, second), method):
                methods |= {id(first): method, id(second): method}
            case ast.Attribute(value, method):
                methods[id(value)] = method
    for each in ast.walk(tree):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load):
            yield each.id, methods.get(id(each), "")


def _inline(tree: ast.AST) -> Iterator[tuple[str, re.Pattern[str]]]:
    """The calls of ``re.search("...", text)`` and the like."""
    for each in ast.walk(tree):
        match each:
            case ast.Call(ast.Attribute(ast.Name("re"), use), [ast.Constant(str() as pattern), *_]) if use != "compile":
                yield use, re.compile(pattern)


def samples(parts: Any) -> list[str]:
    """Texts that a piece of a pattern takes; a few, not all."""
    texts = [""]
    for kind, value in parts:
        texts = [before + after for before in texts[:4] for after in _taken(kind, value)[:4]]
    return texts


def _taken(kind: Any, value: Any) -> list[str]:
    if kind is code.LITERAL:
        return [chr(value)]
    if kind is code.NOT_LITERAL:
        return ["a" if value != ord("a") else "b"]
    if kind is code.ANY:
        return ["a", " "]
    if kind is code.IN:
        return _of_class(value)
    if kind is code.BRANCH:
        return [text for branch in value[1] for text in samples(branch)[:2]] or [""]
    if kind is code.SUBPATTERN:
        return samples(value[3])
    if kind is code.ATOMIC_GROUP:
        return samples(value)
    if kind in (code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT):
        least = max(1, int(value[0]))
        return [text * min(least, 50) for text in samples(value[2])]
    return [""]


def _of_class(parts: Any) -> list[str]:
    found = []
    for kind, value in parts:
        if kind is code.LITERAL:
            found.append(chr(value))
        elif kind is code.RANGE:
            found.append(chr(value[0]))
        elif kind is code.CATEGORY:
            found.append({code.CATEGORY_DIGIT: "0", code.CATEGORY_SPACE: " ", code.CATEGORY_WORD: "a"}.get(value, "-"))
    if any(kind is code.NEGATE for kind, _ in parts):
        return [letter for letter in "a 0\n.-" if letter not in found] or ["~"]
    return found


def repeats(parts: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """What stands before each repeat without an end, and what the repeat takes."""
    for kind, value in parts:
        if kind in (code.MAX_REPEAT, code.MIN_REPEAT) and value[1] > 50:
            yield from ((before, text) for text in samples(value[2])[:4] if text)
        for inner in _inside(kind, value):
            yield from repeats(inner, before)
        before += next(iter(_taken(kind, value)), "")


def _inside(kind: Any, value: Any) -> list[Any]:
    if kind is code.SUBPATTERN:
        return [value[3]]
    if kind is code.BRANCH:
        return list(value[1])
    if kind in (code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT):
        return [value[2]]
    if kind in (code.ASSERT, code.ASSERT_NOT):
        return [value[1]]
    return [value] if kind is code.ATOMIC_GROUP else []


def worst_inputs(pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Pairs of beginning and unit, which is to be repeated."""
    parts = parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)
    found = dict.fromkeys([("", "a"), ("", " "), ("", "0"), ("", "\n"), ("", "a "), ("", "no,")])
    for before, unit in repeats(parts):
        found |= dict.fromkeys([("", unit), (before, unit), ("", f"{before}{unit}"), ("", f"{unit}{before}")])
    return iter([pair for pair in found if pair[1]][:MOST_INPUTS])


def slowest(pattern: re.Pattern[str], place: Place) -> tuple[float, str]:
    """How many times longer than allowed the worst of its inputs took, and that input.

    All inputs are tried at small sizes, where what is not linear shows in a moment; the worst two at the longest.
    """
    found: list[tuple[float, str]] = []
    inputs = list(worst_inputs(pattern))
    for size in SIZES:
        timed = []
        for before, unit in inputs:
            piece = min(size, place.longest)
            text = before + unit * (piece // len(unit)) + "\x00"
            taken = sum(seconds(pattern, text, anchored=place.is_anchored) for _ in range(size // piece))
            share = taken / (LEAST_SECONDS + SECONDS_A_CHARACTER * size)
            timed.append((share, before, unit))
            found.append((share, f"{before[:20]!r} + {size} characters of {unit[:20]!r}, {piece} at once"))
            if share > 1:
                return found[-1]  # the next size could take hours
        if size > place.longest:
            break  # more of the same pieces takes as much longer
        if max(timed)[0] * (LEAST_SECONDS + SECONDS_A_CHARACTER * size) * (SIZES[-1] / size) ** 3 < LEAST_SECONDS:
            break  # were its time cubic, it would still be short
        if size >= 10_000:
            inputs = [(before, unit) for _, before, unit in sorted(timed, reverse=True)[:2]]
    return max(found)


def seconds(pattern: re.Pattern[str], text: str, *, anchored: bool) -> float:
    """Of processor time that the pattern takes for a text."""
    began = time.process_time()
    if anchored:
        pattern.match(text)
        pattern.fullmatch(text)
    else:
        for _ in pattern.finditer(text):
            pass
    return time.process_time() - began


def test_every_pattern_is_linear() -> None:
    assert len(patterns()) > 300
    slow = {}
    for pattern, place in patterns().items():
        share, text = slowest(pattern, place)
        if share > 1:
            slow[f"{place.module}:{place.name} {pattern.pattern[:40]}"] = f"{share:.1f} times too slow on {text}"
    assert not slow, "\n".join(f"{name}: {told}" for name, told in slow.items())


REPORT_SECONDS = 6.0
"""Of processor time for 100,000 characters of a report; the worst below takes 2 on a slow core."""
WORDS = [
    "effusion",
    "no",
    "left",
    "(",
    "a",
    "without",
    ",",
    "and",
    "or",
    "the",
    "is",
    "are",
    "small",
    "tip",
    "catheter",
    "of",
    "in",
    "not",
    "edema",
    "versus",
    ";",
    ":",
    "?",
    ".",
    "-",
    "/",
    "was",
    "previously",
    "heart",
    "enlarged",
    "resolved",
    "there",
    "cannot exclude",
    "pneumothorax",
    "possible",
    "[",
    "]",
    "{",
    "}",
    "~",
    "'",
    "*",
    "#",
    "1",
    "2.5 cm",
    "both",
    "right",
    "one",
    "which",
    "FINDINGS:",
    "IMPRESSION:",
    "**Findings:**",
    "<",
    ">",
    "____",
    "xx",
    "[**",
    "\n",
    "\t",
    "the ones",
    "were",
    "yesterday",
]


def hostile_reports() -> Iterator[str]:
    """Of 100,000 characters: words between every mark; and sentences of what each pattern of the labeler repeats."""
    drawn = random.Random(1)
    for between in ("", "(", " ", "-", "/", ":", "\n", ", "):
        yield between.join(drawn.choice(WORDS) for _ in range(40_000))[: SIZES[-1]]
    yield (
        f"{'~' * 700}9, right effusion and edema, small right {'a' * 300} effusion, {'~' * 300} and {'a' * 90} edema. "
        * 60
    )
    units = [
        unit
        for pattern, place in patterns().items()
        if place.module.startswith("orapo.labeler")
        for _, unit in worst_inputs(pattern)
        if "." not in unit
    ]
    for _ in range(3):  # what stands once in a report is what takes time: sentences are remembered
        report = ""
        while len(report) < SIZES[-1]:
            unit = drawn.choice(units)
            report += f"Left effusion {unit * (drawn.randint(1, 1_300) // len(unit))} no edema {unit * 3} effusion. "
        yield report[: SIZES[-1]]


def test_a_hostile_report_takes_no_longer_than_its_length() -> None:
    readers: tuple[Callable[[str], object], ...] = (
        Labeler().label,
        Labeler("original").label,
        lambda report: OfflineJudge().judge([report]),
        lambda report: [read_sentence(each.text) for each in sentences.split_sentences(report)],
        parse_sections,
    )
    for report in hostile_reports():
        for place, read in enumerate(readers):
            began = time.process_time()
            read(report)
            assert time.process_time() - began < REPORT_SECONDS, (place, report[:200])


def test_the_test_finds_what_is_not() -> None:
    assert slowest(re.compile(r"[^,]+,.*x"), Place("", "", is_anchored=False))[0] > 1
