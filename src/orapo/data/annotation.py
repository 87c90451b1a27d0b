"""A published split: an annotation.json, the list of samples by which many report generation papers share data."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from orapo.data.expected_files import ExpectedFile
from orapo.data.images import check_below_root, image_name
from orapo.data.splits import split_from_word
from orapo.data.tables import number_key
from orapo.data.tabulated import Reader, SourceSettings, StudyRow, Tell
from orapo.data.target import REPORT
from orapo.data.views import Views
from orapo.errors import DataError
from orapo.foreign import read_json
from orapo.records import Split
from orapo.settings import settings

PREFIXES = ("", "images", "files", "PNG", "PNG/PNG")
"""Folders below the root that image paths may start from; annotations leave them out."""

IN_HELD_OUT = "patient is in test or validate"
IN_TEST = "patient is in test"

_FOLDERS = re.compile(r"(?:.*/)?(?:(patient\d+/study\d+)|(p\d+)/(s\d+))/[^/]*", re.DOTALL)
_OTHER_ENDING = {".jpg": ".png", ".png": ".jpg"}
MOST_BYTES = 4_000_000_000
"""Of a file that holds the reports of a whole data set."""
_strength = tuple(Split).index
"""Where a patient or a study stands in several splits, the strongest one gets it: test before validate."""
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
        split: that of its list.
        sample_id: its id.
        study_id: ``"s50414267"`` when the sample says so, else ``"patient42142/study5"`` when its images' folders say
            so, else its id.
        patient_id: ``"p10000032"`` or ``"patient42142"`` likewise, else "".
        states_study: whether the sample itself names the study.
        report: as written.
        image_paths: as written, at least one.
    """

    split: Split
    sample_id: str
    study_id: str
    patient_id: str
    states_study: bool
    report: str
    image_paths: tuple[str, ...]


@dataclass(slots=True)
class _Study:
    """A study as far as its samples are read; the report is that of the first."""

    patient_id: str
    split: Split
    report: str
    sample_ids: list[str] = field(default_factory=list)
    image_paths: list[str] = field(default_factory=list)


