"""The samples of an annotation.json, checked one by one: hundreds of thousands of them in seconds."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from orapo.data.splits import split_from_word
from orapo.errors import DataError
from orapo.records import Split

_KINDS = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


class Sample(NamedTuple):
    """One entry of the file, which may be one image of a study, or a study.

    Attributes:
        word: the file's name of the list that it stands in.
        number: in that list, from 0.
        split: what the word means.
        sample_id: its id.
        study_id: ``"s50414267"`` when the sample says so, else ``"patient42142/study5"`` when its images' folders say
            so, else its id.
        patient_id: ``"p10000032"`` or ``"patient42142"`` likewise, else the study's id.
        states_study: whether the sample itself names the study.
        states_patient: whether the sample or its images' folders name the patient.
        report: as written.
        image_paths: as written, at least one.
    """

    word: str
    number: int
    split: Split
    sample_id: str
    study_id: str
    patient_id: str
    states_study: bool
    states_patient: bool
    report: str
    image_paths: tuple[str, ...]

    @property
    def place(self) -> str:
        """In words."""
        return f"{self.word} sample {self.number} (counted from 0)"


def read_samples(path: Path) -> Iterator[Sample]:
    """Reads a JSON object with the lists train, val (or validate, valid) and test.

    Each sample is an object with ``id``, ``report`` and ``image_path`` (a list); it may have ``study_id``,
    ``subject_id`` and ``split``.

    Yields:
        Training samples first, then those of validation and test, each in the file's order.

    Raises:
        DataError: the file can't be read, a split is missing, empty or unknown, or a sample lacks a key or has another
            type there; names file, split and index, and never quotes a report.
    """
    lists = _lists(path, _content(path))
    for split in Split:
        word, samples = lists[split]
        for number, sample in enumerate(samples):
            try:
                yield _sample(sample, split, word, number)
            except DataError as error:
                raise DataError(f"{path}: {word} sample {number} (counted from 0): {error}") from None
            samples[number] = None  # its text is not needed twice


def _content(path: Path) -> object:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        raise DataError(f"there is no annotation {path}") from None
    except json.JSONDecodeError as error:  # not chained: it holds the whole text
        raise DataError(f"{path} is no JSON ({error.msg} at character {error.pos}); is it complete?") from None
    except (UnicodeDecodeError, RecursionError):
        raise DataError(f"{path} is no JSON in UTF-8; is it an annotation?") from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from None


def _lists(path: Path, content: object) -> dict[Split, tuple[str, list[Any]]]:
    """The list of each split with the word that the file uses for it."""
    if not isinstance(content, dict):
        raise DataError(f"{path} holds {_kind(content)}; it must be an object with the lists train, val and test")
    lists: dict[Split, tuple[str, list[Any]]] = {}
    for word, samples in content.items():
        try:
            split = split_from_word(word)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        if split in lists:
            raise DataError(f"{path}: {lists[split][0]!r} and {word!r} are the same split; one is allowed")
        if not isinstance(samples, list) or not samples:
            raise DataError(f"{path}: split {word!r} is {_kind(samples)}; it must be a list of at least one sample")
        lists[split] = (word, samples)
    missing = [split.value for split in Split if split not in lists]
    if missing:
        raise DataError(f"{path} has no split {' and no split '.join(missing)}; train, val and test are needed")
    return lists


def _sample(sample: object, split: Split, word: str, number: int) -> Sample:
    if not isinstance(sample, dict):
        raise DataError(f"it is {_kind(sample)}; it must be an object with id, report and image_path")
    missing = [key for key in ("id", "report", "image_path") if key not in sample]
    if missing:
        keys = ", ".join(key for key in sample if key.isidentifier())  # others could be texts
        raise DataError(f"it has no {' and no '.join(missing)}; its keys are {keys or 'none'}")
    if "split" in sample and sample["split"] != word and split_from_word(_name(sample, "split")) is not split:
        raise DataError(f"its split is {sample['split']!r}, but it stands in the list of {split.value}")
    if not isinstance(sample["report"], str):
        raise DataError(f"report is {_kind(sample['report'])}; it must be text")
    image_paths = _image_paths(sample["image_path"])
    patient, study = _folders(image_paths[0])
    sample_id = _name(sample, "id")
    study_id = _numbered("s", _name(sample, "study_id")) if "study_id" in sample else study or sample_id
    patient_id = _numbered("p", _name(sample, "subject_id")) if "subject_id" in sample else patient
    return Sample(
        word=word,
        number=number,
        split=split,
        sample_id=sample_id,
        study_id=study_id,
        patient_id=patient_id or study_id,
        states_study="study_id" in sample,
        states_patient=bool(patient_id),
        report=sample["report"],
        image_paths=image_paths,
    )


def _image_paths(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(path, str) and path.strip() for path in value):
        raise DataError(f"image_path is {_kind(value)}; it must be a list of one path or more")
    return tuple(value)


def _folders(path: str) -> tuple[str, str]:
    """Patient and study that an image's folders name; "" where they don't.

    ``train/patient42142/study5/view1_frontal.png`` and ``p10/p10000032/s50414267/x.jpg`` do.
    """
    pieces = path.split("/")[-3:-1]
    if len(pieces) == 2:
        patient, study = pieces
        if patient[:7] == "patient" and patient[7:].isdecimal() and study[:5] == "study" and study[5:].isdecimal():
            return patient, f"{patient}/{study}"
        if patient[:1] == "p" and patient[1:].isdecimal() and study[:1] == "s" and study[1:].isdecimal():
            return patient, study
    return "", ""


def _name(sample: dict[str, Any], key: str) -> str:
    value = sample[key]
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).strip():
        raise DataError(f"{key} is {_kind(value)}; it must be a whole number or text that isn't blank")
    return str(value).strip()


def _numbered(letter: str, name: str) -> str:
    return f"{letter}{name}" if name.isdecimal() else name


def _kind(value: object) -> str:
    """What a value is, without quoting it."""
    is_empty = value in ("", [], {}) or (isinstance(value, str) and value.isspace())
    return f"{_KINDS[type(value)]}{' (empty)' if is_empty else ''}"
