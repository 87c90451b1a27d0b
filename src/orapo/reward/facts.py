"""Atomic facts of a generated report, equation (13), read offline: well-formed clauses with what they assert.

The paper asks an LLM. This judge reads like one in what matters to an optimiser: a statement has to be a statement.
Word salad, a sentence without its end, gibberish and a repeated statement are no facts; each comes with the reason.
Sentences, and what a mention asserts, are the labeler's: a clause can't turn round what its sentence says.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from orapo.labeler.aligned import AlignedText
from orapo.labeler.sentences import split_sentences
from orapo.labeler.types import Mention
from orapo.records import Fact
from orapo.reward.grammar import ParsedSentence
from orapo.reward.tokens import IllFormedError
from orapo.reward.word_classes import load_word_classes

UNFINISHED = "no end: the report stops in this sentence"
REPEATED = "repeated"

_HEADING = re.compile(r"(?:findings?|impressions?|conclusions?|(?:final )?report|summary|opinion)", re.IGNORECASE)
_SHORT_HEADING = re.compile(r"^[A-Za-z ,/&]{2,40}:\s*(?=\S)")
_PLAIN = str.maketrans({"’": "'", "‘": "'", "“": " ", "”": " ", '"': " ", "*": " "})
_ASIDE = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_SPACES = re.compile(r"\s{2,}|[^\S ]")
_SIGNIFICANT = re.compile(r"[a-z0-9]+")

Span = tuple[int, int]
"""First character of a stretch of text, and one past its last."""


class ReadStatement(NamedTuple):
    """One finished sentence, read.

    Attributes:
        clauses: where its clauses stand in it; none where it isn't a statement.
        asides: where it has words in brackets, which are part of no clause.
        reason: why it isn't a statement, "" where it is.
    """

    clauses: tuple[Span, ...]
    asides: tuple[Span, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Extraction:
    """The facts F(y) of one report, and the statements that were rejected.

    Attributes:
        facts: in reading order, no two the same.
        rejected: statement to reason; the same statement rejected twice stands once.
    """

    facts: tuple[Fact, ...]
    rejected: Mapping[str, str]


def extract_facts(report: str, mentions: Iterable[Mention]) -> Extraction:
    """The facts of a generated report, equation (13), as the grammar of ``orapo.reward.grammar`` admits them.

    A sentence with several clauses gives one fact per clause ("Heart is enlarged, and there is edema."). Each fact
    holds what decides its mentions: clauses that a negation or hedge reaches across are one fact ("The lungs are clear,
    without edema or effusion."). Words in brackets belong to no fact, unless they decide a mention in one.

    Args:
        report: as generated.
        mentions: the labeler's, of the whole report.
    """
    by_sentence = {index: tuple(group) for index, group in groupby(mentions, lambda mention: mention.sentence_index)}
    facts: list[Fact] = []
    rejected: dict[str, str] = {}
    seen: set[str] = set()
    for sentence_index, sentence in enumerate(split_sentences(report)):
        start, end = sentence.span()
        read = read_statement(report[start:end]) if sentence.is_finished else ReadStatement((), (), UNFINISHED)
        if read.reason:
            rejected[_one_line(report[start:end])] = read.reason
        for fact in _facts_of(report, sentence_index, start, read, by_sentence.get(sentence_index, ())):
            key = " ".join(_SIGNIFICANT.findall(fact.text.lower()))
            if key in seen:
                rejected[fact.text] = REPEATED
            else:
                seen.add(key)
                facts.append(fact)
    return Extraction(tuple(facts), rejected)


@lru_cache(maxsize=50_000)
def read_statement(sentence: str) -> ReadStatement:
    """The clauses of one finished sentence, given as it stands in the report, or why it isn't a statement."""
    plain = AlignedText(sentence.translate(_PLAIN))
    asides = tuple(found.span() for found in _ASIDE.finditer(plain.text))
    plain = plain.replace(_ASIDE, " ").replace(_SPACES, " ")
    text = plain.text.rstrip(" -:;")
    if _HEADING.fullmatch(text.strip()):
        return ReadStatement((), asides, "a heading")
    try:
        return ReadStatement(_clauses(plain, 0, text), asides, "")
    except IllFormedError as error:
        headed = _SHORT_HEADING.match(text)
        if headed is not None:
            try:
                return ReadStatement(_clauses(plain, headed.end(), text[headed.end() :]), asides, "")
            except IllFormedError:
                pass
        return ReadStatement((), asides, str(error))


def _clauses(plain: AlignedText, start: int, text: str) -> tuple[Span, ...]:
    """Where the clauses of ``text``, which begins at ``start`` of a sentence made plain, stand in the sentence."""
    clauses = ParsedSentence(text, load_word_classes()).clauses
    return tuple(plain.span(start + first, start + last) for first, last in clauses)


def _facts_of(
    report: str, sentence_index: int, offset: int, read: ReadStatement, mentions: Sequence[Mention]
) -> Iterator[Fact]:
    """The facts of the sentence that begins at ``offset``, with the mentions that stand in them outside brackets."""
    clauses, asides = (
        [(offset + start, offset + end) for start, end in spans] for spans in (read.clauses, read.asides)
    )
    evidence = {mention: _evidence(mention) for mention in mentions if not _stands_in(mention, asides)}
    spans = [*clauses, *asides, *(span for mention, span in evidence.items() if _stands_in(mention, clauses))]
    for start, end in _merged(spans):
        if any(start <= first < end for first, _ in clauses):
            told = tuple(mention.span for mention, (first, last) in evidence.items() if start <= first and last <= end)
            yield Fact(_one_line(report[start:end]), sentence_index, start, end, told)


def _stands_in(mention: Mention, spans: Iterable[Span]) -> bool:
    return any(start <= mention.start < end for start, end in spans)


def _evidence(mention: Mention) -> Span:
    """From the first to the last character of a mention and the words that decided its state."""
    if mention.cue_start < 0:
        return mention.start, mention.end
    return min(mention.start, mention.cue_start), max(mention.end, mention.cue_end)


def _merged(spans: Iterable[Span]) -> list[Span]:
    """The spans in reading order; overlapping ones are merged."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def _one_line(text: str) -> str:
    return " ".join(text.split())
