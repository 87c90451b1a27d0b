"""The one sentence splitter: from a report to sentences cleaned for matching that know where they stand in it."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from orapo.labeler.aligned import AlignedText
from orapo.labeler.spelling import correct

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_TYPOGRAPHIC = {
    **{"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": " - ", "−": "-", "ı": "i", "æ": "ae", "œ": "oe"},
    **dict.fromkeys("•·▪‣◦●■►▶", " . "),
    **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", ""),
}
_SPACES = re.compile(r" {2,}")
_SIGN = re.compile(
    r"[(+-](?:(?<=\() *[+-] *\)|(?:(?<=[:=][+-])|(?<=[:=] [+-]))(?=\s*(?:$|[/,;.]|[a-z]+ ?[:=]))"
    r"|(?<=\s[+-])(?=\s*(?:$|[,;.])))"
)
_MARK = re.compile(r"[;:?]")

# What begins on a line of its own: a paragraph with a capital, an item after a dash.
_NEW_BLOCK = re.compile(r"(?<!\s)[^\S\n]*+\n[^\S\n]*+\n\s*+(?=\**[A-Z])|\n[ \t]*-+[ \t]+(?=[^\s\d])")
_ATTRIBUTES = r"(?:\s[^<>]{0,100})?/?>"
_INLINE_TAG = re.compile(rf"</?(?:a|b|i|u|s|em|strong|span|sub|sup|mark|small|font|code){_ATTRIBUTES}", re.IGNORECASE)
_BLOCK_TAG = re.compile(
    rf"</?(?:p|br|hr|li|ul|ol|dl|dt|dd|div|table|tr|td|th|h[1-6]|section|article|pre|body|html){_ATTRIBUTES}",
    re.IGNORECASE,
)
_AMPERSAND = re.compile(r"(?<!\S)&(?:amp;)?(?=\s)")
_SPOKEN_STOP = re.compile(r"(?i:\s(?:period|full stop|new (?:line|paragraph)))(?=\s+[A-Z]|\s*$)")
_BULLET = re.compile(r"(?<!\S)[*#>]+(?!\S)|(?<=\S)\*\*\s+(?=\*\*\S)")
# A question ends its sentence, unless it is a label that yes or no answers ("Effusion? No.").
_ASKED = re.compile(
    r"(?<=[A-Za-z]\?)\s++(?!(?i:no|none|nil|negative|absent|yes|positive|present|tiny|trace|small|mild|moderate|large)"
    r"\s*(?:[.;,]|$))"
    r"(?=[A-Z][a-z]|(?i:answer|yes|no|none|not|negative|positive)\b)"
)
_LIST_LETTER = re.compile(r"(?<!\S)\(?(?:[a-h]|i{1,3}|iv|vi{0,3})\)(?= )")

# Words that stand for others, rewritten before anything is matched. Few texts have any, so each is looked for first.
_SHORTHAND = {
    "and/or": "or",
    "+/-": "with possible",
    "s/p": "status post",
    "c/w": "consistent with",
    "w/out": "without",
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
_LIST_NUMBER = re.compile(
    r"[(#\d](?<![^ .:;,].)(?:(?<=\d)\d?|(?<=[(#])\d{1,2})(?:[.)](?= ?[a-z?\"*])| ?:(?= [a-z])|/(?= [a-z]))"
)
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
    """Lower-cases, removes what can't be matched (control characters, redaction marks, markup), spells out shorthand,
    puts slips right.

    List items and paragraphs that begin with a capital are set off by " . ".
    """
    aligned = AlignedText(report)
    if not report.isascii():
        aligned = aligned.replace(_NOT_ASCII, lambda found: _as_ascii(found.group()))
    text = aligned.text
    if "\n" in text:
        aligned = aligned.replace(_NEW_BLOCK, " . ")
    if "<" in text or "&" in text:
        aligned = aligned.replace(_INLINE_TAG, " ").replace(_BLOCK_TAG, " . ")
        aligned = aligned.replace(_AMPERSAND, " and ")
    if "*" in text or "#" in text or ">" in text:
        aligned = aligned.replace(_BULLET, " . ")
    if "eriod" in text or "ERIOD" in text or "ull stop" in text or "ew " in text:
        aligned = aligned.replace(_SPOKEN_STOP, " . ")
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
    if "-" in text or "+" in text:
        aligned = aligned.replace(_SIGN, lambda found: " present ;" if "+" in found.group() else " absent ;")
    text = aligned.text
    if ";" in text or ":" in text or "?" in text:
        aligned = aligned.replace(_MARK, lambda found: f" {found.group()} ")
    if "  " in aligned.text:
        aligned = aligned.replace(_SPACES, " ")
    aligned = correct(aligned)
    text = aligned.text
    return aligned.replace(_COMMA, ", ") if " ," in text or text.count(",") != text.count(", ") else aligned


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
    text = cleaned.text
    sentences: list[Sentence] = []
    at = 0
    for stop in _FULL_STOP.finditer(text):
        _add_sentence(sentences, cleaned, at, stop.start(), is_finished=True)
        at = stop.end()
    _add_sentence(sentences, cleaned, at, len(text), is_finished=False)
    return tuple(sentences)


def _add_sentence(sentences: list[Sentence], report: AlignedText, start: int, end: int, *, is_finished: bool) -> None:
    """Adds ``[start, end)`` without the marks at its edges, if there is more, in pieces where it is too long."""
    while end - start > _LONGEST_SENTENCE:
        space = report.text.rfind(" ", start + 1, start + _LONGEST_SENTENCE)
        stop = space if space > 0 else start + _LONGEST_SENTENCE
        _add_sentence(sentences, report, start, stop, is_finished=False)
        start = stop
    words = report.text[start:end].lstrip(_EDGE)
    start = end - len(words)
    if words := words.rstrip(_EDGE):
        sentences.append(Sentence(words, report, start, is_finished))


def _headings(text: str) -> Iterator[tuple[int, int, str]]:
    """The headings as edits: "findings : clear" becomes ". clear"."""
    at = 0
    while (colon := text.find(" :", at)) >= 0:
        found = _HEADING.search(text, max(at, colon - _LONGEST_HEADING), colon)
        at = colon + 2
        if found:
            yield found.start(), at, " . "
