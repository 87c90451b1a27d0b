"""Atomic facts of a generated report, equation (13), read offline: one fact per well-formed clause.

The paper asks an LLM. This judge reads like one in what matters to an optimiser: a statement has to be a statement.
Word salad, a sentence without its end, gibberish and a repeated statement are no facts; each comes with the reason.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from orapo.records import Fact
from orapo.reward.grammar import Statement
from orapo.reward.lexicon import load_lexicon
from orapo.reward.noun_phrases import IllFormedError

UNFINISHED = "no end: the report stops in this sentence"
REPEATED = "repeated"

_BREAK = re.compile(
    r"(?<!\bdr)(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)(?<!\bapprox)[.!](?:[.!\s]+|$)"  # a stop
    r"|(?<=[a-z)]{2})\.(?=[A-Za-z])"  # a stop without the space after it
    r"|\n\s*(?=\n|[-*•#]|\d{1,2}[.)]\s)|\n(?=[A-Z][A-Z ]{3,}:)",  # an empty line, a list item, a heading
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"^\W*(?:findings?|impressions?|conclusions?|report|final report|summary|opinion)\b(?: and impression)?"
    r"\W*(?::|$)\W*",
    re.IGNORECASE,
)
_NUMBERING = re.compile(r"^[\s*#•>-]*(?:\d{1,2}[.)](?:\s+|$)|\d{1,2}$)?[\s*#•>-]*")
_SHORT_HEADING = re.compile(r"^[A-Za-z ,/&]{2,40}:\s*(?=\S)")
_PLAIN = str.maketrans({"’": "'", "‘": "'", "“": " ", "”": " ", '"': " ", "*": " "})
_BULLET = re.compile(r"^[ \t]*[*•#]+[ \t]+", re.MULTILINE)
_ASIDE = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_SIGNIFICANT = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class ExtractedFacts:
    """F(y) of one report, and what was not admitted to it.

    Attributes:
        facts: in reading order, no two the same.
        rejected: statement to reason; the same statement rejected twice stands once.
    """

    facts: tuple[Fact, ...]
    rejected: Mapping[str, str]


def extract_facts(report: str) -> ExtractedFacts:
    """The facts of a generated report, equation (13), as the grammar of ``orapo.reward.grammar`` admits them.

    A sentence with several clauses gives one fact per clause ("Heart is enlarged, and there is edema."); a list or a
    "with" stays one fact ("No effusion or pneumothorax."), so that its negation stays with it.
    """
    facts: list[Fact] = []
    rejected: dict[str, str] = {}
    seen: set[str] = set()
    for sentence_index, (sentence, is_finished) in enumerate(split_statements(report)):
        statements, reason = read_statement(sentence) if is_finished else ((), UNFINISHED)
        if reason:
            rejected[sentence] = reason
        for statement in statements:
            key = " ".join(_SIGNIFICANT.findall(statement.lower()))
            if key in seen:
                rejected[statement] = REPEATED
            else:
                seen.add(key)
                facts.append(Fact(statement, sentence_index))
    return ExtractedFacts(tuple(facts), rejected)


def split_statements(report: str) -> Iterator[tuple[str, bool]]:
    """The sentences of a report without numbering, headings and asides in brackets; False beside one that never ends.

    A sentence ends at a full stop, or where a list item, an empty line or a heading follows.
    """
    report = _BULLET.sub("- ", report).translate(_PLAIN)
    start = 0
    for found in _BREAK.finditer(report):
        sentence = _bare(report[start : found.start()])
        start = found.end()
        if sentence:
            yield sentence, True
    rest = _bare(report[start:])
    if rest:
        yield rest, False


def _bare(text: str) -> str:
    text = " ".join(_ASIDE.sub(" ", text).split())
    return _NUMBERING.sub("", _HEADING.sub("", _NUMBERING.sub("", text))).rstrip(" -:;")


@lru_cache(maxsize=50_000)
def read_statement(sentence: str) -> tuple[tuple[str, ...], str]:
    """The clauses of one finished sentence and "", or no clause and the reason why it isn't a statement."""
    try:
        return _clauses(sentence), ""
    except IllFormedError as error:
        headed = _SHORT_HEADING.match(sentence)
        if headed is not None:
            try:
                return _clauses(sentence[headed.end() :]), ""
            except IllFormedError:
                pass
        return (), str(error)


def _clauses(sentence: str) -> tuple[str, ...]:
    clauses = Statement(sentence, load_lexicon()).clauses
    if len(clauses) == 1:
        return (sentence,)
    return tuple(sentence[start:end] for start, end in clauses)
