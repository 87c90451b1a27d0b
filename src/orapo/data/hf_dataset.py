"""A Hugging Face data set: a folder or a name of the hub, with a column of images and a column of reports."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from pathlib import Path
from typing import Any, ClassVar, Literal

from PIL import Image

from orapo.data.expected_files import ExpectedFile
from orapo.data.images import check_below_root, image_name, load_image
from orapo.data.splits import name_splits, split_from_word
from orapo.data.tables import is_blank, named, number_key, quoted
from orapo.data.tabulated import CONTEXT, OwnColumnsSettings, Reader, StudyRow, Tell
from orapo.data.target import REPORT
from orapo.data.views import view_name
from orapo.errors import DataError
from orapo.records import Split
from orapo.settings import settings

_SAVED = ("dataset_dict.json", "state.json")

_ROW = "row:"
"""Before the name of an image that is no file."""


class HfDatasetReader(Reader["HfDataset"]):
    """A row is a study; its image column holds one image or a list of them.

    A column split counts, else the data set's own splits; rows of a training split alone are dealt out by patient: the
    library calls so whatever has no splits. Without a column patient_id each study counts as a patient of its own.
    """

    name = "hf_dataset"

    def __init__(self, settings: "HfDataset") -> None:
        super().__init__(settings)
        self.title = settings.path
        self._images: dict[str, Any] = {}
        self._cells: dict[str, Mapping[str, str]] = {}

    def expected(self) -> Mapping[str, ExpectedFile]:
        """Nothing is looked for: the library finds the data set."""
        return {}

    def rows(self, tell: Tell) -> Sequence[StudyRow]:
        """Split by split, each in its own order."""
        parts = self._open()
        given = self._given_splits(parts)
        studies: list[tuple[str, str, Split | None, tuple[str, ...], tuple[str, ...]]] = []
        alone = 0
        for part, dataset in parts.items():
            places = self.settings.find_columns(f"{self.title} ({part})", dataset.column_names)
            self._tell_passed_over(part, dataset, set(places.values()), is_split=bool(given) or "split" in places)
            texts = {name: _texts(dataset, column, name, self.title) for name, column in places.items()}
            del texts["image"]
            self._images[part], present = _undecoded(dataset.select_columns([places["image"]]), self.title)
            for index, numbers in enumerate(present):
                cells = {name: column[index] for name, column in texts.items() if name != "view"}
                study_id = cells.get("study_id", "")
                study_id = f"{part}-{index}" if is_blank(study_id) else study_id
                if study_id in self._cells:
                    tell(
                        f"{self.title}: study {named(study_id)} stands in two rows; each must be one row with all its "
                        "images"
                    )
                    continue
                self._cells[study_id] = cells
                if not numbers:
                    tell(f"{self.title}: study {named(study_id)}, row {index} of {part}, has no image")
                    continue
                has_patient = not is_blank(cells.get("patient_id", ""))
                alone += not has_patient
                patient_id = number_key(cells["patient_id"]) if has_patient else study_id
                try:
                    views = _views(texts["view"][index] if "view" in texts else "", numbers)
                    split = _split(cells.get("split"), given.get(part))
                except DataError as error:
                    tell(f"{self.title}: study {named(study_id)}, row {index} of {part}: {error}")
                    continue
                images = tuple(f"{part}/{index}/{number}" for number in numbers)
                studies.append((study_id, patient_id, split, images, views))
        if alone:
            told = "each counts as a patient of its own, so that splits may share patients unseen"
            self.warnings.append(f"{self.title}: {alone:,} studies name no patient; {told}")
        has_split = any(split is not None for _, _, split, *_ in studies)
        splits = {} if has_split else self.settings.deal_out(patient for _, patient, *_ in studies)
        return [
            StudyRow(study_id, patient, splits[patient] if split is None else split, images, views)
            for study_id, patient, split, images, views in studies
        ]

    def sections(self, row: StudyRow) -> Mapping[str, str]:
        """The report as it is, and the columns of context."""
        return {name: self._cells[row.study_id].get(name, "") for name in (REPORT, *CONTEXT)}

    def image_path(self, row: StudyRow, image: str) -> str:
        """A name that only this source can open: split, row and number of the image."""
        return f"{_ROW}{image}"

    def load_image(
        self, path: str, *, study_id: str, longest_side: int | None, max_pixels: int | None = None
    ) -> Image.Image:
        """Decodes an image of a row as one of a file."""
        part, index, number = path.removeprefix(_ROW).rsplit("/", 2)
        content = self._contents(part, int(index))[int(number)]
        if content.get("bytes") is None:
            self._check_place(str(content["path"]), study_id)
            return load_image(str(content["path"]), study_id=study_id, longest_side=longest_side, max_pixels=max_pixels)
        with tempfile.NamedTemporaryFile(suffix=".png") as file:  # which tells nothing: the first bytes do
            file.write(content["bytes"])
            file.flush()
            try:
                return load_image(file.name, study_id=study_id, longest_side=longest_side, max_pixels=max_pixels)
            except DataError as error:
                raise DataError(
                    str(error).replace(image_name(file.name), f"{path.removeprefix(_ROW)} of {self.title}")
                ) from None

    def _check_place(self, path: str, study_id: str) -> None:
        """A file that a row names lies in the folder of the data set, or where the library unpacks archives."""
        import datasets

        try:
            check_below_root(path, str(datasets.config.HF_CACHE_HOME), study_id=study_id)
        except DataError:
            check_below_root(path, self.settings.path, study_id=study_id)

    def _open(self) -> dict[str, Any]:
        import datasets

        path = self.settings.path
        try:
            if any(os.path.isfile(Path(path) / name) for name in _SAVED):
                loaded = datasets.load_from_disk(path)
            else:
                loaded = datasets.load_dataset(path, self.settings.subset, split=None)
        except Exception as error:  # of any library that reads the format
            reason = " ".join(str(error).split())[:200]
            if isinstance(error, datasets.exceptions.DatasetGenerationError):
                reason = "do all of its files have the same columns, named in the first line?"  # its words quote cells
            raise DataError(
                f"{path} can't be opened as a Hugging Face data set: {type(error).__name__}: {reason}"
            ) from None
        return dict(loaded) if isinstance(loaded, dict) else {"train": loaded}

    def _given_splits(self, parts: Mapping[str, Any]) -> dict[str, Split]:
        """Of each part; none where one part alone is called train, or isn't called by a split's word."""
        try:
            given = {part: split_from_word(part) for part in parts}
            return {} if list(given.values()) == [Split.TRAIN] else given
        except DataError as error:
            if len(parts) == 1:
                return {}
            raise DataError(f"{self.title}: {error}; rename the splits of the data set") from None

    def _tell_passed_over(self, part: str, dataset: Any, read: set[str], *, is_split: bool) -> None:
        passed_over = [name for name in dataset.column_names if name not in read]
        if passed_over:
            self.notes.append(f"columns of {part} passed over: {', '.join(passed_over)}")
        for name in () if is_split else passed_over:
            kind = dataset.features[name]
            cells = kind.names if hasattr(kind, "names") else ()
            if getattr(kind, "dtype", "") in ("string", "large_string"):
                cells = set(filter(None, dataset[name]))
            if name_splits(cells):
                # Its test patients would be trained on.
                raise DataError(
                    f"{self.title}: column {name!r} names splits, but there is no column 'split'; name it so, or set "
                    f"columns={{split: {name}}}"
                )

    def _contents(self, part: str, index: int) -> list[Mapping[str, Any]]:
        (value,) = self._images[part][index].values()
        return list(value) if isinstance(value, list) else [value]


@settings
class HfDataset(OwnColumnsSettings):
    """Settings of a Hugging Face data set.

    Attributes:
        path: a folder (saved by ``save_to_disk``, or of Parquet, JSON or image files), or a name of the hub.
        subset: the configuration, of a data set that has several.
    """

    path: str
    _: KW_ONLY
    subset: str | None = None
    labels: Literal["labeler", "table"] = "labeler"

    reader: ClassVar[type[Reader[Any]]] = HfDatasetReader
    required = ("image", "report")
    optional = ("study_id", "patient_id", "view", "split", *CONTEXT)


def _texts(dataset: Any, column: str, name: str, title: str) -> Sequence[Any]:
    """A column's cells as text, without white space around; of views also lists of them."""
    kind = dataset.features[column]
    if name == "image":
        return ()
    item = getattr(kind, "feature", kind) if name == "view" else kind
    if hasattr(item, "feature") or isinstance(item, dict | list) or not hasattr(item, "dtype"):
        allowed = "text, or a list of one for each image" if name == "view" else "text"
        raise DataError(f"{title}: column {column!r} holds {type(kind).__name__}; it must hold {allowed}")
    words = item.names if hasattr(item, "names") else None

    def text(cell: Any) -> str:
        return "" if cell is None else str(words[cell] if words and cell >= 0 else cell).strip()

    return [list(map(text, cell)) if isinstance(cell, list) else text(cell) for cell in dataset[column]]


