"""What reads like a radiology report: passages of prose with a report's heads, marks and words.

Sentences of one's own, word lists and miniature reports stay well below these sizes: a real report that is shorter than
that and stands alone gets through, which is the price of a rule that ordinary code never meets.
"""

import re
from collections.abc import Iterator

_HEAD = re.compile(
    r"\b(final report|wet read|findings?(?: and impression)?|impressions?|conclusions?|narrative|indication|technique"
    r"|comparisons?|examination|exam|clinical (?:history|information|indication)|history"
    r"|reason for (?:exam(?:ination)?|study))\s*:|\b(FINAL REPORT)\b",
    re.IGNORECASE,
)
_MAIN_HEADS = ("findings", "finding", "impression", "conclusion", "narrative", "final report", "wet read")
_REMOVED = re.compile(r"(?<![\w_])_{3,}(?![\w_])|\[ALPHANUMERICID\]|\bX{4}\b")
_WORD = re.compile(r"[A-Za-z]{2,}")
_CHEST_WORDS = frozenset(
    """
    airspace aorta aortic apex apical atelectasis base bases basilar bibasilar cardiac cardiomediastinal cardiomegaly
    carina catheter congestion consolidation contours costophrenic diaphragm edema effusion effusions endotracheal
    fracture fractures heart hemidiaphragm hila hilar infiltrate infiltrates interstitial leads lobe lobes lung lungs
    mediastinal nasogastric opacities opacity osseous pacemaker picc pleural pneumonia pneumothoraces pneumothorax
    portable pulmonary radiograph retrocardiac rib ribs silhouette sternotomy svc thoracic tube vascular vasculature
    """.split()  # noqa: SIM905
)
_CODE = re.compile(
    r"[={}<>|@$`]|\w\(|^\s*(?:def|class|import|from|return|assert|raise|with)\b"
    r"|\"\s*:\s*[\"\[\d]|^\w*,\s*\""  # a key of JSON, a row of a table
)
_END_OF_ITEM = re.compile(r"[\"'],?\s*[\])]*,\s*$")
_SENTENCE_END = re.compile(r"[a-z)]\.(?=\s|$|[\"'\\])", re.IGNORECASE)
_BROKEN_SENTENCE = re.compile(r"[a-z],?$", re.IGNORECASE)
_BETWEEN_STRINGS = re.compile(r"(?<!\\)\"+|\|")
_SHORTEST_STRING = 100  # characters
_TO_DO = "nobody's report may stand here: use short sentences of your own"
_LONGEST = 60  # lines; a longer passage is judged piece by piece

_FEWEST_WORDS_REMOVED, _FEWEST_CHEST_WORDS_REMOVED = 60, 3
_FEWEST_WORDS_HEADED, _FEWEST_CHEST_WORDS_HEADED = 50, 5
_FEWEST_SHORT_REPORTS, _FEWEST_WORDS_SHORT, _FEWEST_CHEST_WORDS_SHORT = 5, 20, 4
_FEWEST_WORDS_PROSE, _FEWEST_CHEST_WORDS_PROSE, _DENSEST_PROSE = 45, 9, 0.18


def report_passages(text: str) -> Iterator[tuple[int, str]]:
    """First line of each passage that reads like a report, with the reason; then of many that could be short ones."""
    short: list[int] = []
    for line, passage in _passages(text):
        passage = passage.replace("\\n", "\n").replace("\\t", " ")
        words = _WORD.findall(passage.lower())
        reason = _reason(passage, words)
        if reason:
            yield line, f"{reason}; {_TO_DO}"
        elif _is_short_report(passage, words):
            short.append(line)
    if len(short) >= _FEWEST_SHORT_REPORTS:
        yield short[0], f"{len(short)} passages from here on that read like short reports; {_TO_DO}"


def _passages(text: str) -> Iterator[tuple[int, str]]:
    """Prose over several lines, cut at code, and each long string of a line that holds code or data."""
    block: list[str] = []
    first = 1
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        is_code = _CODE.search(line) is not None
        if not is_code:
            block.append(line)
        if is_code or _END_OF_ITEM.search(line) or len(block) == _LONGEST or number == len(lines):
            if block:
                yield first, "\n".join(block)
            block, first = [], number + 1
        if is_code:
            pieces = _BETWEEN_STRINGS.split(line)
            yield from ((number, piece) for piece in pieces if len(piece) >= _SHORTEST_STRING)
            if len(pieces) % 2 == 0:  # a string is open: a report can begin behind its quotes
                block, first = [pieces[-1]], number


def _reason(passage: str, words: list[str]) -> str:
    heads = {" ".join((found.group(1) or found.group(2)).lower().split()) for found in _HEAD.finditer(passage)}
    is_marked = "final report" in heads and _REMOVED.search(passage) is not None
    if is_marked and len(words) >= _FEWEST_WORDS_REMOVED and _num_chest_words(words) >= _FEWEST_CHEST_WORDS_REMOVED:
        return "a report's head and marks of removed names"
    has_sections = len(heads) >= 2 and any(head.startswith(_MAIN_HEADS) for head in heads)
    if has_sections and len(words) >= _FEWEST_WORDS_HEADED and _num_chest_words(words) >= _FEWEST_CHEST_WORDS_HEADED:
        return "sections of a radiology report"
    if len(words) >= _FEWEST_WORDS_PROSE and _num_chest_words(words) >= _FEWEST_CHEST_WORDS_PROSE:
        is_dense = sum(word in _CHEST_WORDS for word in words) >= _DENSEST_PROSE * len(words)
        if is_dense and _runs_on(passage) and len(_SENTENCE_END.findall(passage)) >= 4:
            return "prose as long and as full of chest words as a radiology report"
    return ""


def _is_short_report(passage: str, words: list[str]) -> bool:
    if len(words) < _FEWEST_WORDS_SHORT or _num_chest_words(words) < _FEWEST_CHEST_WORDS_SHORT:
        return False
    return _runs_on(passage) and len(_SENTENCE_END.findall(passage)) >= 3


def _num_chest_words(words: list[str]) -> int:
    return len(_CHEST_WORDS.intersection(words))


def _runs_on(passage: str) -> bool:
    """Whether lines break inside sentences, as in a wrapped paragraph and not in a list of statements."""
    ends = [line.strip(" \t\"'\\") for line in passage.strip().split("\n")[:-1]]
    return sum(_BROKEN_SENTENCE.search(end) is not None for end in ends) >= 0.4 * len(ends)
