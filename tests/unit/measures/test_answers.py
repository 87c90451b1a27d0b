"""What is read as the answer of a completion, on more than a hundred odd ones."""

import pytest

from orapo.measures.answers import Given, check_pattern, given_answer, read_choice, read_number
from orapo.records import Question

SUM = Question("20+31=?", "51", "2 numbers", "numeric")
HALF = Question("1/2=?", "0.5", "fractions", "numeric", tolerance=0.01)
WORD = Question("Which side?", "left lung", "left lung")
SIDE = Question("Which side?", "left", "A", "choice", choices=("left", "right", "both sides"))
BOXED = Question("20+31=?", "51", "2 numbers", "numeric", pattern=r"\\boxed\{(?P<answer>[^{}]*)\}\.?")

RIGHT = {
    SUM: (
        "Answer: 51",
        "20+31=51\nAnswer: 51",
        "answer: 51",
        "ANSWER:51",
        "Answer = 51",
        "Answer:51.",
        "Answer: 51.0",
        "Answer: 051",
        "Answer: +51",
        "Answer: 5.1e1",
        "Answer: 102/2",
        "Answer:\t51",
        "Answer: 51   \n\n",
        "  Answer: 51",
        "Answer: **51**",
        "**Answer:** 51",
        "**Answer**: 51",
        "*Answer:* 51.",
        "_Answer_: 51",
        "Answer: `51`",
        'Answer: "51"',
        "Answer: $51$",
        "Answer: \N{FULLWIDTH DIGIT FIVE}\N{FULLWIDTH DIGIT ONE}",
        "The answer: 51",
        "Final answer: 51",
        "Answer: 50\nNo, wait.\nAnswer: 51",
        "Answer: 50. Answer: 51",
        "Answer:\n51",
        "Answer:\r\n51\r\n",
        "Answer : 51",
        "x" * 5000 + "\nAnswer: 51",
        "Answer: Answer: 51",
    ),
    HALF: ("Answer: 0.5", "Answer: .5", "Answer: 1/2", "Answer: 0.509", "Answer: 0.49", "Answer: 5e-1", "Answer: 0.51"),
    WORD: (
        "Answer: left lung",
        "Answer: Left  Lung.",
        "Answer: LEFT LUNG",
        "Answer: 'left lung'",
        "Answer: left\tlung",
    ),
    SIDE: (
        "Answer: A",
        "Answer: a",
        "Answer: A.",
        "Answer: (A)",
        "Answer: A)",
        "Answer: left",
        "Answer: Left.",
        "Answer: A. left",
        "Answer: (a) left",
        "Answer: A: left",
        "Answer: **A**",
        "A. left\nB. right\nAnswer: A",
    ),
    BOXED: (r"so \boxed{51}", r"\boxed{50} or rather \boxed{51}.", "$\\boxed{51}\n"),
}

WRONG = {
    SUM: ("Answer: 50", "Answer: -51", "Answer: 51.5", "Answer: 51/2", "Answer: 5100", "Answer: 51\nAnswer: 50"),
    HALF: ("Answer: 0.52", "Answer: -0.5", "Answer: 0.4899", "Answer: 50"),
    WORD: ("Answer: right lung", "Answer: left", "Answer: lung left", "Answer: not the left lung", "Answer: leftlung"),
    SIDE: ("Answer: B", "Answer: right", "Answer: (C) both sides", "Answer: both sides."),
    BOXED: (r"\boxed{51} \boxed{50}",),
}

UNREAD = {
    SUM: (
        "",
        "   ",
        "51",
        "20+31=51",
        "Answer",
        "Answer:",
        "Answer: ",
        "Answer 51",
        "Answer: fifty-one",
        "Answer: 51 apples",
        "Answer: about 51",
        "Answer: 51 or 50",
        "Answer: 50+1",
        "Answer: 20+31=51",
        "Answer: 51\nThat is all.",
        "Answer: 51\n20+31=",
        "Answer: nan",
        "Answer: inf",
        "Answer: 51/0",
        "Answer: 5 1",
        "Answer: 5,1",
        "Answer: 0x33",
        "Answer: --51",
        "Answer: 51-",
        "Answer: 51%",
        "Answer: 1e999",
        "Answer: " + "9" * 500,
        "Answer: \N{ARABIC-INDIC DIGIT FIVE}\N{ARABIC-INDIC DIGIT ONE}",
        "Answer; 51",
        "Reanswer: 51",
        "Answer: ...",
        "Antwort: 51",
    ),
    WORD: ("left lung", "Answer: ", "Answer: left lung\nor the right one"),
    SIDE: ("Answer: D", "Answer: AB", "Answer: A or B", "Answer: A. right", "Answer: a left one", "Answer: 1", "A"),
    BOXED: ("Answer: 51", r"\boxed{51} is it", r"\boxed{}", r"\boxed{\frac{102}{2}}"),
}


def cases(table: dict[Question, tuple[str, ...]]) -> list[tuple[Question, str]]:
    return [(question, text) for question, texts in table.items() for text in texts]


def test_there_are_more_than_a_hundred_odd_completions() -> None:
    assert len({*cases(RIGHT), *cases(WRONG), *cases(UNREAD)}) > 100


@pytest.mark.parametrize(("question", "text"), cases(RIGHT))
def test_right(question: Question, text: str) -> None:
    given = given_answer(text, question)
    assert given.is_correct
    assert given.text


@pytest.mark.parametrize(("question", "text"), cases(WRONG))
def test_wrong_but_read(question: Question, text: str) -> None:
    given = given_answer(text, question)
    assert not given.is_correct
    assert given.text


@pytest.mark.parametrize(("question", "text"), cases(UNREAD))
def test_no_answer(question: Question, text: str) -> None:
    assert given_answer(text, question) == Given(None, is_correct=False)


def test_numbers_with_thousands() -> None:
    assert read_number("1,234.5") == read_number("1234.50")
    assert read_number("12,34") is None


@pytest.mark.parametrize("tolerance", [0.1, 0.3, 0.7, 1e-5])
def test_a_tolerance_is_the_decimal_that_was_written(tolerance: float) -> None:
    question = Question("?", "0", "g", "numeric", tolerance=tolerance)
    assert given_answer(f"Answer: {tolerance}", question).is_correct
    assert not given_answer(f"Answer: {tolerance * 1.01:.8f}", question).is_correct


def test_a_minus_sign_is_one() -> None:
    assert read_number("\N{MINUS SIGN}3") == -3


def test_a_choice_by_words_comes_before_one_by_letter() -> None:
    assert read_choice("B", ("b", "a")) == "b"


def test_a_pattern_needs_its_group() -> None:
    with pytest.raises(ValueError, match="must have a group"):
        check_pattern("Answer: (.*)")
    with pytest.raises(ValueError, match="no regular expression"):
        check_pattern("(?P<answer>")


def test_an_unreadable_completion_is_read_in_no_time() -> None:
    assert given_answer("Answer: " * 5_000 + "\nx", SUM) == Given(None, is_correct=False)
