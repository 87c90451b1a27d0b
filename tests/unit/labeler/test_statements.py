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
_LINES = [
    line
    for name in ("statements.txt", "cases.txt", "siblings.txt")
    for line in Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
]
STATEMENTS = [
    (text.strip(), frozenset(codes.split()))
    for text, _, codes in (line.rpartition("|") for line in _LINES if line and not line.startswith("#"))
]
LABELER = Labeler()


@pytest.mark.parametrize(("text", "codes"), STATEMENTS, ids=[text for text, _ in STATEMENTS])
def test_statement(text: str, codes: frozenset[str]) -> None:
    states = LABELER.label(text).states
    assert {_CODES[observation] + _SIGNS[state] for observation, state in states.items() if state in _SIGNS} == codes


def test_the_statements_are_many_and_distinct() -> None:
    assert len({text for text, _ in STATEMENTS}) == len(STATEMENTS) >= 2_000
