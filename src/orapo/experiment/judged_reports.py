"""Reports and label states from files, for the commands that judge outside of a run."""

import csv
import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation, label_state_from_code
from orapo.errors import DataError
from orapo.foreign import decoded, parse_json, read_text
from orapo.json_lines import read_json_lines


def read_report(path: str) -> str:
    """The text of a file, or of standard input for ``"-"``.

    Raises:
        DataError: the file can't be read.
    """
    return decoded(sys.stdin.buffer.read(), "standard input") if path == "-" else read_text(path)


def read_labels(path: str) -> LabelStates:
    """The label states of one study from JSON ({observation: 1, 0, -1 or null}) or from a CSV with one row.

    Raises:
        DataError: the file can't be read, names something that is no observation, or holds another code.
    """
    text = read_text(path)
    content: object = parse_json(text, path) if Path(path).suffix == ".json" else _only_row(text, path)
    if not isinstance(content, dict):
        raise DataError(f"labels {path} must map observations to 1, 0, -1 or null")
    known = {observation.value for observation in OBSERVATIONS}
    if Path(path).suffix == ".json" and (unknown := sorted(set(content) - known)):
        raise DataError(f"labels {path}: {unknown[0]!r} is no observation; allowed: {', '.join(sorted(known))}")
    if not known & set(content):
        raise DataError(f"labels {path} names none of the 14 observations: {', '.join(sorted(known))}")
    try:
        return {o: label_state_from_code(_code(content.get(o.value))) for o in OBSERVATIONS}
    except DataError as error:
        raise DataError(f"labels {path}: {error}") from None


def read_reports_with_labels(path: str, at_most: int | None) -> tuple[list[str], list[LabelStates]]:
    """Generated reports and their studies' label states from a run's test_reports.jsonl or rollouts.jsonl.

    Args:
        path: the file.
        at_most: read only this many rows, the first ones, at least 1; None reads all.

    Raises:
        DataError: the file can't be read, a row lacks the report or the labels, or there is no row.
    """
    if at_most is not None and at_most < 1:
        raise DataError(f"--num is {at_most}; it must be at least 1")
    reports: list[str] = []
    labels: list[LabelStates] = []
    for number, row in islice(read_json_lines(path), at_most):
        states = row.get("oracle_states", row.get("oracle_labels"))
        if not isinstance(row.get("generated_report"), str) or not isinstance(states, dict):
            raise DataError(f"{path}, line {number} lacks generated_report, or oracle_states / oracle_labels")
        reports.append(row["generated_report"])
        labels.append(_states_from_words(states, f"{path}, line {number}"))
    if not reports:
        raise DataError(f"{path} holds no report; at least one is needed")
    return reports, labels


def _states_from_words(words: Mapping[str, Any], where: str) -> LabelStates:
    try:
        return {o: LabelState(words.get(o.value, LabelState.UNMENTIONED.value)) for o in Observation}
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None


def _only_row(text: str, path: str) -> dict[str, Any]:
    try:
        rows = list(csv.DictReader(text.splitlines()))
    except csv.Error as error:
        raise DataError(f"labels {path} is no table: {error}") from None
    if len(rows) != 1:
        raise DataError(f"labels {path} has {len(rows)} rows; exactly one is needed, that of the study")
    return dict(rows[0])


def _code(value: object) -> str:
    return "" if value is None else str(value)
