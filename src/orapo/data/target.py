"""Which of a report's sections a policy shall write, and what text they make: one rule for every data set."""

from collections.abc import Mapping
from typing import Literal

from orapo.data.report_heads import FINDINGS, FINDINGS_AND_IMPRESSION, IMPRESSION
from orapo.data.report_sections import MissingSection
from orapo.empty_reports import says_nothing

Target = Literal["findings", "impression", "both"]
"""What is learnt: one section, or both with their headings."""

REPORT = "report"
"""Name of the one section of a report that isn't parted into sections."""


def report_text(sections: Mapping[str, str], target: Target | None) -> str:
    """The text to learn, with every run of white space as one space.

    Args:
        sections: by name. Where findings and impression stand under one common head, that text counts as the findings,
            and as both where both are asked for.
        target: which sections; None takes ``REPORT`` as it is, line breaks included.

    Returns:
        Not empty; "Findings: ... Impression: ..." where both are asked for and stand apart.

    Raises:
        MissingSection: one asked for isn't there or says nothing ("N/A", "___", "See impression.").
    """
    if target is None:
        report = sections[REPORT].strip()
        if not words(report):
            raise MissingSection("no report")
        return report
    impression = "" if target == "findings" else words(sections.get(IMPRESSION, ""))
    if target == "impression":
        if not impression:
            raise MissingSection("no impression section")
        return impression
    findings = words(sections.get(FINDINGS, ""))
    common = "" if findings else words(sections.get(FINDINGS_AND_IMPRESSION, ""))
    if not findings and not common:
        raise MissingSection("no findings section")
    if target == "both" and not impression and not common:
        raise MissingSection("no impression section")
    return f"Findings: {findings or common} Impression: {impression}" if impression else findings or common


def words(text: str) -> str:
    """The text on one line; "" where it says nothing, or has no letter."""
    if not any(map(str.isalpha, text)):
        return ""
    # What says nothing begins with a placeholder of at most three words: the whole of a long text is rarely looked at.
    first = text.split(maxsplit=3)[:3]
    may_say_nothing = any(says_nothing(" ".join(first[:number])) for number in (1, 2, 3))
    return "" if may_say_nothing and says_nothing(text) else " ".join(text.split())
