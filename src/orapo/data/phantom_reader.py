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
from orapo.data.phantoms.wordings import CHANGED, DENIED, GRADES, REMOVED, Wording, forms
from orapo.labeler import Change
from orapo.records import Reading

_O = Observation

_WORDS: Mapping[str, tuple[str, ...]] = {"side": ("left", "right"), "zone": ("upper", "mid", "lower"), **GRADES}
"""What may stand for a word in braces; another one stands for itself."""

_ORDER = (LabelState.UNMENTIONED, LabelState.NEGATIVE, LabelState.UNCERTAIN, LabelState.POSITIVE)
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
                states[observation] = max(states[observation], state, key=_ORDER.index)
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
        about = [*_about(wording, observation)]
        about += _changed(observation) if name == "plain" else []
        for words in (forms(filled) for row in rows for phrase in row for filled in _filled(phrase)):
            known.update((sentence.format_map(words), {observation: state}) for sentence, state in about)
    return known


def _filled(phrase: str) -> Iterator[str]:
    names = [name for _, name, _, _ in Formatter().parse(phrase) if name]
    for words in product(*(_WORDS.get(name, (name,)) for name in names)):
        yield phrase.format_map(dict(zip(names, words, strict=True)))


def _about(wording: Wording, observation: Observation) -> Iterator[tuple[str, LabelState]]:
    affirming = wording.device_frames if observation is _O.SUPPORT_DEVICES else wording.frames
    for frames, state in ((affirming, LabelState.POSITIVE), (wording.hedges, LabelState.UNCERTAIN)):
        yield from ((sentence, state) for _, sentence, _ in frames)


def _changed(observation: Observation) -> Iterator[tuple[str, LabelState]]:
    """What a report of a follow-up says instead: what has changed is there, what has resolved is not."""
    gone = REMOVED if observation is _O.SUPPORT_DEVICES else CHANGED[Change.RESOLVED]
    for change, sentences in {**CHANGED, Change.RESOLVED: gone}.items():
        state = LabelState.NEGATIVE if change is Change.RESOLVED else LabelState.POSITIVE
        yield from ((sentence, state) for sentence in sentences)
