"""The labels that come with CheXpert Plus: what CheXbert read in the reports, as JSON lines."""

import json
from collections.abc import Hashable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, label_state_from_code
from orapo.data.chexpert_plus.image_names import parse_image_name
from orapo.errors import DataError

LABEL_NAMES = tuple(observation.value for observation in OBSERVATIONS)
"""Names of the 14 labels in the order in which ``SharedStates`` takes codes."""


_codes = itemgetter(*LABEL_NAMES)


class SharedStates:
    """Turns codes into label states; equal states are one mapping, since most studies share theirs with thousands."""

    def __init__(self) -> None:
        self._of_codes: dict[Hashable, LabelStates] = {}
        self._of_states: dict[tuple[LabelState, ...], LabelStates] = {}

    def of(self, codes: tuple[float | str | None, ...]) -> LabelStates:
        """The states of 14 codes in the order of ``OBSERVATIONS``; raises DataError naming the observation."""
        found = self._of_codes.get(codes)
        if found is None:
            found = self._of_codes[codes] = self._of(
                tuple(_state(name, code) for name, code in zip(LABEL_NAMES, codes, strict=True))
            )
        return found

    def same(self, states: LabelStates) -> LabelStates:
        """The mapping that stands for all states equal to these."""
        return self._of(tuple(states[observation] for observation in OBSERVATIONS))

    def _of(self, states: tuple[LabelState, ...]) -> LabelStates:
        return self._of_states.setdefault(states, dict(zip(OBSERVATIONS, states, strict=True)))


def read_chexbert_labels(path: Path) -> dict[str, LabelStates]:
    """Reads one of CheXbert's files: a JSON object on each line with path_to_image and 14 codes.

    Returns:
        States by the image's path without what stands before the part and without the ending.

    Raises:
        DataError: a line is no such object, or an image has two lines that disagree; names the line.
    """
    shared = SharedStates()
    labels: dict[str, LabelStates] = {}
    for line, record in _records(path):
        try:
            study, stem = parse_image_name(record["path_to_image"])
            states = shared.of(_codes(record))
        except KeyError as error:
            raise DataError(
                f"{path} line {line} has no key {error}; needed are path_to_image and the 14 labels"
            ) from None
        except (AttributeError, TypeError):
            raise DataError(f"{path} line {line}: a path or label is neither text nor number") from None
        except DataError as error:
            raise DataError(f"{path} line {line}: {error}") from None
        if labels.setdefault(f"{study.key}/{stem}", states) is not states:
            raise DataError(f"{path} line {line}: {study.key}/{stem} stands in an earlier line with other labels")
    if not labels:
        raise DataError(f"{path} is empty; a JSON object is needed on each line")
    return labels


def _records(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Pairs of line number and object; blank lines are passed over."""
    try:
        with open(path, encoding="utf-8") as file:
            for line, text in enumerate(file, start=1):
                if text := text.strip():
                    record = json.loads(text)
                    if not isinstance(record, dict):
                        raise DataError(f"{path} line {line} is no JSON object; the file must have one on each line")
                    yield line, record
    except json.JSONDecodeError:
        raise DataError(f"{path} line {line} is no JSON object; is the download complete?") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8; is the download complete?") from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from None


def _state(name: str, code: float | str | None) -> LabelState:
    try:
        return label_state_from_code(code)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
