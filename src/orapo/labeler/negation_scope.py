"""How far a cue reaches over a list: "no A, B or C" negates three, "no A, small B" negates one."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache

from orapo.labeler.lexicon import Effect, PhraseKind, Reach, scope_words
from orapo.labeler.presupposition import is_about_something_else, presupposes, subjects_head
from orapo.labeler.segments import Cue, Hit, Segment

_VERB = re.compile(rf"\b(?:{scope_words('verbs')})\b")
_CONNECTOR = re.compile(r",(?: and\b| or\b| nor\b)?|\b(?:and|or|nor|as well as|plus)\b")
_JOINING = ("as well as", "plus")
_CLOSING = re.compile(r"\b(?:or|nor)\b")
_CLOSING_HEDGED = re.compile(r"\b(?:or|nor|and|versus)\b")
_PART_OF_DEVICE = re.compile(r" (?:\w+ )?(?:tip|tips|end|ends|course|portion|side ?-?(?:port|hole)s?)\b")
_PLACE = re.compile(rf"\b(?:{scope_words('places')})\b")

_STATEMENT_STARTS = scope_words("statement_starts")

_NEW_STATEMENT = re.compile(rf"\s*(?:{_STATEMENT_STARTS})\b")
_NEW_ITEM = re.compile(rf"\s*(?:{_STATEMENT_STARTS}|{scope_words('item_starts')})\b")
_SIZE_ONLY = re.compile(r"\s*(?:mild|moderate|small|tiny|trace|minimal|slight|patchy|hazy|streaky|low)\b")
_LIST_WORDS = re.compile(rf"\s*(?:(?:{scope_words('list_words')})\s*)*$")
_ASSERTED = re.compile(
    r" ?(?:\w+ ){0,2}(?:remains?|persists?|appears?|continues?|(?:is|are|has|have|was|were) (?!(?:been )?"
    r"(?:seen|identified|noted|present|visuali|demonstrated|evident|appreciated|detected|found|observed|apparent"
    r"|definite\w*|clear\w* (?:seen|evident))))"
)
_OF_DEVICE = re.compile(r" ?(?:(?:\w+ ){0,2}(?:evidence|signs?) )?(?:of|for)(?: an?| the)? ?(?:\w+ ){0,3}")
_ANSWER = re.compile(r"(?:: ?)?(?:none|nil|no|absent|negative|neither|resolved)$")
_ANSWERED = re.compile(r"\b(?:none|nil|no|absent|present|yes|negative|positive|small|moderate|large|trace|mild)\b|[:=]")
_REMOVAL = re.compile(r"remov|extubat|discontinu|extract|explant|taken out|withdraw")

_ANOTHER_SUBJECT = re.compile(
    r" (?!(?:which|that|and|has|have|previously|prior|now|also|likely|seen|noted|as|on|in|both|all|if)\b)[a-z]"
)

# Behind a comma these name examples of what is denied.
_INCLUDING = re.compile(r" (?:including|such as|in particular|specifically|namely|whether|either)\b")
# The noun of a denial is said, and a new item follows without a mark: "no acute disease mild cardiomegaly".
_CLOSED_NOUN = re.compile(
    r"\b(?:disease|process|abnormalit(?:y|ies)|findings?|pathology|change)\b"
    rf"(?: ?:| (?:{_STATEMENT_STARTS}|{scope_words('item_starts')})\b)"
)
_ARTICLE = re.compile(r"\s*(the|an?)\b")
_OWN_ARTICLE = re.compile(r"\b(the|an?) (?:[\w-]+ ){0,3}$")
_INVERTED = re.compile(r" (?:is|are|was|were|has|have|does|do|did) (?:there|it|this)\b")
_IN = re.compile(r" (?:in|on|at|within) ")
_ANOTHER_SIDE = re.compile(
    r" (?:left|right)(?:[ -]sided)?,? (?:and|but) (?:an? )?(?:\w+ )?(?:left|right)(?:[ -]sided)? (?:\w+ )?$"
)
_FORWARD_STOPS = (Effect.NEGATION, Effect.RULED_OPEN)


def _closes(segment: Segment, index: int, closing: re.Pattern[str] = _CLOSING) -> bool:
    """Whether an "or" after hit ``index`` ends the list that it stands in, before any verb or further negation."""
    start = segment.hits[index].end
    stop = next((cue.start for cue in segment.cues if cue.start >= start and cue.effect in _FORWARD_STOPS), segment.end)
    verb = _VERB.search(segment.sentence, start, stop)
    return closing.search(segment.sentence, start, verb.start() if verb else stop) is not None


def _last_connector(gap: str) -> tuple[str, str, str]:
    """The words before the last connector of a gap, the connector ("" when there is none) and the words behind it."""
    found = [*_CONNECTOR.finditer(gap)]
    if not found:
        return gap, "", ""
    return gap[: found[-1].start()], found[-1].group(), gap[found[-1].end() :]


def negation_carries(segment: Segment, index: int, gap: str, *, is_first: bool) -> bool:
    """Whether a negation in front still holds for hit ``index``, ``gap`` being the words since the cue or last hit."""
    hit = segment.hits[index]
    before, connector, behind = _last_connector(gap)
    if hit.is_elliptical:
        return is_first and not connector
    if not connector:
        return _denial_reaches(hit, gap, is_first=is_first)
    if _INCLUDING.match(behind):
        return True
    if (
        _VERB.search(before)
        or presupposes(behind, after_finding=_IN.match(behind) is not None)
        or (is_first and _ANOTHER_SIDE.match(gap))
    ):
        return False
    if "or" in connector:
        return True
    if hit.phrase.kind is PhraseKind.NEUTRAL:
        return False
    if (article := _ARTICLE.match(behind)) is not None:
        parallel = _closes(segment, index) or _has_article(segment, index - 1, article[1])
        return parallel and not _asserted_after(segment, index)
    if _NEW_STATEMENT.match(behind):
        return False
    if "and" in connector or connector in _JOINING:
        return _NEW_ITEM.match(behind) is None and not _asserted_after(segment, index)
    if _is_repeated(segment, index):
        return False
    if _closes(segment, index):
        return not (_SIZE_ONLY.match(behind) and is_first)
    return _LIST_WORDS.match(behind) is not None and not _asserted_after(segment, index)


def _denial_reaches(hit: Hit, gap: str, *, is_first: bool) -> bool:
    """Whether a negation holds over words without a comma or conjunction."""
    if hit.phrase.is_device and _PLACE.search(gap) is not None:
        return is_first and _OF_DEVICE.fullmatch(gap) is not None
    if presupposes(gap, after_finding=not is_first):
        return False
    if is_about_something_else(gap) and _INVERTED.match(gap) is None:
        return False
    if is_first:
        return _CLOSED_NOUN.search(gap) is None
    return hit.phrase.kind is not PhraseKind.NEUTRAL and _NEW_ITEM.match(gap) is None


def _has_article(segment: Segment, index: int, article: str) -> bool:
    """Whether the hit before in a list has the same article, so that the list goes on with it."""
    found = _OWN_ARTICLE.search(segment.sentence, segment.start, segment.hits[index].start) if index >= 0 else None
    return found is not None and found[1][0] == article[0]


def _is_repeated(segment: Segment, index: int) -> bool:
    """Whether a list says again what it said before: "no effusion on the right, large effusion on the left"."""
    words = [segment.sentence[hit.start : hit.end].removesuffix("s") for hit in segment.hits[index - 1 : index + 1]]
    return len(words) == 2 and words[0] == words[1]


def hedge_carries(segment: Segment, index: int, gap: str, *, is_first: bool) -> bool:
    """Whether a hedge in front ("possible", "may represent") still holds for hit ``index``; it stops sooner."""
    before, connector, behind = _last_connector(gap)
    if segment.hits[index].is_elliptical:
        return is_first and not connector
    if not connector:
        if is_first:
            return not presupposes(gap)
        return _PLACE.search(gap) is None and _VERB.search(gap) is None and _NEW_ITEM.match(gap) is None
    if (not is_first and _VERB.search(before)) or presupposes(behind, after_finding=_IN.match(behind) is not None):
        return False
    if "or" in connector:
        return True
    if (_NEW_ITEM if connector.startswith(",") else _NEW_STATEMENT).match(behind):
        return False
    return "and" in connector or connector in _JOINING or _closes(segment, index, _CLOSING_HEDGED)


def _asserted_after(segment: Segment, index: int) -> bool:
    return _ASSERTED.match(segment.sentence, segment.hits[index].end, segment.end) is not None


def _has_a_word_for_each(segment: Segment, cue: Cue) -> bool:
    """Whether a list denies each of its items by a word of its own, so that one without isn't denied: "no A, no B, C"."""
    return segment.sentence.endswith(", ", 0, cue.start) and any(
        other.end <= cue.start and other.text == cue.text for other in segment.cues
    )


