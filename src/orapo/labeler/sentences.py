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
    r"\b(?:and/or|s/p|c/w|w/o|w/|r/o|h/o|d/t|b/l|a/w|vs\.?|dr\.|approx\.|e\.g\.|i\.e\.)(?:(?<=w/)|(?![a-z0-9]))|\+/-"
)
_MAY_HOLD_SHORTHAND = re.compile(r"/|\bvs\b|\bdr\.|x\.|e\.")
_REDACTED = re.compile(r"_+|\[\*\*.*?\*\*\]|\bxx+\b")
_EITHER = re.compile(r"(?<=[a-z])/(?=[a-z])")
_LOOSE_MARK = re.compile(r" ?([;:?]) ?")
_COMMA = re.compile(r" ?,(?: |(?!\d))")

# A heading needs its colon, because line breaks carry no meaning (exports wrap and join lines at will).
_HEADING = re.compile(
    r"\b(?:(?:final report|wet read|findings(?: and impression| or impression)?|impressions?|conclusions?|indications?"
    r"|comparisons?|techniques?|examinations?|exam|(?:clinical )?history|reason for (?:exam(?:ination)?|study)|summary"
    r"|recommendations?|notifications?|narrative|views?|procedure(?: comments)?|end of impression|addendum) :"
    r"|final report\b)"
)
_LIST_NUMBER = re.compile(r"(?:^|(?<=[ .:;,]))[(#]?\d{1,2}[.)](?= ?[a-z?\"])")
_HAS_LIST_NUMBER = re.compile(r"\d[.)]")
_FULL_STOP = re.compile(r"[.!]+(?=[ ,;:?\"')]|$)|\.+(?<=[a-z)\]][a-z)\]]\.)(?=[a-z])|\.(?<=\d\.)(?=[a-z]{2})")
_EDGE = " .,:-*\"'#=|"


def clean(text: str) -> str:
    """Lower-cases, removes what can't be matched (control characters, redaction marks), spells out shorthand."""
    if not text.isascii():
        text = text.translate(_TYPOGRAPHIC).casefold().translate(_TYPOGRAPHIC)
    text = " ".join(text.lower().split())
    if not (text.isascii() and text.isprintable()):
        text = _UNPRINTABLE.sub(" ", text)
    if "_" in text or "xx" in text or "[**" in text:
        text = _REDACTED.sub(" ", text)
    if _MAY_HOLD_SHORTHAND.search(text):
        text = _EITHER.sub(" or ", _SHORTHAND_PATTERN.sub(lambda found: _SHORTHAND[found.group()], text))
    if ";" in text or ":" in text or "?" in text:
        text = _LOOSE_MARK.sub(r" \1 ", text)
    return " ".join(_COMMA.sub(", ", text).split())


def split_sentences(text: str) -> tuple[str, ...]:
    """The cleaned sentences of a report, without empty ones; ``Mention.sentence_index`` counts these.

    Sentences end at full stops (also where the space after one is missing, not inside "1.5 cm"), before the numbers
    of a list and around headings with a colon. Line breaks are plain white space.
    """
    cleaned = clean(text)
    if " :" in cleaned or "final report" in cleaned:
        cleaned = _HEADING.sub(" . ", cleaned)
    if _HAS_LIST_NUMBER.search(cleaned):
        cleaned = _LIST_NUMBER.sub(" . ", cleaned)
    return tuple(stripped for piece in _FULL_STOP.split(cleaned) if (stripped := piece.strip(_EDGE)))
