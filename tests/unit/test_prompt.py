"""The words of a prompt: nothing but the instruction by default, and what each element of the context adds."""

from dataclasses import replace
from typing import get_args

import pytest
from tests.conftest import make_study

from orapo.prompt import ContextElement, Prompt
from orapo.records import Context, PriorStudy

PRIOR = PriorStudy("s0", ("s0.png",), ("PA",), "Clear lungs.", 3)
FULL = Context("Cough.", "Radiograph of last week.", "Portable view.", 63, "F", PRIOR)
STUDY = replace(make_study("s", "Clear lungs."), context=FULL)
ELEMENTS = get_args(ContextElement)


def words(prompt: Prompt, context: Context = FULL, num_images: int = 1, num_prior_images: int = 0) -> list[str]:
    study = replace(STUDY, context=context)
    (message,) = prompt.messages(study, num_images, num_prior_images)
    *images, text = message["content"]
    assert images == [{"type": "image"}] * (num_images + num_prior_images)
    assert text["type"] == "text"
    return text["text"].split("\n")


@pytest.mark.parametrize("num_images", [1, 2])
def test_by_default_a_study_with_a_context_is_asked_as_one_without(num_images: int) -> None:
    assert Prompt("Write.").messages(STUDY, num_images) == [
        {"role": "user", "content": [{"type": "image"}] * num_images + [{"type": "text", "text": "Write."}]}
    ]


def test_all_elements_in_their_order_whatever_the_order_of_the_setting() -> None:
    expected = [
        "Indication: Cough.",
        "Comparison: Radiograph of last week.",
        "Technique: Portable view.",
        "Patient: 63 years old, female.",
        "Prior study: 3 days before.",
        "Prior study: image 1. This study: images 2 and 3.",
        "Report of the prior study: Clear lungs.",
        "Write.",
    ]
    assert words(Prompt("Write.", ELEMENTS), num_images=2, num_prior_images=1) == expected
    assert words(Prompt("Write.", ELEMENTS[::-1]), num_images=2, num_prior_images=1) == expected


@pytest.mark.parametrize("element", ["indication", "comparison", "technique", "age_sex"])
def test_what_a_study_lacks_is_not_mentioned(element: ContextElement) -> None:
    assert words(Prompt("Write.", (element,)), Context()) == ["Write."]


@pytest.mark.parametrize("element", ["prior_report", "prior_image"])
def test_that_there_is_no_prior_study_is_said(element: ContextElement) -> None:
    assert words(Prompt("Write.", (element,)), Context()) == ["Prior study: none.", "Write."]


@pytest.mark.parametrize(
    ("days", "expected"),
    [(0, ["Prior study: on the same day."]), (1, ["Prior study: 1 day before."]), (None, [])],
)
def test_days(days: int | None, expected: list[str]) -> None:
    context = Context(prior=replace(PRIOR, days_before=days))
    rest = ["Report of the prior study: Clear lungs.", "Write."]
    assert words(Prompt("Write.", ("prior_report",)), context) == expected + rest


@pytest.mark.parametrize(
    ("num_prior_images", "expected"),
    [
        (0, "Prior study: no image."),
        (2, "Prior study: images 1 and 2. This study: image 3."),
        (3, "Prior study: images 1 to 3. This study: image 4."),
    ],
)
def test_which_images_are_whose(num_prior_images: int, expected: str) -> None:
    assert words(Prompt("Write.", ("prior_image",)), FULL, 1, num_prior_images)[1] == expected


@pytest.mark.parametrize(("age", "sex", "expected"), [(0, "", "Patient: 0 years old."), (None, "M", "Patient: male.")])
def test_half_of_age_and_sex(age: int | None, sex: str, expected: str) -> None:
    assert words(Prompt("Write.", ("age_sex",)), Context(age_years=age, sex=sex)) == [expected, "Write."]


def test_elements_that_no_study_has_are_known() -> None:
    bare, imageless = Context(), Context(prior=replace(PRIOR, image_paths=(), views=()))
    prompt = Prompt("Write.", ELEMENTS)
    assert prompt.unfilled([replace(STUDY, context=bare)]) == list(ELEMENTS)
    assert prompt.unfilled([STUDY, replace(STUDY, context=bare)]) == []
    assert prompt.unfilled([replace(STUDY, context=imageless)]) == [e for e in ELEMENTS if e != "prior_report"]
    assert Prompt("Write.").unfilled([]) == []
