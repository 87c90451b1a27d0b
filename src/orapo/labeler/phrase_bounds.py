"""Where the words that modify a mention can stand: noun phrases, lists, predicates of a sentence.

All functions take a masked sentence: modifiers, but for "likely" and its like, are written over with "~", so that what
stands inside one bounds nothing. Positions count its characters.
"""

import re

from orapo.labeler.lexicon import scope_words

MASK = "~"
_CONNECTORS = r",|;|:|\band\b|\bor\b|\bnor\b|\bversus\b|\bas well as\b|\bplus\b"
_IDENTIFIES = (
    r"represent\w*|reflect\w*|consistent with|compatible with|in keeping with|suspicious for|concerning for"
    r"|worrisome for|(?:may|might|could|can) be|due to|suggest\w*|favou?red"
    r"|(?:is|are) (?:most )?likely(?! ?[,;]| and\b| but\b)|combination of"
)
_LIKELY = "likely|probably|presum\\w+"
_STOP = re.compile(
    rf"{_CONNECTORS}|\b(?:{scope_words('verbs')}|{scope_words('places')}|{_IDENTIFIES}|within|may|might|could|can|no"
    rf"|without|possibl[ey]|probable|suspected|{_LIKELY})\b"
)
_CONNECTOR = re.compile(_CONNECTORS)
_PARTITIVE = re.compile(r"\b(?:amounts?|degree|areas?|volume|foci|focus|layer|component) of\b")
_SUBJECTS = scope_words("other_subjects")
_SUBJECT = re.compile(rf"\b(?:{_SUBJECTS})\b")
_MODIFIERS_ONLY = re.compile(r"(?: ?(?:~++|[a-z]++)){1,4} ?")
_LOCATIVE = "in|at|on|within|along|involving|throughout|over|overlying"
_STARTS_WITH_PLACE = re.compile(rf"[ ,;]*(?:again )?(?:{_LOCATIVE}) ")
_PLACE_THERE = re.compile(rf"(?:^|[,;]) ?(?:again )?(?:{_LOCATIVE}) [^,;]*,? ?there(?: \w+)? ?$")
_HOLDS = re.compile(r" (?:in|within|along|at|of|involving) ?")
_ASSERTS = re.compile(r"\b(?<!there )(?:is|are|has|have|was|were)\b")
_SHOWS = re.compile(
    r"(?:the |both )?(?:[a-z]+ |~++ ?){1,4}"
    r"(?:shows?|demonstrates?|contains?|has|have|is|are|appears?|remains?)(?: an?)? ?"
)
_LIST = re.compile(rf" ?(?:, ?(?:and|or)?|and|or|nor|versus|plus|as well as)((?: (?!(?:{_STOP.pattern}))[\w~-]+)* ?)")
_COMMA = re.compile(r" ?,(?! ?(?:and|or)\b)")
_ARTICLE = re.compile(r"\b(?:the|an?|this|these)\b")
_DETERMINER = re.compile(rf"~|{_ARTICLE.pattern}")
_NEW_SUBJECT = re.compile(
    rf"(?:,|;|\band\b|\bor\b)(?: the| both| remaining)?(?: [\w~-]+){{0,2}}? (?:{_SUBJECTS}) (?:is|are|has|have|remains?"
    r"|appears?)\b|(?:,|;|\band\b|\bbut\b) ?(?:none|no|not|nothing|without|only)\b"
)
_IDENTIFIED = re.compile(rf"\b(?:{_IDENTIFIES})\b")
_PLURAL = re.compile(r"\b(?:are|have|were|remain|appear|persist|both|all)\b")
_TIP = re.compile(r"\b(?:tips?|terminat\w*|ends?|ending|project\w*|extend\w*|cours\w*)\b")
_APPOSITION = re.compile(
    rf"(?: (?:in|at|of|within|the|both|lungs?|{MASK}+))* ?[,(] ?(?:most )?(?:{_LIKELY}|favou?r(?:ed|ing|s)?) (?:~+ )*"
)
_NOW = re.compile(r" ?(?:now|but|although|though|yet|albeit|however)?,? ?(?:is |are |remains? )?(?:now |still )?")
_DEGREE_ENDS = re.compile(
    r" ?(?:$|,|;|\)|~|in (?:size|extent|degree|severity|volume|amount)|(?:and|but|on|at)\b|enlarge|widen|dilat"
    r"|prominen)"
)
_LINKED = re.compile(r"\b(?:is|are|seems?|appears?|remains?) (?:\w+ )?$")
_PREDICATE_ENDS = re.compile(r" ?(?:$|,|;|\)|and\b|but\b|present\b|in\b|on\b|at\b)")
_AFTER_CONNECTOR = re.compile(r"(?:,|;|\band\b) ?$")
_CHANGE_ENDS = re.compile(
    r" ?(?:$|,|;|\)|~|in (?:size|extent|degree|severity|volume|the interval|appearance)\b"
    r"|(?:since|from|than|to|with|when|compared|on|as|and|but|by|over|at|overall|again|now|\w+ly)\b)"
)


def without_partitives(masked: str) -> str:
    """The sentence with "amount of" and the like written over: what stands before modifies what stands after."""
    return _PARTITIVE.sub(lambda found: "x" * (found.end() - found.start()), masked)


