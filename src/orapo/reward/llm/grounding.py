"""Whether a fact that a language model wrote comes from the report: a check by words, not by meaning.

The numbered sentences are the labeler's, so ``Fact.sentence_index`` means the same from every judge.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from orapo.labeler.sentences import split_sentences

_WORD = re.compile(r"[^\W_]+")
_ENDING = re.compile(
    r"(?<=\w{3})(?:ification|ified|ific|ening|ened|ation|ated|ative|ilar|asis|atic|ities|ity|ical|ement"
    r"|ing|ed|es|s|al|ar|ic|ly|um|us|a|e|y)$"
)
_SHARED_START = 0.6
_SHORTEST_START = 4
_LONGEST_WORD = 60
"""Letters; a longer run of letters is no word and has no other form."""

# What a fact may say without the report saying it: grammar, presence and absence, doubt, and words without content.
_SCAFFOLD_WORDS = (
    "a an the this that these those there it its which is are was were be been being am has have had do does did "
    "of in on at to from with without within by for and or nor but as than through over s t "
    "no not non none never negative neither absent absence present presence seen noted identified visible visualized "
    "evidence sign signs finding findings appear appears appearing remain remains demonstrated shown "
    "possible possibly probable probably likely unlikely may might could can cannot excluded suspected uncertain "
    "questionable size side sides sided location located level area region aspect chest"
)
_SCAFFOLD = frozenset(_SCAFFOLD_WORDS.split())

# What a report says by another word: a word of the fact to words that stand for it.
_BOTH_SIDES = "bilateral both bibasilar biapical bihilar"
_STANDS_FOR = {
    "left": _BOTH_SIDES,
    "right": _BOTH_SIDES,
    "both": f"{_BOTH_SIDES} left right lungs",
    "bilateral": f"{_BOTH_SIDES} left right lungs",
    "base": "bibasilar",
    "apex": "apical biapical",
    "apical": "apex biapical",
    "hilum": "bihilar",
    "lung": "pulmonary lobe",
    "pulmonary": "lung",
    "heart": "cardiac",
    "cardiac": "heart",
    "pleural": "effusion pneumothorax",
}


def sentences_of(report: str) -> tuple[str, ...]:
    """The sentences of a report as the judge is shown them, each in one line; empty where it says nothing at all."""
    return tuple(" ".join(report[slice(*sentence.span())].split()) for sentence in split_sentences(report))


def first_foreign_word(text: str, sentences: Sequence[str], sentence_index: int) -> int | None:
    """Where a fact leaves the words of its report: the place of the word in ``text``, from 1; None if it doesn't.

    Every word of content has to occur in the sentence named or in an earlier one (to which it may refer back), and one
    of them in the sentence itself. Words match by stem, so inflection and word class are free ("opacities": "opacity",
    "enlargement": "enlarged"). Words of grammar, presence and doubt are free too, and a few words that others stand for
    ("both bases": "bibasilar"). Whether the meaning is kept ("no") isn't checked here.
    """
    available = _words_of(tuple(sentences))
    here = _words_of((sentences[sentence_index],))
    words = [(place, word) for place, word in enumerate(_words(text), start=1) if word not in _SCAFFOLD]
    for place, word in words:
        if not available.has(word, sentence_index):
            return place
    return None if any(here.has(word, 0) for _, word in words) else 1


class _Words:
    """The words of some sentences, to be looked up by stem and by beginning; a long report takes no longer."""

    def __init__(self, sentences: Iterable[str]) -> None:
        # Stems, and beginnings with the length of their word, to the first sentence that has them.
        self._first: dict[str | tuple[str, int], int] = {}
        seen: set[str] = set()
        for index, sentence in enumerate(sentences):
            for word in _words(sentence):
                if word not in seen:
                    seen.add(word)
                    for key in _keys(word):
                        self._first.setdefault(key, index)

    def has(self, word: str, last: int) -> bool:
        """True where a sentence up to ``last`` has the word, another form of it, or a word that stands for it."""
        stem = _stem(word)
        keys = (stem, *_stand_ins().get(stem, ()), *_alike(word))
        return any(self._first.get(key, last + 1) <= last for key in keys)


@lru_cache(maxsize=64)
def _words_of(sentences: tuple[str, ...]) -> _Words:
    return _Words(sentences)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


@lru_cache(maxsize=20_000)
def _stem(word: str) -> str:
    if len(word) > _LONGEST_WORD:
        return word
    while (shorter := _ENDING.sub("", word)) != word:
        word = shorter
    return word


@lru_cache(maxsize=1)
def _stand_ins() -> dict[str, frozenset[str]]:
    return {_stem(word): frozenset(map(_stem, others.split())) for word, others in _STANDS_FOR.items()}


def _alike(word: str) -> Iterator[tuple[str, int]]:
    """Beginning and length of the words that share their first letters, at least four and most of the longer one."""
    length = len(word)
    if word.isdigit() or length > _LONGEST_WORD:
        return
    for other in range(_SHORTEST_START, _LONGEST_WORD + 1):
        needed = max(_SHORTEST_START, math.ceil(_SHARED_START * max(length, other)))
        if needed > length:
            return
        if needed <= other:
            yield word[:needed], other


def _keys(word: str) -> Iterator[str | tuple[str, int]]:
    """What a word of the report is found by: its stem, and the beginnings that ``_alike`` may ask for."""
    yield _stem(word)
    if not word.isdigit() and len(word) <= _LONGEST_WORD:
        yield from ((word[:needed], len(word)) for needed in range(_SHORTEST_START, len(word) + 1))