@cache
def _repeated_preposition(word: str) -> re.Pattern[str] | None:
    """Where a list says the preposition of its cue again."""
    return re.compile(rf"((?:,|\band|\bor|\bnor) ){word} ") if word in ("of", "in", "for", "from", "to") else None


def _hits_after(segment: Segment, cue: Cue, carries: Callable[..., bool]) -> Iterator[int]:
    previous, is_first = cue.end, True
    has_own = _has_a_word_for_each(segment, cue)
    own_preposition = _repeated_preposition(cue.text.rpartition(" ")[2])
    own_stop = next(
        (
            other.start
            for other in segment.cues
            if other.start >= cue.end
            and other.effect in _FORWARD_STOPS
            and other.reach is Reach.AFTER
            and not (cue.text == "neither" and other.text == "nor")
        ),
        segment.end,
    )
    for index, hit in enumerate(segment.hits):
        if hit.start < cue.end:
            continue
        if hit.start >= own_stop:
            return
        gap = segment.sentence[previous : hit.start]
        if own_preposition is not None:
            gap = own_preposition.sub(r"\1", gap)  # "no change in the edema or in the effusion"
        if not carries(segment, index, gap, is_first=is_first) or (not is_first and has_own and gap == ", "):
            return
        yield index
        previous, is_first = max(previous, hit.end), False


