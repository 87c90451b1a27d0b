"""Answers to questions: accuracy of a system and of controls that see no question."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orapo.errors import DataError
from orapo.evaluation.resampling import Measures
from orapo.evaluation.text_measures import mean_measures
from orapo.measures.answers import given_answer
from orapo.records import Question

ACCURACY = "accuracy"
ANSWERED = "answered_fraction"


@dataclass(frozen=True, slots=True)
class Answered:
    """One question and what a system answered.

    Attributes:
        expected: the right answer.
        given: the answer that was read; None where the text ends in none.
        is_correct: whether it is right.
        group: of the question.
    """

    expected: str
    given: str | None
    is_correct: bool
    group: str

    @classmethod
    def of(cls, completion: str, question: Question) -> "Answered":
        given = given_answer(completion, question)
        return cls(question.answer, given.text, given.is_correct, question.group)

    @classmethod
    def from_row(cls, row: Any, where: str) -> "Answered":
        """Reads what ``dataclasses.asdict`` made.

        Raises:
            DataError: it is something else; begins with ``where``.
        """
        match row:
            case {"expected": str(), "given": str() | None, "is_correct": bool(), "group": str()}:
                return cls(row["expected"], row["given"], row["is_correct"], row["group"])
        raise DataError(f"{where}: answer must have expected, given, is_correct and group")


def answer_measures(answers: Sequence[Answered]) -> Measures:
    """``accuracy``, ``answered_fraction`` and, by group, ``accuracy/<group>`` of N questions, each in [0, 1]."""
    right = [float(answer.is_correct) for answer in answers]
    return _by_group(right, [answer.group for answer in answers], [answer.given is not None for answer in answers])


def majority_measures(training: Sequence[Question], tested: Sequence[Question]) -> tuple[str, Measures]:
    """The most frequent right answer of the training questions, and its accuracy on N other questions.

    Of multiple choices the commonest letter; of equally common ones the first.

    Raises:
        DataError: no training question.
    """
    if not training:
        raise DataError("there is no training question, so that no answer is the commonest one")
    ((answer, _),) = Counter(map(_answer, training)).most_common(1)
    right = [float(_answer(question) == answer) for question in tested]
    return answer, _by_group(right, [question.group for question in tested])


def random_measures(training: Sequence[Question], tested: Sequence[Question]) -> Measures:
    """The expected accuracy of random answers to N questions: one of the choices, else of the training answers.

    Raises:
        DataError: no training question.
    """
    if not training:
        raise DataError("there is no training question to draw answers from")
    counts = Counter(map(_answer, training))
    right = [
        1 / len(question.choices) if question.choices else counts[_answer(question)] / len(training)
        for question in tested
    ]
    return _by_group(right, [question.group for question in tested])


def _answer(question: Question) -> str:
    return chr(ord("A") + question.choices.index(question.answer)) if question.choices else question.answer


def _by_group(right: Sequence[float], groups: Sequence[str], answered: Sequence[bool] | None = None) -> Measures:
    names = sorted(set(groups))
    return mean_measures(
        {
            ACCURACY: right,
            **({} if answered is None else {ANSWERED: [float(one) for one in answered]}),
            **{
                f"{ACCURACY}/{name}": [
                    value if group == name else None for value, group in zip(right, groups, strict=True)
                ]
                for name in names
            },
        }
    )
