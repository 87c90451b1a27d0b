"""The term that pays the right answer to a question."""

from dataclasses import dataclass
from typing import ClassVar

from orapo.measures.answers import given_answer
from orapo.records import Study
from orapo.reward.terms.registry import PerReport, register


@register("answer")
@dataclass(frozen=True)
class Answer(PerReport):
    """1 where the completion ends in the right answer, else 0; undefined where a report is asked for.

    How an answer is read belongs to the question: exactly, as a number with a tolerance, or as a choice.
    """

    zero_at_most: ClassVar[float | None] = 0.0

    def value(self, report: str, study: Study) -> float | None:
        return None if study.question is None else float(given_answer(report, study.question).is_correct)
