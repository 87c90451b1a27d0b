"""Questions about phantom radiographs: is there a pleural effusion, and on which side?"""

import hashlib
from collections.abc import Sequence
from dataclasses import field, replace
from functools import lru_cache
from typing import ClassVar

from PIL import Image

from orapo.chexpert import Observation
from orapo.data.phantoms.findings import Finding
from orapo.data.phantoms.source import PhantomSource
from orapo.data.source import LeftOut
from orapo.errors import DataError
from orapo.records import Question, Split, Study
from orapo.settings import settings

_EFFUSION = Observation.PLEURAL_EFFUSION
ANSWERS = ("no", "right", "left", "bilateral")
PATTERN = r"(?P<answer>(?i:no|right|left|bilateral)) pleural effusions?\.?"
"""Of the phantoms' own words for an effusion, so that a policy that writes their reports knows how to answer."""
_SIZES = ("Small", "Moderate", "Large")
_VERSION = "1"
"""Counted up when the same phantoms get other questions."""


@settings
class PhantomQuestions:
    """One question on each phantom, with equally many of the four ``ANSWERS`` in each split, a sentence each.

    Of every answer the first phantoms are taken, as many as there are of the rarest one; those whose report hedges the
    effusion are left out.

    Attributes:
        phantoms: draws the images; its reports are not used.
        question: what is asked; any text.
    """

    name: ClassVar[str] = "phantom_questions"

    phantoms: PhantomSource = field(default_factory=PhantomSource)
    question: str = "Is there a pleural effusion, and on which side?"

    def entries(self, split: Split) -> Sequence[Study]:
        """The questions of one split, in the order of the phantoms.

        Raises:
            DataError: one of the answers has no phantom.
        """
        return _entries(self, split)

    def left_out(self, split: Split) -> Sequence[LeftOut]:
        """Always empty: a phantom without a question is not listed."""
        return ()

    def read(self, study_id: str) -> Study:
        """The question on the phantom of this id.

        Raises:
            DataError: it is no phantom, or one whose report hedges the effusion.
        """
        phantom = self.phantoms.read(study_id)
        finding = self.phantoms.findings(phantom.split, int(study_id.rpartition("-")[2])).get(_EFFUSION)
        if finding is not None and finding.uncertain:
            raise DataError(f"study {study_id}: its report hedges the effusion, so that no answer is right")
        answer = _answer(finding)
        size = "No" if finding is None else f"{_SIZES[finding.severity]} {answer}"
        sentence = f"{size} pleural effusion{'s' if answer == 'bilateral' else ''}."
        return replace(
            phantom,
            oracle_report=sentence,
            labels={},
            question=Question(self.question, answer, answer, "choice", ANSWERS, pattern=PATTERN),
        )

    def load_images(self, study: Study, max_pixels: int | None = None) -> tuple[Image.Image, ...]:
        return self.phantoms.load_images(study, max_pixels)

    def digest(self) -> str:
        """SHA-256 of the phantoms' digest, the question and the version of the rule."""
        code, _, settings = self.phantoms.digest().partition(":")
        return f"{code}:{hashlib.sha256(f'{_VERSION}{settings}{self.question}'.encode()).hexdigest()}"


def _answer(finding: Finding | None) -> str:
    if finding is None:
        return "no"
    return "bilateral" if finding.side == "both" else finding.side


@lru_cache(maxsize=8)
def _entries(source: PhantomQuestions, split: Split) -> tuple[Study, ...]:
    by_answer: dict[str, list[int]] = {answer: [] for answer in ANSWERS}
    for index in range(getattr(source.phantoms, f"num_{split}")):
        finding = source.phantoms.findings(split, index).get(_EFFUSION)
        if finding is None or not finding.uncertain:
            by_answer[_answer(finding)].append(index)
    rarest = min(by_answer, key=lambda answer: len(by_answer[answer]))
    if not (count := len(by_answer[rarest])):
        raise DataError(f"phantom_questions: no {split} phantom has the answer {rarest}; set more phantoms")
    chosen = sorted(index for indices in by_answer.values() for index in indices[:count])
    return tuple(source.read(f"phantom-{split.value}-{index:06d}") for index in chosen)
