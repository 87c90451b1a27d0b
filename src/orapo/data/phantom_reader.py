"""A second reader of phantom reports: a strict parser of their grammar, which shares no rule with the labeler.

It knows the whole sentences that a phantom report is made of and nothing else: no lexicon, no negation scope. A
sentence that is not one of them states nothing and is counted, so that a policy that games the labeler's rules does
not game this reader. Where sentences differ, positive goes before uncertain, and uncertain before negative. No Finding
is read where every sentence was read and no finding but a device is affirmed or hedged.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from string import Formatter

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.data.phantoms.rich import WORDINGS, WordingName
from orapo.data.phantoms.wordings import Wording
from orapo.records import Reading

_O = Observation

DENIED: Mapping[str, tuple[Observation, ...]] = {
    "heart size": (_O.CARDIOMEGALY,),
    "contours": (_O.ENLARGED_CARDIOMEDIASTINUM,),
    "edema": (_O.EDEMA,),
    "consolidation": (_O.CONSOLIDATION,),
    "pneumonia": (_O.PNEUMONIA,),
    "lesion": (_O.LUNG_LESION,),
    "pleura": (_O.PLEURAL_EFFUSION, _O.PNEUMOTHORAX),
    "consolidation and pleura": (_O.CONSOLIDATION, _O.PLEURAL_EFFUSION, _O.PNEUMOTHORAX),
    "pneumothorax": (_O.PNEUMOTHORAX,),
    "effusion": (_O.PLEURAL_EFFUSION,),
    "fracture": (_O.FRACTURE,),
    # Of the lungs or the bones as a whole, and of everything: no observation by name.
    "clear lungs": (),
    "bones": (),
    "normal": (),
}
"""What the denials of each name deny."""

WORDS: Mapping[str, tuple[str, ...]] = {
    "side": ("left", "right"),
    "zone": ("upper", "mid", "lower"),
    "size": ("small", "moderate", "large"),
    "degree": ("mild", "moderate", "severe"),
    "degree_ly": ("mildly", "moderately", "severely"),
    "extent": ("mild", "moderate", "marked"),
    "extent_ly": ("mildly", "moderately", "markedly"),
}
"""What may stand for a word in braces; another one stands for itself."""

_ORDER = (LabelState.NEGATIVE, LabelState.UNCERTAIN, LabelState.POSITIVE)
_SENTENCE = re.compile(r"[^.]*\.|[^.]+$")


class PhantomReader:
    """Reads reports of the phantom grammar in one wording; sentences of the other wording count as unknown."""

    name = "phantom_grammar"

    def __init__(self, wording: WordingName = "plain") -> None:
        self.wording = wording

    def read(self, report: str) -> Reading:
        """The 14 label states, and how many sentences are none of the grammar's."""
        states = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
        sentences = [found for part in _SENTENCE.findall(report) if (found := " ".join(part.split()))]
        known = _sentences(self.wording)
        read = [known[sentence] for sentence in sentences if sentence in known]
        for stated in read:
            for observation, state in stated.items():
                if states[observation] not in _ORDER or _ORDER.index(state) > _ORDER.index(states[observation]):
                    states[observation] = state
        there = {o for o, state in states.items() if state in (LabelState.POSITIVE, LabelState.UNCERTAIN)}
        if sentences and len(read) == len(sentences) and there <= {_O.SUPPORT_DEVICES}:
            states[_O.NO_FINDING] = LabelState.POSITIVE
        return Reading(states, len(sentences) - len(read))


@cache
def _sentences(name: WordingName) -> dict[str, dict[Observation, LabelState]]:
    """Every sentence of the grammar in this wording, with the states that it gives."""
    wording = WORDINGS[name]
    known: dict[str, dict[Observation, LabelState]] = {}
    for aside in (aside for topic in wording.asides.values() for aside in topic):
        copied = aside[0].lower() + aside[1:]
        known.update((sentence, {}) for sentence in (aside, *(copy.format(copied=copied) for copy in wording.copies)))
    for denied, sentences in wording.denials.items():
        known.update((sentence, dict.fromkeys(DENIED[denied], LabelState.NEGATIVE)) for sentence in sentences)
    for observation, rows in wording.phrases.items():
        for phrase in {phrase for row in rows for phrase in row}:
            for filled in _filled(phrase):
                about = [*_about(wording, observation, filled)]
                about += _changed(observation, filled) if name == "plain" else []
                known.update((sentence, {observation: state}) for sentence, state in about)
    return known


def _filled(phrase: str) -> Iterator[str]:
    names = [name for _, name, _, _ in Formatter().parse(phrase) if name]
    for words in product(*(WORDS.get(name, (name,)) for name in names)):
        yield phrase.format_map(dict(zip(names, words, strict=True)))


def _about(wording: Wording, observation: Observation, phrase: str) -> Iterator[tuple[str, LabelState]]:
    words = _words(phrase)
    affirming = wording.device_frames if observation is _O.SUPPORT_DEVICES else wording.frames
    for frames, state in ((affirming, LabelState.POSITIVE), (wording.hedges, LabelState.UNCERTAIN)):
        for _, sentence, _ in frames:
            yield sentence.format_map(words), state


def _words(phrase: str) -> dict[str, str]:
    be, phrase = ("are", phrase[1:]) if phrase.startswith("+") else ("is", phrase)
    bare = re.sub(r"^an? ", "", phrase)
    capitalised = {"Bare": bare[0].upper() + bare[1:], "Phrase": phrase[0].upper() + phrase[1:]}
    return {"bare": bare, "phrase": phrase, "be": be, "have": "have" if be == "are" else "has", **capitalised}


def _changed(observation: Observation, phrase: str) -> Iterator[tuple[str, LabelState]]:
    words = _words(phrase)
    bare, be, have, is_device = words["bare"], words["be"], words["have"], observation is _O.SUPPORT_DEVICES
    # What a report of a follow-up says instead: what has changed is there, what has resolved is not.
    for word in ("New", "Worsened", "Improved"):
        yield f"{word} {bare}.", LabelState.POSITIVE
    for change in (f"{be} new", f"{be} unchanged", f"{have} worsened", f"{have} improved"):
        yield f"{bare[0].upper()}{bare[1:]} {change}.", LabelState.POSITIVE
    gone = f"{bare} {have} been removed." if is_device else f"Resolved {bare}."
    yield gone[0].upper() + gone[1:], LabelState.NEGATIVE
