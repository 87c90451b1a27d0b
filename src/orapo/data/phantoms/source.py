"""A source of phantom studies: text and labels are made when listed, pixels only when an image is opened."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from PIL import Image
from pydantic import Field, NonNegativeInt

from orapo.chexpert import Observation
from orapo.data.phantoms.difficulty import Difficulty
from orapo.data.phantoms.draws import Draws
from orapo.data.phantoms.findings import Finding, Prevalence, draw_findings, misreported
from orapo.data.phantoms.grammar import Report, Statement, write_report
from orapo.data.phantoms.signs import paint_study
from orapo.data.source import LeftOut
from orapo.errors import DataError
from orapo.records import Split, Study
from orapo.settings import settings

_SPLIT_KEYS = {Split.TRAIN: 0, Split.VALIDATE: 1, Split.TEST: 2}
_TEXT_KEY, _PIXEL_KEY, _NOISE_KEY, _MARK_KEY = 0, 1, 2, 3


NumStudies = Annotated[int, Field(ge=0, le=1_000_000)]
PrevalenceName = Literal["natural", "balanced"]


@settings
class PhantomSource:
    """Synthetic frontal chest radiographs with templated reports; study ``i`` depends on seed, split and ``i`` alone.

    Attributes:
        seed: at least 0; the splits of one seed never share random numbers.
        image_size: pixels per side, at least 56.
        num_train: studies of the training pool, from which a balanced subset is chosen.
        num_validate: studies of the validation split.
        num_test: studies of the test split.
        train_prevalence: "natural" (long tail) or "balanced" (study i has observation i mod 14).
        validate_prevalence: likewise.
        test_prevalence: likewise.
        difficulty: of signs, training reports and images; plain unless told otherwise.
    """

    seed: NonNegativeInt = 0
    image_size: Annotated[int, Field(ge=56, le=2048)] = 112
    num_train: NumStudies = 20_000
    num_validate: NumStudies = 210
    num_test: NumStudies = 210
    train_prevalence: PrevalenceName = "natural"
    validate_prevalence: PrevalenceName = "balanced"
    test_prevalence: PrevalenceName = "balanced"
    difficulty: Difficulty = field(default_factory=Difficulty)

    @property
    def name(self) -> str:
        """The source's short name."""
        return "phantoms"

    def studies(self, split: Split) -> Sequence[Study]:
        """All studies of one split, in order of their number; no pixel is drawn."""
        return tuple(self.study(split, index) for index in range(self._num_studies(split)))

    def entries(self, split: Split) -> Sequence[Study]:
        """Same as ``studies``: a phantom costs nothing to read."""
        return self.studies(split)

    def left_out(self, split: Split) -> Sequence[LeftOut]:
        """None: every phantom can be used."""
        return ()

    def read(self, study_id: str) -> Study:
        """The study of this id.

        Raises:
            DataError: the id isn't of the form ``phantom-<split>-<number>``.
        """
        return self.study(*_place_of(study_id))

    def study(self, split: Split, index: int) -> Study:
        """Study number ``index`` of a split, from 0; numbers beyond the split's size are valid and unseen studies."""
        report = self._report(split, index)
        name = f"{split.value}/{index:06d}"
        return Study(
            study_id=f"phantom-{split.value}-{index:06d}",
            patient_id=f"phantom-patient-{split.value}-{index:06d}",
            split=split,
            image_paths=(f"phantom:{name}",),
            views=("PA",),
            oracle_report=report.text,
            labels=report.labels,
        )

    def statements(self, split: Split, index: int) -> tuple[Statement, ...]:
        """What the report of study number ``index`` states, observation by observation, in reading order."""
        return self._report(split, index).statements

    def findings(self, split: Split, index: int) -> dict[Observation, Finding]:
        """What is drawn on the image of study number ``index``."""
        return self._drawn(Draws(self.seed, _SPLIT_KEYS[split], index, _TEXT_KEY), split, index)

    @property
    def mark_goes_with(self) -> Observation | None:
        """The observation that the spurious mark goes with in training; None where no image has a mark."""
        return None if self.difficulty.mark is None else self.difficulty.mark.goes_with

    def has_mark(self, study_id: str) -> bool:
        """Whether the study's image shows the spurious mark.

        Raises:
            DataError: the id isn't of the form ``phantom-<split>-<number>``.
        """
        split, index = _place_of(study_id)
        return self._is_marked(split, index, self.findings(split, index))

    def load_images(self, study: Study) -> tuple[Image.Image, ...]:
        """Draws the study's one image, 8-bit grey.

        Raises:
            DataError: an image name isn't of the form ``phantom:<split>/<number>``.
        """
        return tuple(self._draw(study.study_id, path) for path in study.image_paths)

    def digest(self) -> str:
        """SHA-256 of the settings and of the code that draws and writes."""
        return hashlib.sha256(f"{self!r}{_code_digest()}".encode()).hexdigest()

    def _draw(self, study_id: str, path: str) -> Image.Image:
        scheme, _, name = path.partition(":")
        split_name, _, number = name.partition("/")
        if scheme != "phantom" or split_name not in list(Split) or not number.isdecimal():
            raise DataError(f"study {study_id}: image {path!r} is no phantom, allowed: phantom:<split>/<number>")
        split, index = Split(split_name), int(number)
        pixels, findings = Draws(self.seed, _SPLIT_KEYS[split], index, _PIXEL_KEY), self.findings(split, index)
        has_mark = self._is_marked(split, index, findings)
        return Image.fromarray(paint_study(pixels, findings, self.image_size, self.difficulty, has_mark=has_mark))

    def _report(self, split: Split, index: int) -> Report:
        draws = Draws(self.seed, _SPLIT_KEYS[split], index, _TEXT_KEY)
        return write_report(draws, self._reported(split, index, self._drawn(draws, split, index)))

    def _drawn(self, draws: Draws, split: Split, index: int) -> dict[Observation, Finding]:
        return draw_findings(draws, self._prevalence(split), index)

    def _reported(
        self, split: Split, index: int, findings: Mapping[Observation, Finding]
    ) -> Mapping[Observation, Finding]:
        rate = self.difficulty.noise_rate(split)
        if not rate:
            return findings
        draws = Draws(self.seed, _SPLIT_KEYS[split], index, _NOISE_KEY)
        return misreported(draws, findings) if draws.happens(rate) else findings

    def _is_marked(self, split: Split, index: int, findings: Mapping[Observation, Finding]) -> bool:
        mark = self.difficulty.mark
        if mark is None:
            return False
        draws = Draws(self.seed, _SPLIT_KEYS[split], index, _MARK_KEY)
        return draws.happens(mark.rate(split, is_there=mark.goes_with in findings))

    def _num_studies(self, split: Split) -> int:
        return {Split.TRAIN: self.num_train, Split.VALIDATE: self.num_validate, Split.TEST: self.num_test}[split]

    def _prevalence(self, split: Split) -> Prevalence:
        return Prevalence(
            {
                Split.TRAIN: self.train_prevalence,
                Split.VALIDATE: self.validate_prevalence,
                Split.TEST: self.test_prevalence,
            }[split]
        )


def _place_of(study_id: str) -> tuple[Split, int]:
    prefix, _, name = study_id.partition("-")
    split_name, _, number = name.partition("-")
    if prefix != "phantom" or split_name not in list(Split) or not number.isdecimal():
        raise DataError(f"study {study_id!r} is no phantom, allowed: phantom-<split>-<number>")
    return Split(split_name), int(number)


@lru_cache(maxsize=1)
def _code_digest() -> str:
    code = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        code.update(file.read_bytes())
    return code.hexdigest()