class AnnotationReader(Reader["Annotation"]):
    """Studies of ``{"train": [...], "val": [...], "test": [...]}``, training first, each split in the file's order.

    Samples of MIMIC-CXR (R2Gen) are images with study_id and subject_id; those of CheXpert Plus (CXPMRG-Bench) tell
    both by the folders of their images. One study comes of all samples that share it. The file's own split counts, as
    far as no patient stands in two: random splits share patients, and training on a patient of the test set would
    make its numbers worthless.
    """

    name = "annotation"
    title = "annotation"
    tables = ("annotation",)
    id_columns = ("study_id", "id")
    images_are_paths = True

    def __init__(self, settings: "Annotation") -> None:
        super().__init__(settings)
        self.title = settings.annotation or self.title
        self._studies: dict[str, _Study] = {}
        self._spelled: dict[str, str] = {}

    def expected(self) -> Mapping[str, ExpectedFile]:
        """Both are named; raises DataError where one isn't given or isn't there."""
        annotation, root = self.settings.annotation, self.settings.root
        if not annotation:
            raise DataError("annotation: no file given; set data.annotation to the annotation.json")
        if not root:
            raise DataError("annotation: no folder given; set data.root to the one that the image paths start from")
        if not Path(annotation).is_file():
            raise DataError(f"there is no annotation {annotation}")
        if not Path(root).is_dir():
            raise DataError(f"root {root} is not a folder; it must be the one that the image paths start from")
        return {
            "annotation": ExpectedFile("the annotation", (Path(annotation),), ""),
            "images": ExpectedFile("the images", (Path(root),), ""),
        }

    def rows(self, tell: Tell) -> Sequence[StudyRow]:
        """Joins samples of one study: its images in the file's order, its report once."""
        path = self.files["annotation"]
        several: set[str] = set()
        differing: set[str] = set()
        without_patient: set[str] = set()
        for place, sample in read_samples(path, tell):
            if not sample.patient_id:
                without_patient.add(sample.study_id)
            patient_id = sample.patient_id or sample.study_id
            study = self._studies.get(sample.study_id)
            if study is None:
                study = self._studies[sample.study_id] = _Study(patient_id, sample.split, sample.report)
            elif patient_id != study.patient_id:
                told = "is of another patient than in an earlier sample"
                tell(f"{path}: {place}: study {sample.study_id} {told}")
                continue
            elif sample.states_study and sample.report != study.report:
                # Those of CheXpert Plus, known by folders, differ in invented dates.
                told = "has another report than in an earlier sample; samples of one study_id are its images and must"
                tell(f"{path}: {place}: study {sample.study_id} {told} share the report")
                continue
            if sample.report != study.report:
                differing.add(sample.study_id)
            if sample.split is not study.split:
                several.add(sample.study_id)
                study.split = max(study.split, sample.split, key=_strength)
            study.sample_ids.append(sample.sample_id)
            study.image_paths += [image for image in sample.image_paths if image not in study.image_paths]
        odd = (
            (several, "have samples in several splits; each counts for test, else for validate, with all its images"),
            (differing, "have samples with different reports; the first one counts"),
            (
                without_patient,
                "name no patient (no subject_id, no patientN/studyM folder); each counts as a patient of its own, so "
                "that splits may share patients unseen",
            ),
        )
        self.warnings = [f"{path}: {len(studies):,} studies {what}" for studies, what in odd if studies]
        strongest: dict[str, Split] = {}
        for study in self._studies.values():
            split = strongest.setdefault(study.patient_id, study.split)
            strongest[study.patient_id] = max(split, study.split, key=_strength)
        rows = [_row(study_id, study, strongest[study.patient_id]) for study_id, study in self._studies.items()]
        displaced = [row for row in rows if row.left_out]
        if self.settings.shared_patients == "refuse" and (displaced or several):
            example = f", for example that of study {displaced[0].study_id}" if displaced else ""
            tell(
                f"{path}: {len({row.patient_id for row in displaced}):,} patients have studies in several splits"
                f"{example}, and {len(several):,} studies have samples in several; shared_patients=leave_out keeps "
                "each patient in test, else in validate"
            )
        return rows

    def sections(self, row: StudyRow) -> Mapping[str, str]:
        """The report on one line."""
        return {REPORT: " ".join(self._studies[row.study_id].report.split())}

    def image_path(self, row: StudyRow, image: str) -> str:
        """Its own ending or else the other of .jpg and .png, in the first of ``PREFIXES`` that has it."""
        check_below_root(image, str(self.files["images"]), study_id=row.study_id)
        if (path := self._found(image)) is not None:
            return path
        below = ", ".join(prefix or "." for prefix in PREFIXES)
        raise DataError(
            f"study {row.study_id}: there is no image {image_name(image)} below {self.files['images']} (tried {below})"
        )

    def place_of_image(self, image: str) -> str:
        """Without folder and ending that may be left out; two such spellings are one image if they find one file."""
        place = os.path.normpath(image)
        if os.path.isabs(place):
            place = os.path.relpath(place, self.files["images"].absolute())
        for prefix in reversed(PREFIXES):  # the longest first
            place = place.removeprefix(f"{prefix}/") if prefix else place
        stem, ending = os.path.splitext(place)
        place = stem if ending in _OTHER_ENDING else place
        # Only where two spellings meet are files looked for: there may be hundreds of thousands.
        other = self._spelled.setdefault(place, image)
        if os.path.normpath(other) == os.path.normpath(image):
            return place
        found = self._found(image), self._found(other)
        is_same = None not in found and len({os.path.realpath(path) for path in found if path}) == 1
        return place if is_same else os.path.normpath(image)

    def check_listed(self, rows: Sequence[StudyRow]) -> None:
        """No image is compared from here on: frees the memory."""
        self._spelled.clear()

    def _found(self, image: str) -> str | None:
        """Always in one order, so that the same image is found whatever was read before."""
        stem, ending = os.path.splitext(image)
        names = (image, f"{stem}{_OTHER_ENDING.get(ending, ending)}")
        paths = (os.path.join(self.files["images"], prefix, name) for name in names for prefix in PREFIXES)
        return next(filter(os.path.isfile, paths), None)

    def label_key(self, column: str, cell: str) -> str:
        return super().label_key(column, cell) if column == "study_id" else cell

    def label_keys(self, row: StudyRow, column: str) -> Iterable[str]:
        """By study, or by any of its samples."""
        return super().label_keys(row, column) if column == "study_id" else self._studies[row.study_id].sample_ids


@settings
class Annotation(SourceSettings):
    """Settings of an annotation.json.

    Attributes:
        annotation: the JSON file.
        root: folder of the images; their paths start there, or in images/, files/, PNG/ or PNG/PNG/ below.
        views: the projections that files are named by (view1_frontal); most annotations tell none.
        labels: texts cleaned as R2Gen does (lower case, sentences joined by " . ") are fine for the labeler. A
            ``label_table`` has ids in study_id or id.
        shared_patients: ``"leave_out"`` leaves a patient's training studies out when others of theirs are in test or
            validate, and validation studies when others are in test; ``"refuse"`` raises.
    """

    annotation: str | None
    root: str | None
    _: KW_ONLY
    views: Views = "all"
    labels: Literal["labeler", "table"] = "labeler"
    shared_patients: Literal["leave_out", "refuse"] = "leave_out"

    reader: ClassVar[type[Reader[Any]]] = AnnotationReader


