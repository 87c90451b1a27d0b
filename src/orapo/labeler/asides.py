"""Words that interrupt a sentence, in brackets or between commas, and are read by themselves."""

import re
from typing import NamedTuple

_VERB = r"(?:is|are|was|were|has|have|had|can|cannot|could|may|might|remains?|appears?|persists?|does|did|will)\b"
_ASIDE = re.compile(
    r" ?[(\[{](?P<bracketed>[^()\[\]{}]*)[)\]}]"
    rf"|, (?P<between>(?:although|though|albeit|while|even if|which|that) [^,]+),(?= {_VERB})"
)
# What answers a label or goes on with its list stays in the sentence.
_STAYS = re.compile(
    r" ?(?:\?|none|nil|no|absent|negative|neither|resolved|removed|yes|present|positive|not (?:seen|present|identified)"
    r"|(?:or|and|nor|such as|including|versus|that is|as well as|e\.g\.|i\.e\.)\b.*) ?"
)
_MARKS = re.compile(r"[(\[{]")
_KIND = re.compile(r"\b(?:abnormalit(?:y|ies)|disease|process(?:es)?|findings?|patholog(?:y|ies)|changes?)$")


class Part(NamedTuple):
    """A part of a sentence that is read by itself.

    Attributes:
        text: its characters, those of the sentence without an aside or of the aside.
        start: where it begins in the sentence.
        gap_at: from which character of ``text`` on a left-out aside is to be counted.
        gap: how long that aside is.
    """

    text: str
    start: int
    gap_at: int
    gap: int

    def moved(self, at: int) -> int:
        """Where character ``at`` of this part stands in the sentence."""
        return self.start + at + (self.gap if at >= self.gap_at else 0)


def split_aside(sentence: str) -> tuple[Part, Part] | None:
    """The sentence without its last aside, and the aside; None where there is none to set apart."""
    if not _MARKS.search(sentence) and sentence.count(",") < 2:
        return None
    for found in reversed([*_ASIDE.finditer(sentence)]):
        kind = found.lastgroup or ""
        words = found[kind]
        is_example = kind == "bracketed" and _KIND.search(sentence, 0, found.start()) is not None
        if not words.strip() or is_example or (kind == "bracketed" and _STAYS.fullmatch(words)):
            continue
        outer = sentence[: found.start()] + sentence[found.end() :]
        return (
            Part(outer, 0, found.start(), found.end() - found.start()),
            Part(words, found.start(kind), len(words), 0),
        )
    return None
