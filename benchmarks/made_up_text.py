"""Report sections and labels for large tables: the phantoms' sentences, labels as frequent as real ones."""

import random
from collections.abc import Sequence

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.data.phantoms import PhantomSource
from orapo.records import Split

PREVALENCE = dict(
    zip(OBSERVATIONS[1:], (0.05, 0.3, 0.04, 0.35, 0.18, 0.07, 0.11, 0.3, 0.07, 0.36, 0.013, 0.03, 0.45), strict=True)
)
"""Chance of each observation in a study that is neither normal (33 %) nor without a label (2 %)."""

_DENIED = (
    (),
    (Observation.PNEUMOTHORAX,),
    (Observation.PNEUMOTHORAX, Observation.PLEURAL_EFFUSION),
    (Observation.PNEUMOTHORAX, Observation.PLEURAL_EFFUSION, Observation.CONSOLIDATION),
    (Observation.EDEMA, Observation.PNEUMONIA),
)

_TEXT_LENGTH = 300
"""Characters of a section, at least."""

_NUM_TEXTS = 2_000


class MadeUpText:
    """Texts and labels, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        """Makes the texts to draw from."""
        self._draw = random.Random(seed)
        phantoms = PhantomSource(seed=seed)
        sentences = [phantoms.study(Split.TRAIN, index).oracle_report for index in range(1_000)]
        self._texts = [self._text(sentences) for _ in range(_NUM_TEXTS)]

    def text(self) -> str:
        """About 300 characters: a section."""
        return self._draw.choice(self._texts)

    def labels(self) -> LabelStates:
        """Long-tailed; what reports deny comes in bundles, and some of what is found is hedged."""
        kind = self._draw.random()
        states = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
        states |= dict.fromkeys(self._draw.choice(_DENIED), LabelState.NEGATIVE)
        if kind < 0.33:
            states[Observation.NO_FINDING] = LabelState.POSITIVE
        elif kind > 0.35:
            for observation, chance in PREVALENCE.items():
                if self._draw.random() < chance:
                    is_hedged = self._draw.random() < 0.08
                    states[observation] = LabelState.UNCERTAIN if is_hedged else LabelState.POSITIVE
        return states

    def _text(self, sentences: Sequence[str]) -> str:
        text = ""
        while len(text) < _TEXT_LENGTH:
            text += f"{self._draw.choice(sentences)} "
        return text
