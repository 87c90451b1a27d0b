"""The words of facts: found as before by a slower rule, and in no time on hostile text."""

import contextlib
import math
import random
import re
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orapo.remote.call_errors import InvalidAnswer
from orapo.reward.llm import grounding
from orapo.reward.llm.answers import read_facts
from orapo.reward.llm.grounding import first_foreign_word

LETTERS = st.text("abes", min_size=1, max_size=12)
STEMS = st.sampled_from(
    ["opacit", "enlarg", "consolid", "pneumothora", "effus", "cardiac", "left", "bilater", "12", "base"]
)
ENDINGS = st.sampled_from(["", "y", "ies", "ed", "ment", "ation", "s", "ax", "al", "ification"])
WORD = st.one_of(LETTERS, st.builds(str.__add__, STEMS, ENDINGS))
SENTENCE = st.lists(WORD, min_size=1, max_size=6).map(" ".join)


def stem(word: str) -> str:
    shorter = grounding._ENDING.sub("", word)
    return word if shorter == word else stem(shorter)


def alike(word: str, other: str) -> bool:
    if word.isdigit() or other.isdigit():
        return False
    needed = max(4, math.ceil(0.6 * max(len(word), len(other))))
    return min(len(word), len(other)) >= needed and word[:needed] == other[:needed]


def has(sentences: list[str], word: str) -> bool:
    words = [other for sentence in sentences for other in re.findall(r"[^\W_]+", sentence.lower())]
    stand_ins = {stem(key): {stem(other) for other in others.split()} for key, others in grounding._STANDS_FOR.items()}
    wanted = {stem(word)} | stand_ins.get(stem(word), set())
    return any(stem(other) in wanted or alike(word, other) for other in words)


def slowly(text: str, sentences: list[str], index: int) -> int | None:
    words = [(place, word) for place, word in enumerate(re.findall(r"[^\W_]+", text.lower()), start=1)]
    words = [(place, word) for place, word in words if word not in grounding._SCAFFOLD]
    foreign = next((place for place, word in words if not has(sentences[: index + 1], word)), None)
    if foreign is not None:
        return foreign
    return None if any(has([sentences[index]], word) for _, word in words) else 1


@pytest.mark.slow
@settings(max_examples=500)
@given(SENTENCE, st.lists(SENTENCE, min_size=1, max_size=4), st.data())
def test_words_are_found_as_one_by_one(text: str, sentences: list[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(sentences) - 1))
    assert first_foreign_word(text, sentences, index) == slowly(text, sentences, index)


def test_a_word_without_an_end_has_no_other_form() -> None:
    for length in (61, 900, 20_000):
        assert first_foreign_word("a" * length, ["b " + "a" * length], 0) is None
        assert first_foreign_word("a" * length, ["b " + "a" * (length - 1)], 0) == 1
        assert first_foreign_word("ed" * length, ["b " + "ed" * length], 0) is None


def test_a_word_without_an_end_takes_no_memory() -> None:
    tracemalloc.start()
    first_foreign_word("b", ["a" * 20_000], 0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2_000_000


def test_hostile_reports_and_answers_take_no_time() -> None:
    draw = random.Random(0)
    words = [f"opac{draw.randrange(10**6)}" for _ in range(2_500)]
    report = ". ".join(" ".join(words[first : first + 5]) for first in range(0, len(words), 5)) + "."
    facts = ", ".join(f'{{"sentence": {n % 500}, "text": "{" ".join(words[:5])} opac"}}' for n in range(600))
    for hostile in (report, "a" * 20_000 + ".", "ened" * 5_000 + ".", "(" * 20_000, "[a" * 10_000, "a." * 10_000):
        began = time.process_time()
        with contextlib.suppress(InvalidAnswer):
            read_facts(f'{{"facts": [{facts}]}}', hostile)
        assert time.process_time() - began < 3.0, hostile[:10]
