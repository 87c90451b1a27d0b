"""What is stated of a mention beside its state, on sentences of our own: attributes.txt, labelled by hand."""

import pickle
from pathlib import Path

import pytest

from orapo.chexpert import OBSERVATIONS, Observation
from orapo.labeler import Labeler, Mention

_CODES = dict(
    zip(
        OBSERVATIONS,
        ["NF", "EC", "CM", "LL", "LO", "ED", "CO", "PN", "AT", "PT", "PE", "PO", "FX", "SD"],
        strict=True,
    )
)
_LINES = Path(__file__).with_name("attributes.txt").read_text(encoding="utf-8").splitlines()
STATEMENTS = [line.split(" | ") for line in _LINES if line and not line.startswith("#")]
LABELER = Labeler()


def told(mention: Mention) -> frozenset[str]:
    certainty, *others, size_mm, change = mention.attributes
    words = [_CODES[mention.observation], *([] if certainty == "certain" else [certainty])]
    words += [value.replace(" ", "-") for value in (*others, change) if value]
    return frozenset(words if size_mm is None else [*words, f"{size_mm:g}mm"])


@pytest.mark.parametrize(("text", "expected"), STATEMENTS, ids=[text for text, _ in STATEMENTS])
def test_statement(text: str, expected: str) -> None:
    mentions = [mention for mention in LABELER.mentions(text) if mention.observation is not Observation.NO_FINDING]
    assert [set(told(mention)) for mention in mentions] == [set(words.split()) for words in expected.split("; ")]


def test_the_statements_are_many_and_distinct() -> None:
    assert len({text for text, _ in STATEMENTS}) == len(STATEMENTS) >= 60
