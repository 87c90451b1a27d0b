"""What a denial takes for granted: "no cavitation in the consolidation", "no change in the effusions", "neither has grown"."""

import re
from collections.abc import Sequence

from orapo.labeler.lexicon import Effect, scope_words
from orapo.labeler.segments import Cue, Hit, Segment

# Prepositions and what else may lead from what is denied to a finding; what suggests one is denied with it.
_LINK = re.compile(
    r"\b(?:(?P<suggests>to (?:suggest|indicate|support|account|explain|represent|confirm|be|warrant)\w*|suggest\w*|indicat\w+"
    r"|concerning|suspicious|worrisome|consistent|compatible|representing|reflecting|such as|like|including|in keeping with"
    r"|in favou?r of|diagnostic|characteristic|typical)"
    r"|(?P<of>of|for|from|by|due to|related to|secondary to|about|regarding|as to)"
    r"|(?P<at>within|inside|in(?!to)|into|on|at|above|below|beneath|under|underneath|underlying|overlying|superimposed (?:up)?on"
    r"|over|behind|around|near|next to|adjacent to|along|alongside|associated with|accompanying|complicating|surrounding"
    r"|involving|beside|to(?= (?:the|this|these|those|an?|his|her|known|left|right)\b)|through|across|between))\b"
)
_DEFINITE = re.compile(
    r" ?(?:the|this|these|those|that|his|her|its|both|known|existing|pre-?existing|previously|prior|same"
    r"|an? (?:known|existing|previously))\b"
)
_TRANSPARENT = re.compile(rf"\b(?:{scope_words('evidence_nouns')})(?: or \w+)? ?$")
_FINITE = re.compile(r"\b(?:is|are|was|were|has|have|had|requires?|needs?|needed|required)\b")

_EXISTS = (
    r"(?:be(?:en)? |to be |now |also |definitely |clearly |\w+ly )*(?:seen|identified|visible|visuali[sz]ed|present|evident"
    r"|appreciated|demonstrated|noted|detected|apparent|observed|found|shown|recogni[sz]ed|suspected|there|developed"
    r"|recurred|appeared|occurred|formed|accumulated|excluded|ruled out|possible|likely|suggested|here)\b"
)
_PREDICATE = re.compile(
    rf"(?: (?:on|in|at) (?:the |either )?[\w-]+(?: [\w-]+)?)? (?:has|have|had|is|are|was|were|appears?|shows?|looks?)"
    rf"(?: any)? (?!{_EXISTS})[a-z]"
)
_EXCLUDED = re.compile(
    r" (?:can|could|may|has|have|is|are)(?: be| been)?(?: \w+ly)? (?:excluded|ruled out|discounted|dismissed)\b"
)
_CHANGED = re.compile(
    r"(?: (?:on|in|at) the [\w-]+(?: [\w-]+)?)? (?:(?:has|have|had|is|are|was|were) )?(?:\w+ly |been |yet )*"
    r"(?:changed|enlarged|grown|increased|decreased|improved|worsened|progressed|moved|migrated|larger|smaller|bigger)\b"
)


def presupposes(words: str, *, after_finding: bool = False) -> bool:
    """Whether the words from a denial, or from the last thing denied, to a finding take the finding for granted.

    They do where it is where something is denied ("no fracture underlying the pneumothorax"), and where a definite one
    has something that is denied ("no enlargement of the nodule"), unless evidence of it is ("no sign of the effusion").

    Args:
        words: before the finding.
        after_finding: they follow another finding, which is what is denied, not the denial itself.
    """
    for link in reversed([*_LINK.finditer(words)]):
        if link["suggests"]:
            return False
        if link["at"]:
            return after_finding or bool(words[: link.start()].strip())
        if not (after_finding or words[: link.start()].strip()) or _TRANSPARENT.search(words, 0, link.start()):
            continue
        if _DEFINITE.match(words, link.end()):
            return True
    return False


def is_about_something_else(words: str) -> bool:
    """Whether a verb stands between a denial and a finding: "no treatment is needed for the effusion"."""
    found = _FINITE.search(words)
    return found is not None and not re.search(
        r"\b(?:suggest|indicat|concern|suspicious|consistent)", words[found.end() :]
    )


def denied_predicate(segment: Segment, cue: Cue, reached: Sequence[int]) -> Effect:
    """What a denial does where it denies a predicate: "none of the effusions has enlarged", "neither can be excluded"."""
    if not reached:
        return Effect.NEGATION
    text, end = segment.sentence, segment.hits[reached[-1]].end
    is_whole = cue.text in ("neither", "none", "nor")
    if is_whole and _EXCLUDED.match(text, end, segment.end):
        return Effect.RULED_OPEN
    is_denied_change = (_PREDICATE if is_whole else _CHANGED).match(text, end, segment.end) is not None
    return Effect.PRESUPPOSED if is_denied_change else Effect.NEGATION


def subjects_head(text: str, hits: Sequence[Hit], index: int) -> int:
    """The hit that a predicate behind hit ``index`` speaks of: "opacity above the effusion has resolved" is the opacity."""
    while index > 0:
        gap = text[hits[index - 1].end : hits[index].start]
        if re.search(r",|\b(?:and|or|nor|with|is|are|was|were|has|have)\b", gap) or not presupposes(
            gap, after_finding=True
        ):
            break
        index -= 1
    return index