def _hits_before(segment: Segment, cue: Cue) -> Iterator[int]:
    """The subject of the cue: the nearest hit in front of it, then leftwards over a list closed by "and" or "or"."""
    following: Hit | None = None
    saw_conjunction = answers = _ANSWER.match(cue.text) is not None and (
        cue.text not in ("resolved", "removed") or segment.sentence[: cue.start].rstrip()[-1:] in tuple(":=(-?")
    )
    index = sum(hit.end <= cue.start for hit in segment.hits)
    while index > 0:
        index -= 1
        hit = segment.hits[index]
        gap = segment.sentence[hit.end : following.start if following else cue.start]
        before, connector, behind = _last_connector(gap)
        if connector and _VERB.search(before):
            return
        if following is None:
            if hit.phrase.is_device and _PART_OF_DEVICE.match(gap):
                return  # "the tube's tip isn't seen" leaves the tube where it is
            if connector == "," and _ANOTHER_SUBJECT.match(behind):
                return  # "tube in place, tip not seen": it's the tip that isn't seen
            index = subjects_head(segment.sentence, segment.hits, index)
        else:
            if not connector and _VERB.search(gap):
                return
            if answers and _ANSWERED.search(gap):
                return
            saw_conjunction |= "or" in connector or "and" in connector
            if connector == "," and not saw_conjunction:
                return
        yield index
        following = segment.hits[index]


def taken_for_granted(segment: Segment, cue: Cue, reached: Sequence[int]) -> Sequence[int]:
    """The list that a denial begins to speak of by taking it for granted: "no growth of the nodule or the effusion"."""
    first = reached[-1] + 1 if reached else next((i for i, hit in enumerate(segment.hits) if hit.start >= cue.end), -1)
    if not 0 <= first < len(segment.hits):
        return ()
    start = segment.hits[first].start
    words = segment.sentence[segment.hits[first - 1].end if reached else cue.end : start]
    if not presupposes(words, after_finding=bool(reached)):
        return ()
    return [*_hits_after(segment, cue._replace(start=start, end=start), negation_carries)]


def _nearest_on_both_sides(segment: Segment, cue: Cue) -> Iterator[int]:
    before = [index for index, hit in enumerate(segment.hits) if hit.end <= cue.start]
    after = [index for index, hit in enumerate(segment.hits) if hit.start >= cue.end]
    yield from before[-1:]
    yield from after[:1]


def reached_hits(segment: Segment, cue: Cue) -> Sequence[int]:
    """Indices of the hits of the segment that the cue speaks of.

    Devices are removed, findings resolve: "removed" doesn't make an effusion go, nor "resolved" a tube.
    """
    if cue.effect is Effect.PRESUPPOSED:
        return [index for index, hit in enumerate(segment.hits) if hit.start >= cue.end][:1]
    if cue.reach is Reach.AROUND:
        indices = _nearest_on_both_sides(segment, cue)
    elif cue.reach is Reach.BEFORE:
        indices = _hits_before(segment, cue)
    else:
        indices = _hits_after(segment, cue, hedge_carries if cue.effect is Effect.UNCERTAIN else negation_carries)
    if cue.effect is not Effect.NEGATION or not (is_removal := _REMOVAL.search(cue.text) is not None):
        return [*indices]
    hits = segment.hits
    return [index for index in indices if hits[index].phrase.is_device == is_removal]


_OR_BEHIND = re.compile(r" or\b(?! (?:larger|more|greater|so|less|two|three|four)\b)")
_OR_BETWEEN = re.compile(r",? ?or (?:[\w-]+ ){0,5}$|(?: [\w-]+){0,5},? or (?:[\w-]+ ){0,5}$")
_OR_IN_FRONT = re.compile(r"\bor (?!(?:two|three|four|more|left|right)\b)(?:[\w-]+ ){0,2}$")
_SIDES = re.compile(r"\b(?:left|right|one|upper|lower|middle|mid) or (?:[\w-]+ ){0,3}$")


def alternatives(segment: Segment) -> frozenset[int]:
    """Indices of hits that are offered as alternatives ("atelectasis or pneumonia"), whatever else is said of them."""
    text, hits = segment.sentence, segment.hits
    flagged = [False] * len(hits)
    for index, hit in enumerate(hits):
        if _OR_BEHIND.match(text, hit.end, segment.end):
            flagged[index] = True
        front = text[hits[index - 1].end if index else segment.start : hit.start]
        if "or" not in front or _VERB.search(front) or _SIDES.search(front):
            continue
        if index and _OR_BETWEEN.match(front):
            flagged[index] = True
            flagged[index - 1] |= not any(hits[index - 1].end <= cue.start < hit.start for cue in segment.cues)
        elif not index and _OR_IN_FRONT.search(front):
            flagged[index] = True
    for index in range(len(hits) - 2, -1, -1):  # "A, B or C": the comma joins A to the alternatives
        if flagged[index + 1] and text[hits[index].end : hits[index + 1].start] == ", ":
            flagged[index] = True
    return frozenset(index for index, is_alternative in enumerate(flagged) if is_alternative)
