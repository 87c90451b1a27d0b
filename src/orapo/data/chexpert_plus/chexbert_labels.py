"""The labels that come with CheXpert Plus: what CheXbert read in the reports, as JSON lines."""

import json
from collections.abc import Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from orapo.chexpert import LabelStates
from orapo.data.chexpert_plus.image_names import parse_image_name
from orapo.data.shared_states import LABEL_NAMES, SharedStates
from orapo.errors import DataError

_codes = itemgetter(*LABEL_NAMES)


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
            states = shared.of_codes(_codes(record))
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
