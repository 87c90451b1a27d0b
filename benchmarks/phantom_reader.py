"""Reads attributes in phantom reports by the grammar that wrote them: what stands in for a language model."""

import random
from dataclasses import dataclass

from orapo.chexpert import LabelState
from orapo.data.phantoms import PhantomSource
from orapo.labeler import Certainty
from orapo.records import Split
from orapo.reward.llm.answers import key_of
from orapo.reward.llm.grounding import sentences_of

Entry = dict[str, object]
_OTHER = {
    "left": "right",
    "right": "left",
    "bilateral": "left",
    "apex": "base",
    "upper": "lower",
    "mid": "upper",
    "lower": "upper",
    "base": "apex",
    "mild": "severe",
    "moderate": "severe",
    "severe": "mild",
}


@dataclass
class GrammarReader:
    """Answers by what the phantom grammar states in each sentence, words quoted whole; nothing of other sentences.

    Args:
        source: the phantoms.
        num: training studies whose sentences are known.
        mistakes: share of attributes that are exchanged, left out or stated of another finding, in [0, 1].
    """

    source: PhantomSource
    num: int
    mistakes: float = 0.0

    def __post_init__(self) -> None:
        self._known: dict[str, list[Entry]] = {}
        for index in range(self.num):
            sentences = sentences_of(self.source.study(Split.TRAIN, index).oracle_report)
            stated: dict[str, list[Entry]] = {sentence: [] for sentence in sentences}
            for each in self.source.statements(Split.TRAIN, index):
                sentence, attributes = sentences[each.sentence_index], each.attributes
                if each.state is LabelState.NEGATIVE or attributes.certainty is Certainty.DENIED:
                    continue
                for kind in ("side", "place", "severity"):
                    value = getattr(attributes, kind)
                    if value is not None:
                        finding = key_of(each.observation)
                        stated[sentence].append(
                            {"finding": finding, "kind": kind, "value": value.value, "words": sentence}
                        )
            self._known.update(stated)

    def __call__(self, sentences: list[str]) -> list[Entry]:
        """Entries of the answer on one report's sentences."""
        entries = []
        for number, sentence in enumerate(sentences):
            for place, entry in enumerate(self._known.get(sentence, [])):
                draw = random.Random(f"{sentence} {place}")  # the same mistake whenever it is asked
                if draw.random() >= self.mistakes:
                    entries.append({"sentence": number, **entry})
                elif draw.random() < 0.5:
                    entries.append({"sentence": number, **entry, "value": _OTHER[str(entry["value"])]})
        return entries
