"""What a report says of a finding beyond whether it's there: side, place, severity, size, certainty and change."""

import re
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from orapo.chexpert import LabelState, Observation

_LIKELY = re.compile(r"\b(?<!less )(?<!not )(?:likely|probabl\w+|presum\w+|suspe\w+|suspici\w+|favou?r\w*)\b")
_UNLIKELY = re.compile(r"\b(?:unlikely|(?:less|not) likely|doubtful)\b")
_GONE = re.compile(
    r"\b(?:resol\w+|remov\w+|clear(?:ed|ing|ance)|no(?:t any)? ?(?:longer|more)|disappear\w+|extubated|gone|evacuated"
    r"|discontinu\w+|withdraw\w+|vanished|subsided|normali[sz]ed|(?:re-?)?absorbed|extracted|explanted|taken out)\b"
)
_UNSIDED = (Observation.CARDIOMEGALY, Observation.ENLARGED_CARDIOMEDIASTINUM)


class Side(StrEnum):
    """The patient's left or right."""

    LEFT = "left"
    RIGHT = "right"
    BILATERAL = "bilateral"


class Place(StrEnum):
    """Where in the lung or pleura a finding is, or where a device ends."""

    APEX = "apex"
    UPPER = "upper"
    MID = "mid"
    LOWER = "lower"
    BASE = "base"
    PERIHILAR = "perihilar"
    RETROCARDIAC = "retrocardiac"
    LINGULA = "lingula"
    COSTOPHRENIC_ANGLE = "costophrenic angle"
    SUPERIOR_VENA_CAVA = "superior vena cava"
    CAVOATRIAL_JUNCTION = "cavoatrial junction"
    STOMACH = "stomach"


DEVICE_PLACES = frozenset((Place.SUPERIOR_VENA_CAVA, Place.CAVOATRIAL_JUNCTION, Place.STOMACH))
"""Places of devices alone."""


class Severity(StrEnum):
    """Severity or size, from least to most; a range counts as its upper end."""

    TRACE = "trace"
    MILD = "mild"
    """Also small, minimal, slight."""
    MODERATE = "moderate"
    SEVERE = "severe"
    """Also large, marked, massive, extensive."""


class Certainty(StrEnum):
    """From most to least, after Panicek and Hricak's lexicon (AJR 2016): suspicious for and probable are likely."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"
    UNLIKELY = "unlikely"
    DENIED = "denied"


class Change(StrEnum):
    """Since an earlier study."""

    NEW = "new"
    LARGER = "larger"
    """Also worse."""
    SMALLER = "smaller"
    """Also better, or gone in part."""
    UNCHANGED = "unchanged"
    RESOLVED = "resolved"
    """Also a device that was removed; only of what is denied now."""


class Attributes(NamedTuple):
    """What the text states of one mention; None where it states nothing, two things, or nothing clear.

    Attributes:
        certainty: always stated.
        side: never of the heart or the mediastinum.
        place: never of the heart or the mediastinum.
        severity: never of devices or of what is denied ("no large effusion" says nothing of a size).
        size_mm: longest measured length in millimetres, above 0; never of devices or of what is denied.
        change: of what is denied, RESOLVED or None.
    """

    certainty: Certainty
    side: Side | None = None
    place: Place | None = None
    severity: Severity | None = None
    size_mm: float | None = None
    change: Change | None = None


class Stated(NamedTuple):
    """What the words around a phrase say of it, whatever is asserted; the fields are those of ``Attributes``."""

    is_likely: bool = False
    side: Side | None = None
    place: Place | None = None
    severity: Severity | None = None
    size_mm: float | None = None
    change: Change | None = None


def attributes_of(stated: Stated, observation: Observation, state: LabelState, cue: str) -> Attributes:
    """What is left of the modifiers of a phrase, given what is asserted.

    Args:
        stated: by the words around the phrase.
        observation: that the phrase counts for.
        state: of the mention.
        cue: the words that decided the state.
    """
    certainty = _certainty(observation, state, cue, is_likely=stated.is_likely)
    side, place = (None, None) if observation in _UNSIDED else (stated.side, stated.place)
    if certainty is Certainty.DENIED:
        return Attributes(certainty, side, place, change=Change.RESOLVED if _GONE.search(cue) else None)
    change = stated.change
    if observation is Observation.SUPPORT_DEVICES:
        return Attributes(certainty, side, place, change=change if change in (Change.NEW, Change.UNCHANGED) else None)
    return Attributes(certainty, side, place, stated.severity, stated.size_mm, change)


@lru_cache(maxsize=4_096)
def _certainty(observation: Observation, state: LabelState, cue: str, *, is_likely: bool) -> Certainty:
    if state is LabelState.UNCERTAIN:
        if _UNLIKELY.search(cue):
            return Certainty.UNLIKELY
        return Certainty.LIKELY if _LIKELY.search(cue) else Certainty.POSSIBLE
    if state is LabelState.NEGATIVE and observation is not Observation.NO_FINDING:
        return Certainty.DENIED
    return Certainty.LIKELY if is_likely else Certainty.CERTAIN
