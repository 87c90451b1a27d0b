"""The phrases and cues that the labeler knows, read from reviewable TOML files and compiled to scanners."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.resources import files
from typing import Any

from orapo.chexpert import LabelState, Observation
from orapo.labeler.scanner import Scanner


class PhraseKind(Enum):
    """How a phrase comes to its state when no cue reaches it."""

    FINDING = "finding"
    NEUTRAL = "neutral"
    HEDGED = "hedged"


class Effect(Enum):
    """What a cue does to the mentions within its reach."""

    RULED_OPEN = "ruled_open"
    NEGATION = "negation"
    UNCERTAIN = "uncertain"
    BREAK = "break"
    NONE = "none"
    NORMAL = "normal"
    ENLARGED = "enlarged"
    BORDERLINE = "borderline"
    STABLE = "stable"


_RANKS = {Effect.RULED_OPEN: 3, Effect.NEGATION: 2, Effect.UNCERTAIN: 1}


class Reach(Enum):
    """Where a cue finds its mentions."""

    AFTER = "after"
    BEFORE = "before"
    AROUND = "around"


@dataclass(frozen=True, slots=True)
class Phrase:
    """One family of phrases; see the head of ``lexicon/observations.toml`` for the meaning of each field."""

    name: str
    observations: tuple[Observation, ...]
    forms: tuple[str, ...]
    example: str
    state: LabelState
    kind: PhraseKind = PhraseKind.FINDING
    bare_positive: bool = False
    also_uncertain: tuple[Observation, ...] = ()
    guards: Observation | None = None
    only_quirks: str | None = None
    is_device: bool = False


@dataclass(frozen=True, slots=True)
class CueFamily:
    """One family of cues; see the head of ``lexicon/cues.toml`` for the meaning of each field."""

    name: str
    effect: Effect
    forms: tuple[str, ...]
    example: str
    mention: str
    state: LabelState
    reach: Reach = Reach.AFTER
    only_quirks: str | None = None
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Lexicon:
    """All families of one vocabulary; the scanners report indices of ``phrases`` and ``cues``."""

    phrases: tuple[Phrase, ...]
    cues: tuple[CueFamily, ...]
    phrase_scanner: Scanner
    cue_scanner: Scanner


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(files("orapo.labeler").joinpath("lexicon", name).read_text(encoding="utf-8"))


@cache
def scope_words(name: str) -> str:
    """One class of ``lexicon/scope.toml`` as the inside of an alternation, "a|b|c"."""
    return "|".join(_read("scope.toml")[name])


def _phrase(entry: Mapping[str, Any], default_observations: Sequence[str]) -> Phrase:
    observations = tuple(Observation(name) for name in entry.get("observations", default_observations))
    return Phrase(
        name=entry["name"],
        observations=observations,
        forms=tuple(entry["forms"]),
        example=entry["example"],
        state=LabelState(entry["state"]),
        kind=PhraseKind(entry.get("kind", "finding")),
        bare_positive=entry.get("bare_positive", False),
        also_uncertain=tuple(Observation(name) for name in entry.get("also_uncertain", ())),
        guards=Observation(entry["guards"]) if "guards" in entry else None,
        only_quirks=entry.get("only_quirks"),
        is_device=observations == (Observation.SUPPORT_DEVICES,),
    )


def _cue(entry: Mapping[str, Any], words: Mapping[str, str]) -> CueFamily:
    forms = tuple(re.sub(r"<(\w+)>", lambda found: words[found.group(1)], form) for form in entry["forms"])
    return CueFamily(
        name=entry["name"],
        effect=(effect := Effect(entry["effect"])),
        forms=forms,
        example=entry["example"],
        mention=entry["mention"],
        state=LabelState(entry["state"]),
        reach=Reach(entry.get("reach", "after")),
        only_quirks=entry.get("only_quirks"),
        rank=_RANKS.get(effect, 0),
    )


@cache
def load_lexicon(vocabulary: str) -> Lexicon:
    """Reads and compiles the package's lexicon files for "none" or "original" quirks; cached, it's immutable."""
    cue_file = _read("cues.toml")
    phrases = tuple(
        phrase
        for phrase in (
            *(_phrase(entry, ()) for entry in _read("observations.toml")["phrase"]),
            *(_phrase(entry, ("No Finding",)) for entry in _read("other_abnormalities.toml")["phrase"]),
        )
        if phrase.only_quirks in (None, vocabulary)
    )
    cues = tuple(
        cue
        for cue in (_cue(entry, cue_file["words"]) for entry in cue_file["cue"])
        if cue.only_quirks in (None, vocabulary)
    )
    return Lexicon(phrases, cues, Scanner([phrase.forms for phrase in phrases]), Scanner([cue.forms for cue in cues]))
