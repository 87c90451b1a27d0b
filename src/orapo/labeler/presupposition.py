"""What a denial takes for granted: "no cavitation in the consolidation", "neither effusion has grown"."""

import re
from collections.abc import Sequence

from orapo.labeler.lexicon import Effect, scope_words
from orapo.labeler.segments import Cue, Hit, Segment

# What may lead from a thing denied to a finding: the finding is denied with what suggests it, not with what is in it.
_SUGGESTS = (
    r"to (?:suggest|indicate|support|account|explain|represent|confirm|be|warrant)\w*|suggest\w*|indicat\w+|concerning"
    r"|suspicious|worrisome|consistent|compatible|representing|reflecting|such as|like|including|in keeping with"
    r"|in favou?r of|diagnostic|characteristic|typical"
)
_OF = r"of|for|from|by|due to|related to|secondary to|about|regarding|as to"
_AT = (
    r"within|inside|in(?!to)|into|on|at|above|below|beneath|under|underneath|underlying|overlying"
    r"|superimposed (?:up)?on|over|behind|around|near|next to|adjacent to|along|alongside|associated with"
    r"|(?:to )?accompan(?:ying|ies|y)|complicat(?:ing|es|e)|surround(?:ing|s)|involving|beside|through|across|between"
    r"|to(?= (?:the|this|these|those|an?|his|her|known|left|right)\b)"
)
_LINK = re.compile(rf"\b(?:(?P<suggests>{_SUGGESTS})|(?P<of>{_OF})|(?P<at>{_AT}))\b")
_DEFINITE = re.compile(
    r" ?(?:the|this|these|those|that|his|her|its|both|known|existing|pre-?existing|previously|prior|same"
    r"|an? (?:known|existing|previously))\b"
)
_DETERMINERS = re.compile(r"(?: |\b(?:the|an?|any|this|these|some|other|further)\b)*")
_FORMER = re.compile(r"\b(?:prior|previous|earlier|treated|resolved|former|remote)\b")
_TRANSPARENT = re.compile(rf"\b(?:{scope_words('evidence_nouns')})(?: or \w+)? ?$")
_FINITE = re.compile(r"\b(?:is|are|was|were|has|have|had|requires?|needs?|needed|required)\b")
_SUGGESTED = re.compile(r"\b(?:suggest|indicat|concern|suspicious|consistent)")
_LIST_OR_VERB = re.compile(r",|\b(?:and|or|nor|with|is|are|was|were|has|have)\b")

_HAS = r"(?:has|have|had|is|are|was|were|can|could|may)\b"
_AT_A_PLACE = rf"(?: (?:on|in|at) (?:the |either )?[\w-]+(?: (?!{_HAS})[\w-]+){{0,3}})?"
_EXISTS = (
    r"(?:be(?:en)? |to be |now |also |definitely |clearly |\w+ly )*(?:seen|identified|visible|visuali[sz]ed|present"
    r"|evident|appreciated|demonstrated|noted|detected|apparent|observed|found|shown|recogni[sz]ed|suspected|there|developed"
    r"|recurred|appeared|occurred|formed|accumulated|excluded|ruled out|possible|likely|suggested|here)\b"
)
_EXCLUDED = re.compile(rf"{_AT_A_PLACE} {_HAS}(?: be| been)?(?: \w+ly)? (?:excluded|ruled out|discounted|dismissed)\b")
_PREDICATE = re.compile(
    rf"{_AT_A_PLACE} (?:has|have|had|is|are|was|were|appears?|shows?|looks?)(?: any)? (?!{_EXISTS})[a-z]"
)
_OTHER_VERB = re.compile(
    rf"{_AT_A_PLACE} (?:requires?|needs?|extends?|contains?|demonstrates?|exhibits?|reach(?:es)?|measures?|seems?"
    r"|causes?|cross(?:es)?|exceeds?|involves?|abuts?|persists?|remains?)\b"
)
_CHANGE = re.compile(
    rf"{_AT_A_PLACE} (?:(?:has|have|had|is|are|was|were) )?(?:\w+ly |been |yet )*"
    r"(?:changed|enlarged|grown|increased|decreased|improved|worsened|progressed|moved|migrated|larger|smaller|bigger)\b"
)


def presupposes(words: str, *, after_finding: bool = False) -> bool:
    """Whether the words between a denial (or the last thing denied) and a finding presuppose the finding.

    They do where the finding tells the place of what is denied ("no fracture underlying the pneumothorax"), and where
    what is denied is a property of a definite finding ("no enlargement of the nodule"). They don't where only evidence
    of the finding is denied ("no sign of the effusion").

    Args:
        words: before the finding.
        after_finding: they follow another finding, which is what is denied, not the denial itself.
    """
    for link in reversed([*_LINK.finditer(words)]):
        follows_noun = after_finding or _DETERMINERS.fullmatch(words, 0, link.start()) is None
        if link["suggests"] or _FORMER.search(words, link.end()):
            return False
        if link["at"]:
            return follows_noun
        if follows_noun and _TRANSPARENT.search(words, 0, link.start()) is None and _DEFINITE.match(words, link.end()):
            return True
    return False


def is_about_something_else(words: str) -> bool:
    """Whether a verb stands between a denial and a finding: "no treatment is needed for the effusion"."""
    found = _FINITE.search(words, len(" have") if words.startswith(" have ") else 0)
    return found is not None and _SUGGESTED.search(words, found.end()) is None


def denied_predicate(segment: Segment, cue: Cue, reached: Sequence[int]) -> Effect:
    """The effect of a denial on the hits ``reached``: it may deny only their predicate ("none has enlarged").

    Returns:
        NEGATION; PRESUPPOSED where the findings are present and a change is denied; RULED_OPEN where an exclusion is
        denied ("neither is excluded").
    """
    if not reached:
        return Effect.NEGATION
    text, end = segment.sentence, segment.hits[reached[-1]].end
    denies_each = cue.text in ("neither", "none", "nor")
    if denies_each and _EXCLUDED.match(text, end, segment.end):
        return Effect.RULED_OPEN
    patterns = (_PREDICATE, _OTHER_VERB) if denies_each else (_CHANGE,)
    is_there = any(pattern.match(text, end, segment.end) for pattern in patterns)
    return Effect.PRESUPPOSED if is_there else Effect.NEGATION


def subject_before(text: str, hits: Sequence[Hit], index: int) -> int:
    """The hit that a predicate after hit ``index`` applies to: the opacity in "opacity above the effusion cleared"."""
    while index > 0:
        gap = text[hits[index - 1].end : hits[index].start]
        if _LIST_OR_VERB.search(gap) or not presupposes(gap, after_finding=True):
            break
        index -= 1
    return index