def _views(cell: str | list[str], numbers: Sequence[int]) -> tuple[str, ...]:
    """The view of each image that is there; one for all, or a list that has one for each place."""
    if isinstance(cell, str):
        return (view_name(cell),) * len(numbers)
    if len(cell) <= numbers[-1]:
        raise DataError(f"it has {numbers[-1] + 1} images, and {len(cell)} views")
    return tuple(view_name(cell[number]) for number in numbers)


def _split(word: str | None, given: Split | None) -> Split | None:
    if word is None:
        return given
    split = split_from_word(word)
    if given is not None and split is not given:
        raise DataError(f"its column split is {quoted(word)}, but it stands in the split {given}")
    return split


def _undecoded(dataset: Any, title: str) -> tuple[Any, Sequence[Sequence[int]]]:
    """The column of images with the bytes of their files, and the places of each row's images; opens none."""
    import datasets
    from pyarrow import compute

    (name, kind), raw = next(iter(dataset.features.items())), datasets.Image(decode=False)
    column = dataset.data.column(name)
    if isinstance(kind, datasets.Image):
        return dataset.cast_column(name, raw), [[0] if cell else [] for cell in compute.is_valid(column).to_pylist()]
    if isinstance(getattr(kind, "feature", None), datasets.Image):
        lengths = compute.fill_null(compute.list_value_length(column), 0).to_pylist()
        there = iter(compute.is_valid(compute.list_flatten(column)).to_pylist())
        present = [[number for number in range(length) if next(there)] for length in lengths]
        return dataset.cast_column(name, datasets.List(raw)), present
    raise DataError(f"{title}: column {name!r} holds {type(kind).__name__}; it must hold images, or lists of images")
