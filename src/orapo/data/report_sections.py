"""The text of a radiology report as sections, and the choice of those that a policy shall write."""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Literal

from orapo.data.report_heads import (
    FINDINGS,
    FINDINGS_AND_IMPRESSION,
    IMPRESSION,
    PREAMBLE,
    names_views,
    section_name,
)
from orapo.errors import DataError

EARLIER = "earlier "
"""Before the name of a section that a later one of the same name replaces."""

_CANDIDATE = re.compile(  # possessive, lest a long run of spaces takes minutes
    r"^[^\S\n]*+(?:"
    r"(?P<rule>_{6,})[^\S\n]*+$|"
    r"(?P<final>FINAL (?:REPORT|ADDENDUM))(?![\w'-])[^\S\n]*:?|"
    r"(?P<head>[A-Za-z][A-Za-z0-9 \t()/,&#-]{1,59}?)[^\S\n]*+(?:(?P<colon>:)|(?:[.;]|-{1,3})?[^\S\n]*+$)"
    r")",
    re.MULTILINE,
)
_CHAINED = re.compile(r"[^\S\n]*+(?P<head>[A-Z][A-Z \t()/,&-]{2,59}?)[^\S\n]*+:")
# Elsewhere, for example within the findings, the name of a view is a part of the text.
_BEFORE_FINDINGS = frozenset({PREAMBLE, "comparison", "technique", "indication", "history", "examination", "date"})
_BLANK_LINE = re.compile(r"\n[^\S\n]*+\n")


Sections = Literal["findings", "impression", "findings_and_impression"]
"""The values of a source's setting ``sections``: those of ``Wanted``."""


class Wanted(StrEnum):
    """Which sections make up the report that is learnt."""

    FINDINGS = "findings"
    IMPRESSION = "impression"
    FINDINGS_AND_IMPRESSION = "findings_and_impression"


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

    The last section of each name that isn't empty counts, so that a report stands before its addenda, which MIMIC-CXR
    puts above it. Text that this replaces is kept under ``"earlier findings"`` and the like. Only the heads themselves,
    underscore lines and white space around sections are gone. The 54 studies of MIMIC-CXR (of 227,835) whose sections
    its authors listed by hand are read by the same rules as all others.

    Args:
        text: of any form; never raises.

    Returns:
        Sections by canonical lower-case name, in the order of the text, those replaced first. Text before the first
        head is ``"preamble"``. A section that is there without any text is "". Line breaks are single newlines.
    """
    pieces = [(name, body.strip()) for name, body in _pieces(text.replace("\r\n", "\n").replace("\r", "\n"))]
    counts: dict[str, int] = {}
    for index, (name, body) in enumerate(pieces):
        if body or (name not in counts and name != PREAMBLE):
            counts[name] = index
    earlier: dict[str, str] = {}
    for index, (name, body) in enumerate(pieces):
        if body and counts[name] != index:
            before = earlier.get(EARLIER + name)
            earlier[EARLIER + name] = f"{before}\n\n{body}" if before else body
    return earlier | dict(pieces[index] for index in sorted(counts.values()))


def choose_sections(sections: Mapping[str, str], wanted: Wanted) -> str:
    """The text of the sections asked for, each on one line.

    White space around a section is dropped and every run of it becomes one space; nothing else changes. Where findings
    and impression stand under one common head, the text is the findings, and also does when both are asked for.

    Args:
        sections: by name; only ``findings``, ``impression`` and ``findings and impression`` are looked at.
        wanted: one or both.

    Returns:
        Not empty; of two sections, the findings, a line break and the impression, without heads.

    Raises:
        MissingSection: one asked for isn't there, or has no letter in it.
    """
    findings = one_line(sections.get(FINDINGS, ""))
    common = "" if findings else one_line(sections.get(FINDINGS_AND_IMPRESSION, ""))
    impression = one_line(sections.get(IMPRESSION, ""))
    if wanted is not Wanted.IMPRESSION and not findings and not common:
        raise MissingSection("no findings section")
    if not impression and (wanted is Wanted.IMPRESSION or (wanted is Wanted.FINDINGS_AND_IMPRESSION and not common)):
        raise MissingSection("no impression section")
    texts = {
        Wanted.FINDINGS: (findings or common,),
        Wanted.IMPRESSION: (impression,),
        Wanted.FINDINGS_AND_IMPRESSION: (findings or common, impression),
    }
    return "\n".join(filter(None, texts[wanted]))


def labelled_section(sections: Mapping[str, str]) -> str:
    """The one section that MIMIC-CXR-JPG's label tables were made from, on one line.

    The impression, else the findings (also those of a common head), else the last paragraphs (what follows the first
    blank line of the last section), else the comparison.

    Args:
        sections: of ``parse_sections``, whose last entry is the last section.

    Raises:
        MissingSection: there is none of these.
    """
    in_order = [text for name, text in sections.items() if text and not name.startswith(EARLIER)]
    last_paragraphs = _BLANK_LINE.split(in_order[-1], maxsplit=1)[1:] if in_order else []
    named = (sections.get(name, "") for name in (IMPRESSION, FINDINGS, FINDINGS_AND_IMPRESSION))
    for text in (*named, *last_paragraphs, sections.get("comparison", "")):
        if line := one_line(text):
            return line
    raise MissingSection("no section to label")


def one_line(text: str) -> str:
    """The text with every run of white space as one space; "" when there is no letter in it."""
    return " ".join(text.split()) if any(map(str.isalpha, text)) else ""


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
