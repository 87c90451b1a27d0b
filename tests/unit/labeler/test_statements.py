"""Whole statements in the manner of real reports, with the states of all 14 observations.

statements.txt, and cases.txt and siblings.txt with those that are easily read the wrong way round, hold one a line:
"PE+ PT- CM?" is effusion positive, pneumothorax negative, cardiomegaly uncertain, and every observation without a code
unmentioned (No Finding included: "NF+" where it holds).
"""

from pathlib import Path

import pytest

from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.labeler import Labeler

_CODES = dict(
    zip(
        OBSERVATIONS,
        ["NF", "EC", "CM", "LL", "LO", "ED", "CO", "PN", "AT", "PT", "PE", "PO", "FX", "SD"],
        strict=True,
    )
)
_SIGNS = {LabelState.POSITIVE: "+", LabelState.NEGATIVE: "-", LabelState.UNCERTAIN: "?"}
FILES = ("statements.txt", "cases.txt", "siblings.txt")
LABELER = Labeler()


def statements(name: str) -> list[tuple[str, frozenset[str]]]:
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    parts = (line.rpartition("|") for line in lines if line and not line.startswith("#"))
    return [(text.strip(), frozenset(codes.split())) for text, _, codes in parts]


def read(text: str) -> set[str]:
    states = LABELER.label(text).states
    return {_CODES[observation] + _SIGNS[state] for observation, state in states.items() if state in _SIGNS}


@pytest.mark.parametrize("name", FILES)
def test_statements(name: str) -> None:
    """All of a file in one test: a test for each of thousands would cost more than reading them."""
    wrong = {text: (found, codes) for text, codes in statements(name) if (found := read(text)) != codes}
    assert not wrong, "\n".join(f"{text} | {found}, not {set(codes)}" for text, (found, codes) in wrong.items())


def test_the_statements_are_many_and_distinct() -> None:
    texts = [text for name in FILES for text, _ in statements(name)]
    assert len(set(texts)) == len(texts) >= 2_000
