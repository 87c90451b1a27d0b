"""The heads of a radiology report's sections: which lines open a section, whatever their spelling."""

import re
from collections.abc import Iterable
from functools import lru_cache

FINDINGS = "findings"
IMPRESSION = "impression"
FINDINGS_AND_IMPRESSION = "findings and impression"
COMPARISON = "comparison"
PREAMBLE = "preamble"

_SPELLINGS = {
    FINDINGS: ("findings", "finding", "finding(s)", "chest findings", "radiographic findings"),
    IMPRESSION: (
        "impression",
        "impressions",
        "impression(s)",
        "final impression",
        "conclusion",
        "conclusions",
        "opinion",
    ),
    FINDINGS_AND_IMPRESSION: (
        "findings and impression",
        "findings & impression",
        "findings/impression",
        "findings, impression",
        "impression and findings",
        "impression/findings",
    ),
    "indication": (
        "indication",
        "indications",
        "clinical indication",
        "indication for study",
        "indication for exam",
        "reason",
        "reason for exam",
        "reason for examination",
        "reason for study",
        "reason for this exam",
        "reason for this examination",
    ),
    "history": (
        "history",
        "clinical history",
        "patient history",
        "medical history",
        "clinical information",
        "clinical info",
        "clinical data",
        "medical condition",
        "underlying medical condition",
    ),
    "technique": ("technique", "techniques", "procedure"),
    "examination": ("examination", "exam", "study", "type of exam", "type of examination", "study type"),
    COMPARISON: (
        "comparison",
        "comparisons",
        "comparison exam",
        "comparison examination",
        "comparison film",
        "comparison films",
        "comparison study",
        "comparison studies",
        "reference exam",
        "reference examination",
        "prior studies",
    ),
    "recommendation": ("recommendation", "recommendations", "recommendation(s)"),
    "notification": ("notification", "notifications", "notification(s)"),
    "comment": ("comment", "comments"),
    "addendum": ("addendum", "addenda", "final addendum"),
    "wet read": ("wet read", "wetread", "wet reading"),
    "preliminary": (
        "pfi",
        "provisional findings impression",
        "provisional findings impression (pfi)",
        "preliminary findings",
        "preliminary read",
        "preliminary report",
    ),
    "narrative": ("narrative",),
    "summary": ("summary",),
    "interpretation": ("interpretation",),
    "end of impression": ("end of impression",),
    "accession number": ("accession number",),
    "date": ("date", "date of exam", "date of examination"),
}
_NAME_OF_HEAD = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings}
# "Comment:" or "Date:" in mixed case may as well be a sentence of a section.
MAY_BE_MIXED_CASE = frozenset(
    {FINDINGS, IMPRESSION, FINDINGS_AND_IMPRESSION, "indication", "history", "technique", "examination", COMPARISON}
    | {"recommendation"}
)
_SHORTEST_MISSPELLED = 7

TO_WRITE = (FINDINGS, IMPRESSION, FINDINGS_AND_IMPRESSION)
"""The sections that a policy may be asked to write."""


def spellings(names: Iterable[str]) -> str:
    """A pattern, without regard to case, of how the heads of these sections may be spelled; the longest first."""
    found = sorted((spelling for name in names for spelling in _SPELLINGS[name]), key=len, reverse=True)
    return "|".join(r"[^\S\n]+".join(map(re.escape, spelling.split())) for spelling in found)


_IMAGE_WORDS = frozenset(
    {"chest", "radiograph", "radiographs", "film", "films", "view", "views", "x-ray", "x-rays", "xray", "xrays", "ribs"}
)
_PROJECTION_WORDS = frozenset(
    {"pa", "ap", "lateral", "lat", "frontal", "portable", "upright", "supine", "erect", "decubitus"}
    | {"semi-upright", "semiupright", "semi-erect"}
)
_SMALL_WORDS = frozenset(
    {"and", "&", "of", "the", "a", "one", "two", "three", "four", "single", "both", "left", "right", "bedside"}
)
_WET_READ_VERSION = re.compile(r"wet read version #?\w+")


def section_name(head: str, *, has_colon: bool) -> str | None:
    """The section that a head opens.

    Args:
        head: the start of a line, up to its colon or the line's end, for example ``"CLINICAL HISTORY"``.
        has_colon: whether a colon follows.

    Returns:
        Its canonical lower-case name; None for text that is no known head, such as ``LEFT:`` or ``Note:``. In mixed
        case only the commonest heads count, and without a colon they must be in capitals ("Impression" and "Findings"
        also otherwise). One wrong, missing, doubled or swapped letter is forgiven in capitals before a colon.
    """
    spelling = " ".join(head.lower().split()).replace("/ ", "/").replace(" /", "/").replace(" (s)", "(s)")
    name = _NAME_OF_HEAD.get(spelling)
    if name is None and _WET_READ_VERSION.fullmatch(spelling):
        name = "wet read"
    if head.isupper():
        return name or (_misspelled(spelling) if has_colon else None)
    may_be_mixed = name in MAY_BE_MIXED_CASE if has_colon else spelling in (FINDINGS, IMPRESSION)
    return name if may_be_mixed and head[0].isupper() else None


@lru_cache(maxsize=4096)
def names_views(head: str) -> bool:
    """Whether a head in capitals names the images ("PA AND LATERAL CHEST RADIOGRAPHS"): what follows is findings."""
    if not head.isupper():
        return False
    words = head.lower().replace(",", " ").replace("(", " ").replace(")", " ").split()
    if not set(words) <= _IMAGE_WORDS | _PROJECTION_WORDS | _SMALL_WORDS:
        return False
    return bool(_IMAGE_WORDS.intersection(words)) or len(_PROJECTION_WORDS.intersection(words)) > 1


@lru_cache(maxsize=4096)
def _misspelled(spelling: str) -> str | None:
    if len(spelling) < _SHORTEST_MISSPELLED - 1:
        return None
    candidates = (known for known in _NAME_OF_HEAD if len(known) >= _SHORTEST_MISSPELLED)
    return next((_NAME_OF_HEAD[known] for known in candidates if _one_slip_apart(spelling, known)), None)


def _one_slip_apart(written: str, meant: str) -> bool:
    """One letter wrong, missing or too many, or two neighbours swapped."""
    shorter, longer = sorted((written, meant), key=len)
    if len(longer) - len(shorter) > 1:
        return False
    same = next((i for i, (a, b) in enumerate(zip(shorter, longer, strict=False)) if a != b), len(shorter))
    if len(shorter) < len(longer):
        return shorter[same:] == longer[same + 1 :]
    swapped = written[same + 1 : same + 2] + written[same : same + 1] + written[same + 2 :]
    return written[same + 1 :] == meant[same + 1 :] or swapped == meant[same:]