def phrase_start(masked: str, low: int, high: int, *, is_first: bool) -> int:
    """Where the noun phrase that ends at ``high`` starts, not before ``low``.

    Modifiers in a list of their own belong to it ("small right and moderate left effusions"); after another mention
    only after a connector ("effusion, small, and ...").
    """
    stops = [*_STOP.finditer(masked, low, high)]
    start = stops[-1].end() if stops else low
    for index in range(len(stops) - 1, -1, -1):
        begin = stops[index - 1].end() if index else low
        piece = masked[begin : stops[index].start()]
        if not _CONNECTOR.fullmatch(stops[index].group()) or not _is_modifiers_only(piece):
            break
        if not is_first and (not index or stops[index - 1].group() not in ("and", "or")):
            break
        start = begin
    return start


def _is_modifiers_only(piece: str) -> bool:
    return MASK in piece and _MODIFIERS_ONLY.fullmatch(piece) is not None and not _SUBJECT.search(piece)


def leads(masked: str, low: int, high: int) -> bool:
    """Whether a place before tells where what follows is: "in the right lung, ...", "both lower lobes show ..."."""
    front = masked[low:high]
    if _SHOWS.fullmatch(front):
        return True
    return _STARTS_WITH_PLACE.match(front) is not None and not _ASSERTS.search(front)


def there_start(masked: str, low: int, high: int) -> int:
    """Where a place before "there is" starts, or ``high`` where none stands in ``[low, high)``."""
    found = _PLACE_THERE.search(masked[low:high])
    return low + found.start() if found else high


def is_list(masked: str, start: int, stop: int) -> bool:
    """Whether only a connector and words of the second phrase stand between two mentions."""
    return _LIST.fullmatch(masked, start, stop) is not None


def is_bare_list(masked: str, start: int, stop: int) -> bool:
    """Whether the second of two mentions in a list has neither modifier nor article of its own."""
    return is_list(masked, start, stop) and not _DETERMINER.search(masked, start, stop)


def is_joined(masked: str, start: int, stop: int) -> bool:
    """Whether a conjunction connects two mentions, the second without article."""
    return (
        is_list(masked, start, stop) and not is_comma(masked, start, stop) and not _ARTICLE.search(masked, start, stop)
    )


def is_comma(masked: str, start: int, stop: int) -> bool:
    """Whether no word, but a comma, connects two mentions."""
    return _COMMA.match(masked, start, stop) is not None


def is_predicate(masked: str, start: int, end: int) -> bool:
    """Whether ``[start, end)`` is what a verb before it says, and nothing follows: "is likely"."""
    return _LINKED.search(masked, 0, start) is not None and _PREDICATE_ENDS.match(masked, end) is not None


def identifies(masked: str, start: int, stop: int) -> bool:
    """Whether the first mention is said to be the second: "may represent", "concerning for"."""
    return _IDENTIFIED.search(masked, start, stop) is not None


def is_apposition(masked: str, start: int, stop: int) -> bool:
    """Whether only a comma, "likely" and modifiers stand between two mentions."""
    return _APPOSITION.fullmatch(masked, start, stop) is not None


def is_renewed(masked: str, start: int, degree_start: int, degree_end: int) -> bool:
    """Whether a degree is what a new clause says at once: "now moderate", "but is large"."""
    return _NOW.fullmatch(masked, start, degree_start) is not None and ends_degree(masked, degree_end)


def predicate_end(masked: str, start: int, stop: int) -> int:
    """Where what is said after a mention turns to another subject."""
    other = _NEW_SUBJECT.search(masked, start, stop)
    return other.start() if other else stop


def is_plural(masked: str, start: int, stop: int) -> bool:
    """Whether a verb between the two, or "both", speaks of several; "lines and tubes unchanged" has left it out."""
    return _PLURAL.search(masked, start, stop) is not None or masked[start:stop] == " "


def names_tip(masked: str, start: int, stop: int) -> bool:
    """Whether the words between speak of where a device ends."""
    return _TIP.search(masked, start, stop) is not None


def ends_degree(masked: str, at: int) -> bool:
    """Whether a degree that ends at ``at`` stands alone and modifies no noun after it."""
    return _DEGREE_ENDS.match(masked, at) is not None


def ends_change(masked: str, at: int) -> bool:
    """Whether a change that ends at ``at`` modifies no noun after it."""
    return _CHANGE_ENDS.match(masked, at) is not None


def stands_alone(masked: str, start: int, end: int) -> bool:
    """Whether ``[start, end)`` opens no noun phrase of its own (", improved aeration")."""
    return ends_change(masked, end) or not _AFTER_CONNECTOR.search(masked, 0, start)


def holds_place(masked: str, start: int, stop: int) -> bool:
    """Whether the second mention is the place of the first, so that its own place is the first's too."""
    return _HOLDS.fullmatch(masked, start, stop) is not None


def has_connector(masked: str, start: int, stop: int) -> bool:
    """Whether a comma, colon or conjunction stands between."""
    return _CONNECTOR.search(masked, start, stop) is not None


def names_subject(masked: str, start: int, stop: int) -> bool:
    """Whether a noun stands between that what follows may be said of."""
    return _SUBJECT.search(masked, start, stop) is not None
