"""Proves an installation of the labeler on sentences that come with it: an error in its parts must not go unseen."""

import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.labeler.labeler import Labeler
from orapo.labeler.quirks import QUIRK_MODES


@dataclass(frozen=True, slots=True)
class Statement:
    """A made-up report whose states are known.

    Attributes:
        text: the report.
        states: the 14 states that are right, for each mode of the labeler.
    """

    text: str
    states: Mapping[str, LabelStates]


def load_statements() -> tuple[Statement, ...]:
    content = files("orapo.labeler").joinpath("self_test.toml").read_text(encoding="utf-8")
    return tuple(_statement(entry) for entry in tomllib.loads(content)["statement"])


def _statement(entry: Mapping[str, Any]) -> Statement:
    return Statement(entry["text"], {mode: _states(entry.get(mode, entry)) for mode in QUIRK_MODES})


def _states(entry: Mapping[str, Any]) -> LabelStates:
    states = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
    for state in (LabelState.POSITIVE, LabelState.NEGATIVE, LabelState.UNCERTAIN):
        states.update({Observation(name): state for name in entry.get(state.value, ())})
    return states


def run_self_test() -> bool:
    """Labels every statement in every mode, prints each mismatch and a count, and returns whether all are right."""
    try:
        statements = load_statements()
        mismatches = [line for mode in QUIRK_MODES for line in _mismatches(Labeler(mode), mode, statements)]
    except Exception as error:  # a file of the package is gone or broken, in whatever way
        print(f"self-test: the labeler can't run: {type(error).__name__}: {error}; install it again", file=sys.stderr)
        return False
    for line in mismatches:
        print(line, file=sys.stderr)
    num_states = len(statements) * len(OBSERVATIONS) * len(QUIRK_MODES)
    told = f"{len(mismatches)} mismatches" if mismatches else "all right"
    print(f"self-test: {len(statements)} statements in {len(QUIRK_MODES)} modes, {num_states} states: {told}")
    return not mismatches


def _mismatches(labeler: Labeler, mode: str, statements: tuple[Statement, ...]) -> list[str]:
    lines = []
    for statement in statements:
        got = labeler.label(statement.text).states
        for observation, expected in statement.states[mode].items():
            if got[observation] is not expected:
                lines.append(
                    f"quirks {mode}: {statement.text!r}: {observation} is {got[observation].value}, "
                    f"expected {expected.value}"
                )
    return lines
