"""Words that interrupt a sentence, in brackets or between commas, and are read by themselves."""

import re

from orapo.labeler.aligned import AlignedText
from orapo.labeler.lexicon import scope_words

_VERB = r"(?:is|are|was|were|has|have|had|can|cannot|could|may|might|remains?|appears?|persists?|does|did|will)\b"
_ASIDE = re.compile(
    r" ?[(\[{](?P<bracketed>[^()\[\]{}]*)[)\]}]"
    rf"|, (?P<between>(?:although|though|albeit|while|even if|which|that) [^,]+),(?= {_VERB})"
)
# What answers a label or continues its list stays in the sentence.
_STAYS = re.compile(
    r" ?(?:|\?|none|nil|no|not|absent|negative|neg|neither|yes|present|positive|pos"
    r"|(?:since |now )*(?:resolved|removed|cleared|gone)"
    r"|not (?:seen|present|identified)|(?:or|and|nor|such as|including|versus|that is|as well as|e\.g\.|i\.e\.)\b.*) ?"
)
_NAME = r"(?:(?:pleural|pulmonary|rib|heart|interstitial) )?[a-z-]+"
_NAMES_ONLY = re.compile(rf" ?{_NAME}(?:(?:,|,? and|,? or) {_NAME})* ?")
_SAYS_MORE = re.compile(
    rf"\b(?:{scope_words('item_starts')}|{scope_words('statement_starts')}|{scope_words('verbs')}|no|not)\b"
)
_MARKS = re.compile(r"[(\[{]")
_KIND = re.compile(r"\b(?:abnormalit(?:y|ies)|disease|process(?:es)?|findings?|patholog(?:y|ies)|changes?)$")


def split_asides(sentence: str) -> list[AlignedText]:
    """A cleaned sentence without what interrupts it, and each interruption; they know where they stand in it."""
    outer = AlignedText(sentence)
    if not _MARKS.search(sentence) and sentence.count(",") < 2:
        return [outer]
    asides: list[AlignedText] = []
    while True:  # from the innermost brackets outwards
        edits = []
        for found in _ASIDE.finditer(outer.text):
            kind = "bracketed" if found["between"] is None else "between"
            if kind == "bracketed" and _stays(outer.text, found):
                continue
            start, end = found.span(kind)
            asides.append(AlignedText(outer.text[start:end], outer.origins[start : end + 1]))
            edits.append((*found.span(), ""))
        if not edits:
            return [outer, *asides]
        outer = outer.edit(edits)


def _stays(text: str, found: re.Match[str]) -> bool:
    """Whether words in brackets answer a label, continue a list, or only name the same thing in other words."""
    words = found["bracketed"]
    if _STAYS.fullmatch(words) or _KIND.search(text, 0, found.start()):
        return True
    return _NAMES_ONLY.fullmatch(words) is not None and _SAYS_MORE.search(words) is None
