"""From raw report text to cleaned sentences: lower case, single spaces, abbreviations written out."""

import re
from collections.abc import Iterator

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_TYPOGRAPHIC = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": " - ", "−": "-", "•": " . ", "ı": "i", "æ": "ae", "œ": "oe"}
)

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
_SLASHED = tuple(word for word in _SHORTHAND if "/" in word)
_UNSLASHED = tuple(word for word in _SHORTHAND if "/" not in word)
_REDACTED = re.compile(r"_+|\[\*\*[^\]]{0,100}\*\*\]|\bxx+\b")
_EITHER = re.compile(r"(?<=[a-z])/(?=[a-z])")
_COMMA = re.compile(r" ?,(?: |(?!\d))")

# A heading needs its colon, because line breaks carry no meaning (exports wrap and join lines at will).
_HEADING = re.compile(
    r"\b(?:final report|wet read|findings(?: and impression| or impression)?|impressions?|conclusions?|indications?"
    r"|comparisons?|techniques?|examinations?|exam|(?:clinical )?history|reason for (?:exam(?:ination)?|study)|summary"
    r"|recommendations?|notifications?|narrative|views?|procedure(?: comments)?|end of impression|addendum)$"
)
_LONGEST_HEADING = 30
_FINAL_REPORT = re.compile(r"\bfinal report\b")
# Both patterns begin with the characters they can't do without, which is what makes a search fast.
_LIST_NUMBER = re.compile(r"[(#\d](?<![^ .:;,].)(?:(?<=\d)\d?|(?<=[(#])\d{1,2})[.)](?= ?[a-z?\"])")
_FULL_STOP = re.compile(
    r"[.!](?:(?<![.!].)[.!]*+(?=[ ,;:?\"')]|$)|(?<=[a-z)\]][a-z)\]]\.)(?=[a-z])|(?<=\d\.)(?=[a-z]{2}))"
)
_EDGE = " .,:-*\"'#=|"
_LONGEST_SENTENCE = 1_500


def clean(text: str) -> str:
    """Lower-cases, removes what can't be matched (control characters, redaction marks), spells out shorthand."""
    if not text.isascii():
        text = text.translate(_TYPOGRAPHIC).casefold().translate(_TYPOGRAPHIC)
    text = " ".join(text.lower().split())
    if not (text.isascii() and text.isprintable()):
        text = _UNPRINTABLE.sub(" ", text)
    if "_" in text or "xx" in text or "[**" in text:
        text = _REDACTED.sub(" ", text)
    for word in _UNSLASHED:
        if word in text:
            text = _SHORTHAND_PATTERNS[word].sub(_SHORTHAND[word], text)
    if "/" in text and _SLASHED_WORD.search(text):
        for word in _SLASHED:
            if word in text:
                text = _SHORTHAND_PATTERNS[word].sub(_SHORTHAND[word], text)
        text = _EITHER.sub(" or ", text)
    for mark in ";:?":
        if mark in text:
            text = " ".join(text.replace(mark, f" {mark} ").split())
    if " ," in text or text.count(",") != text.count(", "):
        text = _COMMA.sub(", ", text)
    return " ".join(text.split()) if "  " in text or text[:1] == " " or text[-1:] == " " else text


def split_sentences(text: str) -> tuple[str, ...]:
    """The cleaned sentences of a report, without empty ones; ``Mention.sentence_index`` counts these.

    Sentences end at full stops (also where the space after one is missing, not inside "1.5 cm"), before the numbers
    of a list and around headings with a colon. Line breaks are plain white space. What runs on for more than 1,500
    characters is cut between words, so that the time a text takes is in proportion to its length.
    """
    cleaned = clean(text)
    if " :" in cleaned or "final report" in cleaned:
        cleaned = _without_headings(cleaned)
    if _LIST_NUMBER.search(cleaned):
        cleaned = _LIST_NUMBER.sub(" . ", cleaned)
    sentences: list[str] = []
    for stretch in cleaned.split(". "):
        pieces = _FULL_STOP.split(stretch) if "." in stretch or "!" in stretch else (stretch,)
        for piece in pieces:
            if stripped := piece.strip(_EDGE):
                if len(stripped) > _LONGEST_SENTENCE:
                    sentences.extend(_cut(stripped))
                else:
                    sentences.append(stripped)
    return tuple(sentences)


def _without_headings(cleaned: str) -> str:
    """Headings become full stops: "findings : clear" is ". clear"."""
    *heads, rest = _FINAL_REPORT.sub(" . ", cleaned).split(" :")
    kept = []
    for head in heads:
        tail_start = max(0, len(head) - _LONGEST_HEADING)
        found = _HEADING.search(head, tail_start)
        kept.append(f"{head[: found.start()]} . " if found else f"{head} :")
    return "".join((*kept, rest))


def _cut(sentence: str) -> Iterator[str]:
    start = 0
    while len(sentence) - start > _LONGEST_SENTENCE:
        space = sentence.rfind(" ", start + 1, start + _LONGEST_SENTENCE)
        stop = space if space > 0 else start + _LONGEST_SENTENCE
        if piece := sentence[start:stop].strip(_EDGE):
            yield piece
        start = stop
    if piece := sentence[start:].strip(_EDGE):
        yield piece
