"""The text of a radiology report as sections."""

import re
from collections.abc import Iterator

from orapo.data.report_heads import (
    COMPARISON,
    FINDINGS,
    FINDINGS_AND_IMPRESSION,
    MAY_BE_MIXED_CASE,
    PREAMBLE,
    TO_WRITE,
    names_views,
    section_name,
    spellings,
)
from orapo.empty_reports import says_nothing
from orapo.errors import DataError

EARLIER = "earlier "
"""Before the name of a section that another of the same name replaces."""

_CANDIDATE = re.compile(  # possessive, lest a long run of spaces takes minutes
    r"^[^\S\n]*+(?:"
    r"(?P<rule>_{6,})[^\S\n]*+$|"
    r"(?P<final>FINAL (?:REPORT|ADDENDUM))(?![\w'-])[^\S\n]*:?|"
    r"(?P<head>[A-Za-z][A-Za-z0-9 \t()/,&#-]{1,59}?)[^\S\n]*+(?:(?P<colon>:)|(?:[.;]|-{1,3})?[^\S\n]*+$)"
    r")",
    re.MULTILINE,
)
_BLANK = r"[^\S\n]"
_COLON = "[:\uff1a]"
_TO_WRITE = spellings(TO_WRITE)
_ANY = spellings(sorted(MAY_BE_MIXED_CASE))
_DECORATED = re.compile(  # ## Findings, **FINDINGS:** text, __Findings__: text, > FINDINGS:, [FINDINGS] text
    rf"^{_BLANK}*+(?=[#*_>\[])(?P<lead>[#>]{{1,6}}{_BLANK}*+)?(?:(?P<mark>\*{{1,3}}|_{{1,2}})|(?P<bracket>\[))?{_BLANK}*+"
    rf"(?P<head>{_ANY}){_BLANK}*+"
    # The same mark closes the head: MIMIC-CXR writes ___ for what it leaves out, and "* " begins an item of a list.
    rf"(?(mark)(?:{_COLON}{_BLANK}*+(?P=mark)|(?P=mark){_BLANK}*+{_COLON}?)"
    rf"|(?(bracket){_COLON}?{_BLANK}*+\]{_BLANK}*+{_COLON}?|(?:{_COLON}|(?={_BLANK}*+$))))",
    re.MULTILINE | re.IGNORECASE,
)
_NUMBERED = re.compile(  # 1. FINDINGS: text, 2) Impression, - IMPRESSION: text
    rf"^{_BLANK}*+(?:(?P<number>\d{{1,2}})[.)]|[-*\u2022]){_BLANK}*+"
    rf"(?P<head>(?i:{_TO_WRITE}|{_ANY})(?={_BLANK}*+{_COLON})|(?i:{_TO_WRITE})(?={_BLANK}*+$)){_BLANK}*+{_COLON}?",
    re.MULTILINE,
)
_ITEM = re.compile(rf"^{_BLANK}*+(?:(?P<number>\d{{1,2}})[.)]|[-*\u2022])(?={_BLANK})", re.MULTILINE)
_OTHER_END = re.compile(  # FINDINGS. text, IMPRESSION - text
    rf"^{_BLANK}*+(?P<head>(?i:{_TO_WRITE})){_BLANK}*+(?:\uff1a|\.(?={_BLANK})|[-\u2013\u2014]{{1,3}}(?={_BLANK}))",
    re.MULTILINE,
)
_WITHIN = re.compile(  # FINDINGS: Clear.  IMPRESSION: Normal.
    rf"(?=[A-Z])(?<!\w)(?P<head>(?i:{_ANY})){_BLANK}*+{_COLON}[*_]{{0,3}}"
)
_NOTE = re.compile(  # FINDINGS: were discussed with Dr. Smith by telephone
    r"(?:(?:were|was)\s+(?:\w+ly\s+)?(?:discussed|communicated|conveyed|relayed|called|telephoned|reported|reviewed)\b|"
    r"(?:discussed|communicated)\s+(?:with|to|by|via)\b)"
)
_END_OF_COMPARISON = re.compile(r"\A[^\n]*\.[^\S\n]*\n|\n[^\S\n]*\n")
_AROUND = " \t\u00a0*_"
_LEAD_ON = frozenset(
    {"the", "these", "this", "following", "and", "or", "of", "in", "see", "per", "with", "under", "no"}
)
_MOST_AROUND = 40
"""Blanks and marks that may stand before a head within a line."""
_CHAINED = re.compile(r"[^\S\n]*+(?P<head>[A-Z][A-Z \t()/,&-]{2,59}?)[^\S\n]*+:")
# Elsewhere, for example within the findings, the name of a view is a part of the text.
_BEFORE_FINDINGS = frozenset({PREAMBLE, COMPARISON, "technique", "indication", "history", "examination", "date"})


