"""From raw report text to cleaned sentences: lower case, single spaces, abbreviations written out."""

import re

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_TYPOGRAPHIC = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": " - ", "−": "-", "•": " . ", "ı": "i", "æ": "ae", "œ": "oe"}
)

# Words that stand for others, rewritten before anything is matched. One alternation, so one pass over the text.
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
    "vs.": "versus",
    "vs": "versus",
    "dr.": "dr",
    "approx.": "approximately",
    "e.g.": "such as",
    "i.e.": "that is",
}
_SHORTHAND_PATTERN = re.compile(
    r"(?<![a-z0-9])(?:" + "|".join(re.escape(short) for short in _SHORTHAND) + r")(?=[^a-z0-9]|$|(?<=w/))"
)
_REDACTED = re.compile(r"_+|(?<![a-z])xx+(?![a-z])|\[\*\*.*?\*\*\]")
_EITHER = re.compile(r"(?<=[a-z])/(?=[a-z])")
_LOOSE_MARK = re.compile(r" ?([;:?]) ?")
_COMMA = re.compile(r" ?, ?(?!\d)")
_SPACES = re.compile(r"\s+")

# A heading needs its colon, because line breaks carry no meaning (exports wrap and join lines at will).
_HEADING = (
    r"(?:final report|wet read|findings(?: and impression| or impression)?|impressions?|conclusions?|indications?"
    r"|comparisons?|techniques?|examinations?|exam|(?:clinical )?history|reason for (?:exam(?:ination)?|study)|recommendations?"
    r"|notifications?|summary|narrative|views?|procedure(?: comments)?|end of impression|addendum)"
)
_BOUNDARY = re.compile(
    r"(?:[.!]+(?=[\s\"')]|$)|(?<=[a-z)\]]{2})\.+(?=[a-z])|(?<=\d)\.(?=[a-z]{2})|\? (?=\?)"  # full stops
    r"|(?:^|(?<=[\s.:;,]))[(#]?\d{1,2}[.)](?=\s*[a-z?\"])"  # "1." before words: a numbered list
    r"|(?<![a-z])final report(?![a-z])"
    rf"|(?<![a-z]){_HEADING} :)"
)
_EDGE = " .,:-*\"'#=|"


def clean(text: str) -> str:
    """Lower-cases, removes what can't be matched (control characters, de-identification marks), spells out shorthand."""
    text = text.translate(_TYPOGRAPHIC).casefold().translate(_TYPOGRAPHIC)
    text = _REDACTED.sub(" ", _UNPRINTABLE.sub(" ", text))
    if "/" in text or "vs" in text or "." in text:
        text = _SHORTHAND_PATTERN.sub(lambda found: _SHORTHAND[found.group()], text)
        text = _EITHER.sub(" or ", text)
    text = _COMMA.sub(", ", _LOOSE_MARK.sub(r" \1 ", text))
    return _SPACES.sub(" ", text).strip()


def split_sentences(text: str) -> tuple[str, ...]:
    """The cleaned sentences of a report, without empty ones; ``Mention.sentence_index`` counts these.

    Sentences end at full stops (also where the space after one is missing, not inside "1.5 cm"), before the numbers
    of a list and around headings with a colon. Line breaks are plain white space.
    """
    sentences = (piece.strip(_EDGE) for piece in _BOUNDARY.split(clean(text)))
    return tuple(sentence for sentence in sentences if sentence)
