"""How a denial or a hedge extends over a list: "no A, B or C" denies three, "no A, small B" denies one."""

import re
from typing import NamedTuple

from orapo.labeler.lexicon import Effect, PhraseKind, scope_words
from orapo.labeler.presupposition import is_about_something_else, presupposes
from orapo.labeler.segments import Cue, Hit, Segment

VERB = re.compile(rf"\b(?:{scope_words('verbs')})\b")
STOPS = (Effect.NEGATION, Effect.RULED_OPEN)
"""Effects of a cue that another cue's reach ends before."""

_CONNECTOR = re.compile(r",(?: and\b| or\b| nor\b)?|\b(?:and|or|nor|as well as|plus)\b")
_JOINING = ("as well as", "plus")
_OR_LATER = re.compile(r"\b(?:or|nor)\b")
_CONJUNCTION_LATER = re.compile(r"\b(?:or|nor|and|versus)\b")
_PLACE = re.compile(rf"\b(?:{scope_words('places')})\b")
_OF_DEVICE = re.compile(r" ?(?:(?:\w+ ){0,2}(?:evidence|signs?) )?(?:of|for)(?: an?| the)? ?(?:\w+ ){0,3}")

_STATEMENT_STARTS, _ITEM_STARTS = scope_words("statement_starts"), scope_words("item_starts")
_NEW_STATEMENT = re.compile(rf"\s*(?:{_STATEMENT_STARTS})\b")
_NEW_ITEM = re.compile(rf"\s*(?:{_STATEMENT_STARTS}|{_ITEM_STARTS})\b")
_SIZE_ONLY = re.compile(r"\s*(?:mild|moderate|small|tiny|trace|minimal|slight|patchy|hazy|streaky|low)\b")
_LIST_WORDS = re.compile(rf"\s*(?:(?:{scope_words('list_words')})\s*)*$")
_ASSERTED = re.compile(
    r" ?(?:\w+ ){0,2}(?:remains?|persists?|appears?|continues?|(?:is|are|has|have|was|were) (?!(?:been )?"
    r"(?:seen|identified|noted|present|visuali|demonstrated|evident|appreciated|detected|found|observed|apparent"
    r"|definite\w*|clear\w* (?:seen|evident))))"
)
_PREDICATE = re.compile(r"\b(?:represents?|reflects?|suggests?|indicates?|is|are|was|were|has|have|may|might|could)\b")
_INCLUDING = re.compile(r" (?:including|such as|in particular|specifically|namely|whether|either)\b")
_CLOSED_NOUN = re.compile(
    r"\b(?:disease|process|abnormalit(?:y|ies)|findings?|pathology|change)\b"
    rf"(?: ?:| (?!that\b|which\b)(?:{_STATEMENT_STARTS}|{_ITEM_STARTS})\b)"
)
_SUGGESTING = re.compile(
    r" (?:(?:findings?|signs?|changes?|abnormalit(?:y|ies)) )?(?:that|which) (?:(?:is|are|would|could|might|may|be) )*"
    r"(?:suggest|indicat|concerning|suspicious|worrisome|typical|characteristic|diagnostic|consistent|compatible|point"
    r"|support|represent|reflect|raise|explain)"
)
_PLACE_AS_SUBJECT = re.compile(
    r" (?:(?:of the|the|left|right|upper|lower|middle|pleural|costophrenic) )*"
    r"(?:lungs?|hemithora(?:x|ces)|sides?|bas[ei]s?|ap(?:ex|ices)|spaces?|angles?|lobes?|zones?|views?|fields?"
    r"|hemidiaphragms?)(?: is| are| was| were| has| have| had| shows?| contains?)\b"
)
_MARK = re.compile(r" ?[:/]")
_ARTICLE = re.compile(r"\s*(the|an?)\b")
_OWN_ARTICLE = re.compile(r"\b(the|an?) (?:[\w-]+ ){0,3}$")
_INVERTED = re.compile(r" (?:is|are|was|were|has|have|does|do|did) (?:there|it|this|the|an?|any)\b")
_IN_A_PLACE = re.compile(r" (?:in|on|at|within) ")
_OTHER_SIDE = re.compile(
    r" (?:left|right)(?:[ -]sided)?,? (?:and|but) (?:an? )?(?:\w+ )?(?:left|right)(?:[ -]sided)? (?:\w+ )?$"
)


class Gap(NamedTuple):
    """The words between a cue, or a hit that it reaches, and the next hit.

    Attributes:
        words: all of them.
        before: those before the last connector, all where there is none.
        connector: a comma, a conjunction or both; "" where there is none.
        behind: those behind the last connector.
        is_first: it follows the cue.
        is_of: the cue is a noun and "of" ("removal of"), which a list goes on with more readily.
    """

    words: str
    before: str
    connector: str
    behind: str
    is_first: bool
    is_of: bool

    @classmethod
    def of(cls, words: str, *, is_first: bool = False, is_of: bool = False) -> "Gap":
        """Finds the last connector."""
        found = [*_CONNECTOR.finditer(words)]
        if not found:
            return cls(words, words, "", "", is_first, is_of)
        last = found[-1]
        return cls(words, words[: last.start()], last.group(), words[last.end() :], is_first, is_of)

    @property
    def takes_for_granted(self) -> bool:
        """Whether its hit is where, or what, something denied is of."""
        if self.connector:
            return presupposes(self.behind, after_finding=_IN_A_PLACE.match(self.behind) is not None)
        return presupposes(self.words, after_finding=not self.is_first)


