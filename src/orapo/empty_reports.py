"""Reports that say nothing: the one rule for rewards, scores and files."""

import re

_WORDS = re.compile(r"[^\W_]+")
_HEADING = r"findings?|impressions?|conclusions?|comparisons?|indications?|reports?|opinion|summary"
_PLACEHOLDER = re.compile(
    rf"(?:(?:{_HEADING}|n a|na|n d|nan|none|null|nil|"
    r"not (?:applicable|available|given|provided|recorded|reported|dictated)|"
    r"no (?:reports?|text|data|answer|output)(?: available)?|awaiting (?:reports?|results?|dictation)|as above|"
    r"(?:see|refer to) (?:the )?(?:findings?|impressions?|reports?|comments?|above|below)(?: above| below)?|"
    r"ref|error|x+|"
    r"(?:to follow|unavailable|pending|tbc|tbd|tba|blank|empty|missing|undefined|unknown|redacted|deleted))(?: |$))*+"
)


def says_nothing(report: str) -> bool:
    """Whether a report is empty or a placeholder: no letter or digit, or only headings and words such as "N/A".

    "None.", "nan", "___", "See impression." and "FINDINGS: not available" say nothing; "Normal." and "No findings." do.
    Such a report mentions no observation: it isn't No Finding either.
    """
    return _PLACEHOLDER.fullmatch(" ".join(_WORDS.findall(report.lower()))) is not None
