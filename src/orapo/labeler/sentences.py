"""The one sentence splitter: from a report to sentences cleaned for matching that know where they stand in it."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from orapo.labeler.aligned import AlignedText

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_TYPOGRAPHIC = {
    **{"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": " - ", "−": "-", "ı": "i", "æ": "ae", "œ": "oe"},
    **dict.fromkeys("•·▪‣◦●■►▶", " . "),
    **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", ""),
}
_SPACES = re.compile(r" {2,}")
_MARK = re.compile(r"[;:?]")

# What begins on a line of its own: a paragraph with a capital, an item behind a dash.
_NEW_BLOCK = re.compile(r"\n[^\S\n]*\n\s*(?=\**[A-Z])|\n[ \t]*-+[ \t]+(?=[^\s\d])")
_TAG = re.compile(r"</?([A-Za-z][A-Za-z0-9]{0,9})(?:\s[^<>]{0,100})?/?>")
_INLINE_TAGS = frozenset(
    ("a", "b", "i", "u", "s", "em", "strong", "span", "sub", "sup", "mark", "small", "font", "code")
)
_AMPERSAND = re.compile(r"(?<!\S)&(?:amp;)?(?=\s)")
_BULLET = re.compile(r"(?<!\S)[*#>]+(?!\S)")
_ASKED = re.compile(r"(?<=[A-Za-z]\?)\s+(?=[A-Z][a-z])")
_LIST_LETTER = re.compile(r"(?<!\S)\(?[a-h]\)(?= )")

# Words that stand for others, rewritten before anything is matched. Few texts have any, so each is looked for first.
_SHORTHAND = {
    "and/or": "or",
    "+/-": "with possible",
    "s/p": "status post",
    "c/w": "consistent with",
    "w/o": "without",
    "w/": "with ",
    "r/o": "rule out",
    "h/o": "history of",
    "d/t": "due to",
    "b/l": "bilateral",
    "a/w": "associated with",
    "vs": "versus",
    "dr.": "dr",
    "approx.": "approximately",
    "e.g.": "such as",
    "i.e.": "that is",
}
_SHORTHAND_PATTERNS = {
    "w/": re.compile(r"\bw/"),
    "+/-": re.compile(r"\+/-"),
    "vs": re.compile(r"\bvs(?:\.(?![a-z0-9])|(?![a-z0-9]))"),
    **{word: re.compile(rf"\b{re.escape(word)}(?![a-z0-9])") for word in _SHORTHAND if word not in ("w/", "+/-", "vs")},
}
_SLASHED_WORD = re.compile(r"/(?<=[a-z+]/)")  # not a date
_REDACTED = re.compile(r"_+|\[\*\*[^\]]{0,100}\*\*\]|\bxx+\b")
_EITHER = re.compile(r"(?<=[a-z])/(?=[a-z])")
_COMMA = re.compile(r" ,(?: |(?!\d))|,(?![ \d])")

# A heading needs its colon, because line breaks carry no meaning (exports wrap and join lines at will).
_HEADING = re.compile(
    r"\b(?:final report|wet read|findings(?: and impression| or impression)?|impressions?|conclusions?|indications?"
    r"|comparisons?|techniques?|examinations?|exam|(?:clinical )?history|reason for (?:exam(?:ination)?|study)|summary"
    r"|recommendations?|notifications?|narrative|views?|procedure(?: comments)?|end of impression|addendum)$"
)
_LONGEST_HEADING = 30
_FINAL_REPORT = re.compile(r"\bfinal report\b")
# Both patterns begin with the characters they can't do without, which is what makes a search fast.
_LIST_NUMBER = re.compile(r"[(#\d](?<![^ .:;,].)(?:(?<=\d)\d?|(?<=[(#])\d{1,2})[.)](?= ?[a-z?\"*])")
_FULL_STOP = re.compile(
    r"[.!](?:(?<![.!].)[.!]*+(?=[ ,;:?\"')*]|$)|(?<=[a-z)\]][a-z)\]]\.)(?=[a-z])|(?<=\d\.)(?=[a-z]{2}))"
)
_EDGE = " .,:-*\"'#=|"
_LONGEST_SENTENCE = 1_500


class Sentence(NamedTuple):
    """One sentence of a report.

    Attributes:
        text: lower case, single spaces, shorthand spelled out, without list signs and headings.
        report: the whole report, cleaned; ``text`` is a part of it.
        start: where that part begins in ``report.text``.
        is_finished: it ends at a stop, or where a list item, a heading or a paragraph follows.
    """

    text: str
    report: AlignedText
    start: int
    is_finished: bool

    def span(self, start: int = 0, end: int | None = None) -> tuple[int, int]:
        """Where ``text[start:end]`` stands in the report as it was given."""
        end = len(self.text) if end is None else end
        return self.report.span(self.start + start, self.start + end)


def clean(report: str) -> AlignedText:
    """Lower-cases, removes what can't be matched (control characters, redaction marks, markup), spells out shorthand.

    List items and paragraphs that begin with a capital are set off by " . ".
    """
    aligned = AlignedText(report)
    if not report.isascii():
        aligned = aligned.replace(_NOT_ASCII, lambda found: _as_ascii(found.group()))
    text = aligned.text
    if "\n" in text:
        aligned = aligned.replace(_NEW_BLOCK, " . ")
    if "<" in text or "&" in text:
        aligned = aligned.replace(_TAG, lambda found: " " if found[1].lower() in _INLINE_TAGS else " . ")
        aligned = aligned.replace(_AMPERSAND, " and ")
    if "*" in text or "#" in text or ">" in text:
        aligned = aligned.replace(_BULLET, " . ")
    if "?" in text:
        aligned = aligned.replace(_ASKED, " . ")
    aligned = AlignedText(aligned.text.lower(), aligned.origins)
    if not aligned.text.isprintable():
        aligned = aligned.replace(_UNPRINTABLE, " ")
    text = aligned.text
    if "_" in text or "xx" in text or "[**" in text:
        aligned = aligned.replace(_REDACTED, " ")
    for word, spelled_out in _SHORTHAND.items():
        if word in text:
            aligned = aligned.replace(_SHORTHAND_PATTERNS[word], spelled_out)
    if "/" in text and _SLASHED_WORD.search(text):
        aligned = aligned.replace(_EITHER, " or ")
    if ")" in text:
        aligned = aligned.replace(_LIST_LETTER, " . ")
    text = aligned.text
    if ";" in text or ":" in text or "?" in text:
        aligned = aligned.replace(_MARK, lambda found: f" {found.group()} ")
    aligned = aligned.replace(_SPACES, " ")
    return aligned.replace(_COMMA, ", ")


def _as_ascii(character: str) -> str:
    if character in _TYPOGRAPHIC:
        return _TYPOGRAPHIC[character]
    return "".join(_TYPOGRAPHIC.get(folded, folded) for folded in character.casefold())


def split_sentences(report: str) -> tuple[Sentence, ...]:
    """The sentences of a report, without empty ones; ``Mention.sentence_index`` counts these.

    Sentences end at full stops (also where the space after one is missing, not inside "1.5 cm"), before the items of a
    list, around headings with a colon and where a paragraph begins with a capital. Other line breaks are plain white
    space. What runs on for more than 1,500 characters is cut between words, so that the time a text takes is in
    proportion to its length.
    """
    cleaned = clean(report)
    if " :" in cleaned.text or "final report" in cleaned.text:
        cleaned = cleaned.replace(_FINAL_REPORT, " . ")
        cleaned = cleaned.edit(_headings(cleaned.text))
    if _LIST_NUMBER.search(cleaned.text):
        cleaned = cleaned.replace(_LIST_NUMBER, " . ")
    return tuple(
        Sentence(cleaned.text[start:end], cleaned, start, is_finished)
        for start, end, is_finished in _bounds(cleaned.text)
    )


def _headings(text: str) -> Iterator[tuple[int, int, str]]:
    """The headings as edits: "findings : clear" becomes ". clear"."""
    at = 0
    while (colon := text.find(" :", at)) >= 0:
        found = _HEADING.search(text, max(at, colon - _LONGEST_HEADING), colon)
        at = colon + 2
        if found:
            yield found.start(), at, " . "


def _bounds(text: str) -> Iterator[tuple[int, int, bool]]:
    """Start, end and whether it is finished, of each stretch between two stops that holds more than marks."""
    at = 0
    for stop in _FULL_STOP.finditer(text):
        yield from _pieces(text, at, stop.start(), is_finished=True)
        at = stop.end()
    yield from _pieces(text, at, len(text), is_finished=False)


def _pieces(text: str, start: int, end: int, *, is_finished: bool) -> Iterator[tuple[int, int, bool]]:
    """A stretch without the marks at its edges, cut between words where it is too long."""
    while True:
        stop = end
        if end - start > _LONGEST_SENTENCE:
            space = text.rfind(" ", start + 1, start + _LONGEST_SENTENCE)
            stop = space if space > 0 else start + _LONGEST_SENTENCE
        stripped = text[start:stop].lstrip(_EDGE)
        if stripped:
            first = stop - len(stripped)
            yield first, first + len(stripped.rstrip(_EDGE)), is_finished and stop == end
        if stop == end:
            return
        start = stop