def read_samples(path: Path, tell: Tell) -> Iterator[tuple[str, Sample]]:
    """Reads a JSON object with the lists train, val (or validate, valid) and test.

    Each sample is an object with ``id``, ``report`` and ``image_path`` (a list); it may have ``study_id``,
    ``subject_id`` and ``split``.

    Yields:
        Pairs of place in words and sample: training samples first, then those of validation and test.

    Raises:
        DataError: the file can't be read, or a split is missing, empty or unknown. A sample that lacks a key or has
            another type there is named by split and index; a report is never quoted.
    """
    lists = _lists(path, read_json(path, MOST_BYTES))
    for split in Split:
        word, samples = lists[split]
        for number, content in enumerate(samples):
            place = f"{word} sample {number} (counted from 0)"
            try:
                yield place, _sample(content, split, word)
            except DataError as error:
                tell(f"{path}: {place}: {error}")
            samples[number] = None  # its text is not needed twice


def kind_of(value: object) -> str:
    """The JSON type of a value, without quoting it."""
    is_empty = value in ("", [], {}) or (isinstance(value, str) and value.isspace())
    return f"{_KINDS[type(value)]}{' (empty)' if is_empty else ''}"


def _lists(path: Path, content: object) -> dict[Split, tuple[str, list[Any]]]:
    """The list of each split with the word that the file uses for it."""
    if not isinstance(content, dict):
        raise DataError(f"{path} holds {kind_of(content)}; it must be an object with the lists train, val and test")
    lists: dict[Split, tuple[str, list[Any]]] = {}
    for word, samples in content.items():
        try:
            split = split_from_word(word)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        if split in lists:
            raise DataError(f"{path}: {lists[split][0]!r} and {word!r} are the same split; one is allowed")
        if not isinstance(samples, list) or not samples:
            raise DataError(f"{path}: split {word!r} is {kind_of(samples)}; it must be a list of at least one sample")
        lists[split] = (word, samples)
    missing = [split.value for split in Split if split not in lists]
    if missing:
        raise DataError(f"{path} has no split {' and no split '.join(missing)}; train, val and test are needed")
    return lists


def _sample(sample: object, split: Split, word: str) -> Sample:
    if not isinstance(sample, dict):
        raise DataError(f"it is {kind_of(sample)}; it must be an object with id, report and image_path")
    missing = [key for key in ("id", "report", "image_path") if key not in sample]
    if missing:
        keys = ", ".join(key for key in sample if key.isidentifier())  # others could be texts
        raise DataError(f"it has no {' and no '.join(missing)}; its keys are {keys or 'none'}")
    if "split" in sample and sample["split"] != word and split_from_word(_name(sample, "split")) is not split:
        raise DataError(f"its split is {sample['split']!r}, but it stands in the list of {split.value}")
    if not isinstance(sample["report"], str):
        raise DataError(f"report is {kind_of(sample['report'])}; it must be text")
    paths = sample["image_path"]
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) and path.strip() for path in paths):
        raise DataError(f"image_path is {kind_of(paths)}; it must be a list of one path or more")
    patient, study = _folders(paths[0])
    sample_id = _name(sample, "id")
    study_id = _numbered("s", _name(sample, "study_id")) if "study_id" in sample else study or sample_id
    patient_id = _numbered("p", _name(sample, "subject_id")) if "subject_id" in sample else patient
    return Sample(
        split=split,
        sample_id=sample_id,
        study_id=study_id,
        patient_id=patient_id,
        states_study="study_id" in sample,
        report=sample["report"],
        image_paths=tuple(paths),
    )


def _folders(path: str) -> tuple[str, str]:
    """Patient and study that an image's folders name; "" where they don't.

    ``train/patient42142/study5/view1_frontal.png`` and ``p10/p10000032/s50414267/x.jpg`` do.
    """
    if (found := _FOLDERS.fullmatch(path)) is None:
        return "", ""
    of_chexpert, patient, study = found.groups()
    return (of_chexpert.partition("/")[0], of_chexpert) if of_chexpert else (patient, study)


def _name(sample: dict[str, Any], key: str) -> str:
    value = sample[key]
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).strip():
        raise DataError(f"{key} is {kind_of(value)}; it must be a whole number or text that isn't blank")
    return str(value).strip()


def _numbered(letter: str, name: str) -> str:
    key = number_key(name)
    return f"{letter}{key}" if key.isdecimal() else key


def _row(study_id: str, study: _Study, strongest: Split) -> StudyRow:
    left_out = ""
    if strongest is not study.split:
        left_out = IN_HELD_OUT if study.split is Split.TRAIN else IN_TEST
    paths = tuple(study.image_paths)
    return StudyRow(study_id, study.patient_id, study.split, paths, _views_of(paths), left_out=left_out)


def _views_of(image_paths: Sequence[str]) -> tuple[str, ...]:
    """The projection that each file's name tells, ``"FRONTAL"`` or ``"LATERAL"``; "" where it doesn't."""
    stems = [path.rpartition("/")[2].rpartition(".")[0] for path in image_paths]
    return tuple(next((v.upper() for v in ("frontal", "lateral") if stem.endswith(f"_{v}")), "") for stem in stems)
