"""The phrases and cues that the labeler knows, read from reviewable TOML files and compiled to scanners."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache, partial
from importlib.resources import files
from typing import Any, NamedTuple

from orapo.chexpert import LabelState, Observation
from orapo.labeler.scanner import Places, Scanner


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
    EXCEPTION = "exception"
    PRESUPPOSED = "presupposed"
    NONE = "none"
    NORMAL = "normal"
    ENLARGED = "enlarged"
    BORDERLINE = "borderline"
    STABLE = "stable"


class Told(NamedTuple):
    """What a phrase in one state says of one observation; ``cue`` names the phrase where no other words decide."""

    observation: Observation
    state: LabelState
    cue: str


_WORDS = re.compile(r"<(\w+)>")
RANKS = {Effect.PRESUPPOSED: 4, Effect.RULED_OPEN: 3, Effect.NEGATION: 2, Effect.UNCERTAIN: 1}
"""Which effect on a mention decides, the highest."""


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
    when_positive: tuple[Told, ...] = ()
    when_negative: tuple[Told, ...] = ()
    when_uncertain: tuple[Told, ...] = ()

    @property
    def is_named(self) -> bool:
        """Whether it names one of the other 13 observations, not just an abnormality that speaks against No Finding."""
        return self.observations != (Observation.NO_FINDING,)

    @property
    def when_unqualified(self) -> tuple[Told, ...]:
        """What the phrase states where no cue negates or hedges it."""
        return self.when_uncertain if self.kind is PhraseKind.HEDGED else self.when_positive

    def told(self, state: LabelState) -> tuple[Told, ...]:
        """What the phrase says where it's positive, negative or uncertain."""
        if state is LabelState.NEGATIVE:
            return self.when_negative
        return self.when_positive if state is LabelState.POSITIVE else self.when_uncertain


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
    places: Places


def read_lexicon_file(name: str) -> dict[str, Any]:
    return tomllib.loads(files("orapo.labeler").joinpath("lexicon", name).read_text(encoding="utf-8"))


@cache
def scope_words(name: str) -> str:
    """One class of ``lexicon/scope.toml`` as the inside of an alternation, "a|b|c"."""
    return "|".join(read_lexicon_file("scope.toml")[name])


def _told(
    observations: Sequence[Observation], also_uncertain: Sequence[Observation], name: str, state: LabelState
) -> tuple[Told, ...]:
    """For No Finding, another abnormality speaks against it unless it's negated."""
    told = []
    for observation in observations:
        if observation is not Observation.NO_FINDING:
            told.append(Told(observation, state, ""))
        elif state is not LabelState.NEGATIVE:
            told.append(Told(observation, LabelState.NEGATIVE if state is LabelState.POSITIVE else state, ""))
    if state is not LabelState.NEGATIVE:
        told += [Told(observation, LabelState.UNCERTAIN, name) for observation in also_uncertain]
    return tuple(told)


def _phrase(entry: Mapping[str, Any], default_observations: Sequence[str]) -> Phrase:
    observations = tuple(Observation(name) for name in entry.get("observations", default_observations))
    also_uncertain = tuple(Observation(name) for name in entry.get("also_uncertain", ()))
    told = partial(_told, observations, also_uncertain, entry["name"])
    return Phrase(
        name=entry["name"],
        observations=observations,
        forms=tuple(entry["forms"]),
        example=entry["example"],
        state=LabelState(entry["state"]),
        kind=PhraseKind(entry.get("kind", "finding")),
        bare_positive=entry.get("bare_positive", False),
        also_uncertain=also_uncertain,
        guards=Observation(entry["guards"]) if "guards" in entry else None,
        only_quirks=entry.get("only_quirks"),
        is_device=observations == (Observation.SUPPORT_DEVICES,),
        when_positive=told(LabelState.POSITIVE),
        when_negative=told(LabelState.NEGATIVE),
        when_uncertain=told(LabelState.UNCERTAIN),
    )


def spell_out(form: str, words: Mapping[str, str]) -> str:
    """A form with each ``<name>`` replaced by its entries of ``words``, recursively."""
    while (expanded := _WORDS.sub(lambda found: words[found[1]], form)) != form:
        form = expanded
    return form


def _cue(entry: Mapping[str, Any], words: Mapping[str, str]) -> CueFamily:
    forms = tuple(spell_out(form, words) for form in entry["forms"])
    return CueFamily(
        name=entry["name"],
        effect=(effect := Effect(entry["effect"])),
        forms=forms,
        example=entry["example"],
        mention=entry["mention"],
        state=LabelState(entry["state"]),
        reach=Reach(entry.get("reach", "after")),
        only_quirks=entry.get("only_quirks"),
        rank=RANKS.get(effect, 0),
    )


@cache
def load_lexicon(vocabulary: str) -> Lexicon:
    """Reads and compiles the package's lexicon files for "none" or "original" quirks; cached, it's immutable."""
    cue_file = read_lexicon_file("cues.toml")
    phrases = tuple(
        phrase
        for phrase in (
            *(_phrase(entry, ()) for entry in read_lexicon_file("observations.toml")["phrase"]),
            *(_phrase(entry, ("No Finding",)) for entry in read_lexicon_file("other_abnormalities.toml")["phrase"]),
        )
        if phrase.only_quirks in (None, vocabulary)
    )
    cues = tuple(
        cue
        for cue in (_cue(entry, cue_file["words"]) for entry in cue_file["cue"])
        if cue.only_quirks in (None, vocabulary)
    )
    phrase_scanner = Scanner([phrase.forms for phrase in phrases])
    cue_scanner = Scanner([cue.forms for cue in cues])
    return Lexicon(phrases, cues, phrase_scanner, cue_scanner, Places(phrase_scanner, cue_scanner))