class MissingSection(DataError):
    """A report lacks a section that is asked for.

    Attributes:
        reason: as a study is left out for it, for example ``"no findings section"``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse_sections(text: str) -> dict[str, str]:
    """Splits the text of a report, as MIMIC-CXR has it, into sections.

    A section opens at the start of a line, with a known head and a colon, or a head in capitals that fills the line.
    Other words before a colon ("LEFT:", "Note:", "AP: 10 cm") open none. Before the findings, a head in capitals that
    names the views ("PA AND LATERAL CHEST:") opens them. A line of underscores or "FINAL REPORT" opens a new preamble.
    Heads may be marked as Markdown does, numbered, or end in a period or dash. Within a line, a head opens a section
    where no line of the text begins with one for the same section: "FINDINGS: Clear.  IMPRESSION: Normal."

    The last section of each name that isn't empty counts, so that a report stands before its addenda, which MIMIC-CXR
    puts above it; of what a policy writes, the last that says more than "N/A". A note of who was told ("FINDINGS: were
    discussed with ...") is a notification. A comparison right after findings is one sentence in a line, or a paragraph;
    with what follows, the findings continue. Text that doesn't count is kept under ``"earlier findings"`` and the like.
    Only the heads themselves, underscore lines and white space around sections are gone. The 54 studies of MIMIC-CXR
    (of 227,835) whose sections its authors listed by hand are read by the same rules as all others.

    Args:
        text: of any form; never raises.

    Returns:
        Sections by canonical lower-case name, in the order of the text, those replaced first. Text before the first
        head is ``"preamble"``. A section that is there without any text is "". Line breaks are single newlines.
    """
    pieces = [(name, body.strip()) for name, body in _pieces(_plain_heads(text))]
    pieces = [("notification" if name in TO_WRITE and _is_note(body) else name, body) for name, body in pieces]
    pieces = _with_findings_rejoined(pieces)
    counts: dict[str, int] = {}
    for index, (name, body) in enumerate(pieces):
        if name not in counts:
            is_better = bool(body) or name != PREAMBLE
        else:
            is_empty = says_nothing(body) if name in TO_WRITE else not body
            is_better = not is_empty or (bool(body) and says_nothing(pieces[counts[name]][1]))
        if is_better:
            counts[name] = index
    earlier: dict[str, str] = {}
    for index, (name, body) in enumerate(pieces):
        if body and counts[name] != index:
            before = earlier.get(EARLIER + name)
            earlier[EARLIER + name] = f"{before}\n\n{body}" if before else body
    return earlier | dict(pieces[index] for index in sorted(counts.values()))


def _is_note(body: str) -> bool:
    """Whether the text continues its heading, as in "Findings were discussed with ...", and so states no finding."""
    return _NOTE.match(body) is not None and "\n\n" not in body


def _with_findings_rejoined(pieces: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """FINDINGS: Clear. / COMPARISON: None. / No effusion. / IMPRESSION: Normal."""
    rejoined: list[tuple[str, str]] = []
    for name, body in pieces:
        before, text = rejoined[-1] if rejoined else ("", "")
        is_among = name == COMPARISON and before in (FINDINGS, FINDINGS_AND_IMPRESSION)
        if is_among and (end := _END_OF_COMPARISON.search(body)) is not None:
            rejoined[-1] = (before, f"{text}\n{body[end.end() :].strip()}".strip())
            body = body[: end.end()].strip()
        rejoined.append((name, body))
    return rejoined


def _plain_heads(text: str) -> str:
    """The text with every head as ``_CANDIDATE`` knows it: at the start of a line, before a colon."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _DECORATED.sub(lambda line: _as_head(line, _is_decorated_head(line)), text)
    text = _NUMBERED.sub(lambda line: _as_head(line, _is_numbered_head(line)), text)
    text = _OTHER_END.sub(lambda line: _as_head(line, _may_open(line["head"])), text)
    within = [(match, name) for match in _WITHIN.finditer(text) if (name := _within(match)) is not None]
    if not within:
        return text
    at_line_starts = {name for name, _ in _pieces(text)}
    found = [(match, name) for match, name in within if name not in at_line_starts]
    begins = min((match.start() for match, name in found if name in TO_WRITE), default=-1)
    for match, name in reversed(found):
        # What else stands on the line has a head of its own only where the findings follow.
        if name in TO_WRITE or match.start() < begins:
            text = f"{text[: match.start()].rstrip(_AROUND)}\n{match['head']}: {text[match.end() :]}"
    return text


def _as_head(line: re.Match[str], is_head: bool) -> str:
    return f"{line['head'].upper()}: " if is_head else line[0]


def _may_open(head: str) -> bool:
    """Whether a head is in capitals, or is "Findings" or "Impression"; any other may be the start of a sentence."""
    return head.isupper() or section_name(head, has_colon=False) is not None


def _is_decorated_head(line: re.Match[str]) -> bool:
    """Whether the line opens a section; in lower case only a marked head of a target does ("**findings:**")."""
    is_marked = line["mark"] or line["bracket"] or "#" in (line["lead"] or "")
    name = section_name(line["head"].upper(), has_colon=True)
    return section_name(line["head"], has_colon=True) is not None or bool(is_marked and name in TO_WRITE)


def _is_numbered_head(line: re.Match[str]) -> bool:
    """Whether the line opens a section and is no item of a list, as "2. RECOMMENDATION: CT." before "3. Effusion."."""
    if not _may_open(line["head"]):
        return False
    after = _ITEM.search(line.string, line.end())
    if after is None or section_name(line["head"], has_colon=True) in TO_WRITE:
        return True
    own, its = line["number"], after["number"]
    goes_on = int(its) == int(own) + 1 if own and its else own is its
    head_after = _NUMBERED.match(line.string, after.start())
    return not goes_on or (head_after is not None and _may_open(head_after["head"]))


def _within(match: re.Match[str]) -> str | None:
    """The section that a head within a line opens; None for a part of a sentence, and at the start of a line."""
    around = match.string[max(match.start() - _MOST_AROUND, 0) : match.start()]
    text = around.rstrip(_AROUND)
    ends_sentence = text.endswith((".", "!", "?"))
    # "clear IMPRESSION: normal" lacks a period; "as in the FINDINGS: section" is a sentence.
    goes_on = text[-1:].islower() and text.split()[-1].lower() not in _LEAD_ON
    if not ends_sentence and (text == around or not (goes_on or text[-1:] in set(";,)]0123456789"))):
        return None
    name = section_name(match["head"], has_colon=True)
    return name if match["head"].isupper() or (ends_sentence and name in TO_WRITE) else None


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Each section's name and text, from the first to the last, repeated names included."""
    name, start = PREAMBLE, 0
    for line in _CANDIDATE.finditer(text):
        opened = _opened(line, name)
        if opened is None:
            continue
        yield name, text[start : line.start()]
        name, start = opened, line.end()
        while (chained := _CHAINED.match(text, start)) and (next_name := section_name(chained["head"], has_colon=True)):
            yield name, ""
            name, start = next_name, chained.end()
    yield name, text[start:]


def _opened(line: re.Match[str], current: str) -> str | None:
    if line["rule"] or line["final"] == "FINAL REPORT":
        return PREAMBLE
    if line["final"]:
        return "addendum"
    head = line["head"]
    name = section_name(head, has_colon=line["colon"] is not None)
    if name is None and line["colon"] and current in _BEFORE_FINDINGS and names_views(head):
        return FINDINGS
    return name
