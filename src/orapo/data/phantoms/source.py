"""A source of phantom studies: text and labels are made when listed, pixels only when an image is opened."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, ClassVar

from PIL import Image
from pydantic import Field, NonNegativeInt

from orapo.chexpert import Observation
from orapo.data.phantoms.difficulty import Difficulty
from orapo.data.phantoms.draws import Draws
from orapo.data.phantoms.findings import Finding, Prevalence, draw_findings, misreported
from orapo.data.phantoms.followup import Course, draw_course, draw_indication
from orapo.data.phantoms.grammar import Report, Statement, write_report
from orapo.data.phantoms.rich import WORDINGS, WordingName
from orapo.data.phantoms.signs import paint_study
from orapo.data.source import LeftOut
from orapo.errors import DataError, SettingError
from orapo.records import Context, PriorStudy, Split, Study
from orapo.settings import settings

_SPLIT_KEYS = {Split.TRAIN: 0, Split.VALIDATE: 1, Split.TEST: 2}
_TEXT_KEY, _PIXEL_KEY, _NOISE_KEY, _MARK_KEY = 0, 1, 2, 3
_COURSE_KEY, _CONTEXT_KEY, _PATIENT_KEY, _PRIOR_TEXT_KEY, _PRIOR_PIXEL_KEY = 4, 5, 6, 7, 8
_CURRENT, _PRIOR = "phantom", "phantom-prior"

NumStudies = Annotated[int, Field(ge=0, le=1_000_000)]


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
        followup: whether each patient was seen before: the report then states how each finding has changed since,
            and the study's context has an indication, age, sex, and the prior study with its image and report.
        wording: "plain", or "rich": the same findings and labels, said in more ways, among sentences that state nothing
            of the image. Rich reports state no change, so that there is no ``followup`` with them.
    """

    name: ClassVar[str] = "phantoms"

    seed: NonNegativeInt = 0
    image_size: Annotated[int, Field(ge=56, le=2048)] = 112
    num_train: NumStudies = 20_000
    num_validate: NumStudies = 210
    num_test: NumStudies = 210
    train_prevalence: Prevalence = "natural"
    validate_prevalence: Prevalence = "balanced"
    test_prevalence: Prevalence = "balanced"
    difficulty: Difficulty = field(default_factory=Difficulty)
    followup: bool = False
    wording: WordingName = "plain"

    def __post_init__(self) -> None:
        if self.followup and self.wording != "plain":
            raise SettingError(f"wording is {self.wording!r}; it must be 'plain' where followup is true")

    def studies(self, split: Split) -> Sequence[Study]:
        """All studies of one split, in order of their number; no pixel is drawn."""
        return tuple(self.study(split, index) for index in range(self.num_studies(split)))

    def num_studies(self, split: Split) -> int:
        return {Split.TRAIN: self.num_train, Split.VALIDATE: self.num_validate, Split.TEST: self.num_test}[split]

    def entries(self, split: Split) -> Sequence[Study]:
        """Same as ``studies``: a phantom costs nothing to read."""
        return self.studies(split)

    def left_out(self, split: Split) -> Sequence[LeftOut]:
        """Always empty: every phantom can be used."""
        return ()

    def read(self, study_id: str) -> Study:
        """The study of this id.

        Raises:
            DataError: the id isn't of the form ``phantom-<split>-<number>``.
        """
        return self.study(*_place_of(study_id))

    def study(self, split: Split, index: int) -> Study:
        """Study number ``index`` of a split, from 0; numbers beyond the split's size are valid and unseen studies."""
        report, course = self._report(split, index)
        return Study(
            study_id=f"phantom-{split.value}-{index:06d}",
            patient_id=f"phantom-patient-{split.value}-{index:06d}",
            split=split,
            image_paths=(f"{_CURRENT}:{split.value}/{index:06d}",),
            views=("PA",),
            oracle_report=report.text,
            labels=report.labels,
            context=Context() if course is None else self._context(split, index, course),
        )

    def statements(self, split: Split, index: int) -> tuple[Statement, ...]:
        """What the report of study number ``index`` states, observation by observation, in reading order."""
        return self._report(split, index)[0].statements

    def findings(self, split: Split, index: int) -> dict[Observation, Finding]:
        """What is drawn on the image of study number ``index``."""
        return draw_findings(self._draws(split, index, _TEXT_KEY), self._prevalence(split), index)

    def course(self, split: Split, index: int) -> Course | None:
        """What the prior image of study number ``index`` shows, and what has changed since; None without one."""
        return self._course(split, index, self.findings(split, index))

    @property
    def mark_goes_with(self) -> Observation | None:
        """The observation that the spurious mark goes with in training; None where there is no mark."""
        return None if self.difficulty.mark is None else self.difficulty.mark.goes_with

    def has_mark(self, study_id: str) -> bool:
        """Whether the study's image shows the spurious mark.

        Raises:
            DataError: the id isn't of the form ``phantom-<split>-<number>``.
        """
        split, index = _place_of(study_id)
        return self._is_marked(split, index, self.findings(split, index))

    def load_images(self, study: Study, max_pixels: int | None = None) -> tuple[Image.Image, ...]:
        """Draws the study's one image, 8-bit grey, at its own size whatever ``max_pixels`` is.

        Raises:
            DataError: an image name isn't of the form ``phantom:<split>/<number>``, or ``phantom-prior:`` where
                patients were seen before.
        """
        return tuple(self._draw(study.study_id, path) for path in study.image_paths)

    def digest(self) -> str:
        """A mark of the code that draws and writes, and a SHA-256 of the settings; of other code, nothing is known."""
        return f"{_code_digest()[:4]}:{hashlib.sha256(repr(self).encode()).hexdigest()}"

    def _draws(self, split: Split, index: int, *key: int) -> Draws:
        return Draws(self.seed, _SPLIT_KEYS[split], index, *key)

    def _draw(self, study_id: str, path: str) -> Image.Image:
        scheme, _, name = path.partition(":")
        split_name, _, number = name.partition("/")
        schemes = (_CURRENT, _PRIOR) if self.followup else (_CURRENT,)
        if scheme not in schemes or split_name not in list(Split) or not number.isdecimal():
            allowed = " or ".join(f"{scheme}:<split>/<number>" for scheme in schemes)
            raise DataError(f"study {study_id}: image {path!r} is no phantom, allowed: {allowed}")
        split, index = Split(split_name), int(number)
        findings, key = self.findings(split, index), _PIXEL_KEY
        has_mark, patient = self._is_marked(split, index, findings), None
        if (course := self._course(split, index, findings)) is not None:
            patient = partial(self._draws, split, index, _PATIENT_KEY)
            if scheme == _PRIOR:
                findings, key, has_mark = dict(course.prior), _PRIOR_PIXEL_KEY, False
        draws = self._draws(split, index, key)
        pixels = paint_study(draws, findings, self.image_size, self.difficulty, has_mark=has_mark, patient=patient)
        return Image.fromarray(pixels)

    def _report(self, split: Split, index: int) -> tuple[Report, Course | None]:
        draws = self._draws(split, index, _TEXT_KEY)
        findings = draw_findings(draws, self._prevalence(split), index)
        course = self._course(split, index, findings)
        reported = self._reported(split, index, findings)
        return write_report(draws, reported, course, WORDINGS[self.wording]), course

    def _course(self, split: Split, index: int, findings: Mapping[Observation, Finding]) -> Course | None:
        return draw_course(self._draws(split, index, _COURSE_KEY), findings) if self.followup else None

    def _context(self, split: Split, index: int, course: Course) -> Context:
        draws = self._draws(split, index, _CONTEXT_KEY)
        days = 1 + int(draws.between(0, 30))
        prior = PriorStudy(
            study_id=f"phantom-{split.value}-{index:06d}-prior",
            image_paths=(f"{_PRIOR}:{split.value}/{index:06d}",),
            views=("PA",),
            report=write_report(self._draws(split, index, _PRIOR_TEXT_KEY), course.prior).text,
            days_before=days,
        )
        return Context(
            indication=draw_indication(draws, course.prior),
            comparison=f"Radiograph of {days} days before.",
            technique="Single PA view.",
            age_years=20 + int(draws.between(0, 70)),
            sex=draws.pick(("F", "M")),
            prior=prior,
        )

    def _reported(
        self, split: Split, index: int, findings: Mapping[Observation, Finding]
    ) -> Mapping[Observation, Finding]:
        rate = self.difficulty.train_noise_rate
        if split is not Split.TRAIN or not rate:
            return findings
        draws = self._draws(split, index, _NOISE_KEY)
        return misreported(draws, findings) if draws.happens(rate) else findings

    def _is_marked(self, split: Split, index: int, findings: Mapping[Observation, Finding]) -> bool:
        mark = self.difficulty.mark
        if mark is None:
            return False
        draws = self._draws(split, index, _MARK_KEY)
        return draws.happens(mark.rate(split, is_there=mark.goes_with in findings))

    def _prevalence(self, split: Split) -> Prevalence:
        return {
            Split.TRAIN: self.train_prevalence,
            Split.VALIDATE: self.validate_prevalence,
            Split.TEST: self.test_prevalence,
        }[split]


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