def negation_carries(segment: Segment, index: int, gap: Gap) -> bool:
    """Whether a negation in front still holds for hit ``index``, after ``gap``."""
    hit = segment.hits[index]
    if hit.is_elliptical:
        return gap.is_first and not gap.connector
    if not gap.connector:
        is_other_kind = not gap.is_first and segment.hits[index - 1].phrase.is_device != hit.phrase.is_device
        return not is_other_kind and _denial_reaches(hit, gap)
    if _INCLUDING.match(gap.behind):
        return True
    if VERB.search(gap.before) and not (gap.is_first and _PLACE_AS_SUBJECT.match(gap.words)):
        return False
    if (gap.takes_for_granted and hit.phrase.is_named) or (gap.is_first and _OTHER_SIDE.match(gap.words)):
        return False
    return "or" in gap.connector or _list_goes_on(segment, index, gap)


def _denial_reaches(hit: Hit, gap: Gap) -> bool:
    """Whether a negation holds over words without a comma or conjunction."""
    if hit.phrase.is_device and _PLACE.search(gap.words) is not None:
        return gap.is_first and _OF_DEVICE.fullmatch(gap.words) is not None
    if _SUGGESTING.match(gap.words):
        return True
    if not gap.is_first and _MARK.match(gap.words):
        return False
    if (gap.takes_for_granted and hit.phrase.is_named) or _is_about_something_else(gap):
        return False
    if gap.is_first:
        return _CLOSED_NOUN.search(gap.words) is None
    return hit.phrase.kind is not PhraseKind.NEUTRAL and _NEW_ITEM.match(gap.words) is None


def _is_about_something_else(gap: Gap) -> bool:
    if _INVERTED.match(gap.words) or (gap.is_first and _PLACE_AS_SUBJECT.match(gap.words)):
        return False
    return is_about_something_else(gap.words)


def _list_goes_on(segment: Segment, index: int, gap: Gap) -> bool:
    """Whether a hit after a comma or "and" is one more denied item, and no new statement."""
    hits = segment.hits
    if hits[index].phrase.kind is PhraseKind.NEUTRAL and hits[index - 1].phrase.kind is not PhraseKind.NEUTRAL:
        return False
    if (article := _ARTICLE.match(gap.behind)) is not None:
        is_parallel = _closes(segment, index, _OR_LATER) or _has_article(segment, index - 1, article[1])
        return is_parallel and not _is_asserted(segment, index)
    if _NEW_STATEMENT.match(gap.behind) or _PREDICATE.search(gap.behind):
        return False
    if "and" in gap.connector or gap.connector in _JOINING:
        return (gap.is_of or _NEW_ITEM.match(gap.behind) is None) and not _is_asserted(segment, index)
    if _closes(segment, index, _OR_LATER):
        return not (_SIZE_ONLY.match(gap.behind) and gap.is_first)
    if _is_repeated(segment, index):
        return False
    return _LIST_WORDS.match(gap.behind) is not None and not _is_asserted(segment, index)


def hedge_carries(segment: Segment, index: int, gap: Gap) -> bool:
    """Whether a hedge in front ("possible", "may represent") still holds for hit ``index``; it stops sooner."""
    if segment.hits[index].is_elliptical:
        return gap.is_first and not gap.connector
    if not gap.connector:
        if gap.is_first:
            return not gap.takes_for_granted
        return not any(pattern.search(gap.words) for pattern in (_PLACE, VERB)) and _NEW_ITEM.match(gap.words) is None
    if (not gap.is_first and VERB.search(gap.before)) or gap.takes_for_granted:
        return False
    if "or" in gap.connector:
        return True
    if (article := _ARTICLE.match(gap.behind)) is not None and not gap.connector.startswith(","):
        is_parallel = article[1] != "the" or _has_article(segment, index - 1, "the")
        return is_parallel and not _is_asserted(segment, index)
    if (_NEW_ITEM if gap.connector.startswith(",") else _NEW_STATEMENT).match(gap.behind):
        return False
    return "and" in gap.connector or gap.connector in _JOINING or _closes(segment, index, _CONJUNCTION_LATER)


def has_a_word_for_each(segment: Segment, cue: Cue) -> bool:
    """Whether a list repeats its denial before each item, so that an item without it isn't denied: "no A, no B, C"."""
    return segment.sentence.endswith(", ", 0, cue.start) and any(
        other.end <= cue.start and other.text == cue.text for other in segment.cues
    )


def _closes(segment: Segment, index: int, closing: re.Pattern[str]) -> bool:
    """Whether a conjunction after hit ``index`` ends the list that it stands in, before any verb or other negation."""
    start = segment.hits[index].end
    stop = next((cue.start for cue in segment.cues if cue.start >= start and cue.effect in STOPS), segment.end)
    verb = VERB.search(segment.sentence, start, stop)
    return closing.search(segment.sentence, start, verb.start() if verb else stop) is not None


def _has_article(segment: Segment, index: int, article: str) -> bool:
    """Whether the previous hit of a list has the same article, so that the list continues."""
    found = _OWN_ARTICLE.search(segment.sentence, segment.start, segment.hits[index].start) if index >= 0 else None
    return found is not None and found[1][0] == article[0]


def _is_repeated(segment: Segment, index: int) -> bool:
    """Whether a list says again what it said before: "no effusion on the right, large effusion on the left"."""
    words = [segment.sentence[hit.start : hit.end].removesuffix("s") for hit in segment.hits[index - 1 : index + 1]]
    return len(words) == 2 and words[0] == words[1]


def _is_asserted(segment: Segment, index: int) -> bool:
    return _ASSERTED.match(segment.sentence, segment.hits[index].end, segment.end) is not None
