"""Sums with worked steps: generated questions with one right answer, graded by how many numbers are added."""

import hashlib
from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from PIL import Image
from pydantic import Field, NonNegativeInt

from orapo.data.source import LeftOut
from orapo.errors import DataError, SettingError
from orapo.records import Question, Split, Study
from orapo.settings import settings

HIGHEST_SUM = 99

_SPLIT_KEYS = {Split.TRAIN: 0, Split.VALIDATE: 1, Split.TEST: 2}
_VERSION = "1"
"""Counted up when the same settings make other questions."""

NumQuestions = Annotated[int, Field(ge=0, le=1_000_000)]
NumNumbers = Annotated[int, Field(ge=2, le=9)]


@settings
class Arithmetic:
    """Sums of positive whole numbers up to ``HIGHEST_SUM``; question ``i`` depends on seed, split and ``i`` alone.

    Attributes:
        seed: at least 0; the splits of one seed never share random numbers, but short sums can be equal by chance.
        num_train: questions of the training pool.
        num_validate: questions of the validation split.
        num_test: questions of the test split.
        least_numbers: of the easiest sums, 2 to 9.
        most_numbers: of the hardest sums, at least ``least_numbers``, at most 9; all in between are equally frequent.
        instruction: what stands after the sum in the prompt; "" for nothing.

    Raises:
        SettingError: a value out of range.
    """

    name: ClassVar[str] = "arithmetic"

    seed: NonNegativeInt = 0
    num_train: NumQuestions = 20_000
    num_validate: NumQuestions = 200
    num_test: NumQuestions = 400
    least_numbers: NumNumbers = 2
    most_numbers: NumNumbers = 6
    instruction: str = ""

    def __post_init__(self) -> None:
        if self.least_numbers > self.most_numbers:
            raise SettingError(
                f"least_numbers is {self.least_numbers}; it must be at most most_numbers, {self.most_numbers}"
            )

    def entries(self, split: Split) -> Sequence[Study]:
        """All questions of one split, in order of their number."""
        return tuple(self.study(split, index) for index in range(getattr(self, f"num_{split}")))

    def left_out(self, split: Split) -> Sequence[LeftOut]:
        return ()

    def read(self, study_id: str) -> Study:
        """The question of this id.

        Raises:
            DataError: the id isn't of the form ``sum-<split>-<number>``.
        """
        prefix, _, name = study_id.partition("-")
        split, _, number = name.partition("-")
        if prefix != "sum" or split not in list(Split) or not number.isdecimal():
            raise DataError(f"study {study_id!r} is no sum, allowed: sum-<split>-<number>")
        return self.study(Split(split), int(number))

    def study(self, split: Split, index: int) -> Study:
        """Question number ``index`` of a split, from 0."""
        numbers = self.numbers(split, index)
        study_id = f"sum-{split.value}-{index:06d}"
        words = filter(None, (f"{'+'.join(map(str, numbers))}=?", self.instruction))
        return Study(
            study_id=study_id,
            patient_id=study_id,
            split=split,
            image_paths=(),
            views=(),
            oracle_report=solution(numbers),
            labels={},
            question=Question("\n".join(words), str(sum(numbers)), f"{len(numbers)} numbers", "numeric"),
        )

    def numbers(self, split: Split, index: int) -> list[int]:
        """The numbers that question ``index`` adds."""
        count = self.least_numbers + index % (self.most_numbers - self.least_numbers + 1)
        generator = np.random.default_rng([self.seed, _SPLIT_KEYS[split], index])
        while True:
            # About half of the draws are small enough.
            drawn: list[int] = generator.integers(1, 2 * HIGHEST_SUM // count, size=count, endpoint=True).tolist()
            if sum(drawn) <= HIGHEST_SUM:
                return drawn

    def load_images(self, study: Study, max_pixels: int | None = None) -> tuple[Image.Image, ...]:
        return ()

    def digest(self) -> str:
        """SHA-256 of the settings and of the version of the rule."""
        return hashlib.sha256(f"{_VERSION}{self!r}".encode()).hexdigest()


def solution(numbers: Sequence[int]) -> str:
    """The worked steps, one sum a line, and the answer."""
    total, steps = numbers[0], []
    for number in numbers[1:]:
        steps.append(f"{total}+{number}={total + number}")
        total += number
    return "\n".join([*steps, f"Answer: {total}"])
