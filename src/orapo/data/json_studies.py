"""Data sets that are JSON objects of studies by id: ReXGradient-160K, and the sets of the leaderboard ReXrank."""

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY
from pathlib import Path
from typing import Any, ClassVar, Literal

from orapo.data.annotation import MOST_BYTES, kind_of
from orapo.data.context import read_day, read_time
from orapo.data.expected_files import ExpectedFile, require_root
from orapo.data.images import path_below
from orapo.data.report_sections import MissingSection
from orapo.data.splits import split_from_word
from orapo.data.tables import named, quoted
from orapo.data.tabulated import AnySettings, Reader, SectionSettings, StudyRow, Tell
from orapo.data.views import view_name
from orapo.errors import DataError
from orapo.foreign import read_json
from orapo.records import Split
from orapo.settings import settings

_MOST_KEYS_SHOWN = 20
_SECTIONS = ("findings", "impression", "indication", "comparison", "technique")
_CONTEXT = re.compile(
    # Where a sentence starts, or with a capital after a comma: "with history: COPD" belongs to what is told.
    r"(?:^|(?<=[.;\n])|(?<=,)(?=\s{0,40}(?-i:[A-Z])))\s{0,40}"
    r"(Age|Gender|Sex|Indication|History|Comparison|Technique)\s*:",
    re.IGNORECASE,
)
_NAMES = {"gender": "sex", "history": "indication"}
_SECONDS_OF_DAY = 100_000
"""More than a day has, so that a leap second is not the next day."""


class JsonStudiesReader(Reader[AnySettings]):
    """Reads objects of studies; keys count in any case, with or without spaces and underscores.

    Attributes:
        keys: what each of the names here is called in the files.
    """

    images_are_paths = True
    keys: ClassVar[Mapping[str, str]]

    def __init__(self, settings: AnySettings) -> None:
        super().__init__(settings)
        self._told: dict[str, Mapping[str, str]] = {}

    def read_studies(self, path: Path, split: Split | None, tell: Tell) -> Iterator[StudyRow]:
        """The studies of one file, all of a split or of the one that each names; raises DataError for another form."""
        content = read_json(path, MOST_BYTES)
        if not isinstance(content, dict) or not content:
            raise DataError(f"{path} holds {kind_of(content)}; it must be an object of studies by their ids")
        passed_over: set[str] = set()
        for study_id in list(content):
            study = content.pop(study_id)  # its texts are not needed twice
            try:
                if not isinstance(study, dict):
                    raise DataError(f"it is {kind_of(study)}; it must be an object")
                cells = _by_key(study)
                yield self._row(study_id, cells, split)
                passed_over |= cells.keys() - set(map(_key, self.keys.values()))
            except DataError as error:
                tell(f"{path}: study {named(study_id)}: {error}")
        if passed_over:
            shown = ", ".join(sorted(passed_over)[:_MOST_KEYS_SHOWN])
            self.notes.append(f"{path}: keys passed over: {shown}")

    def sections(self, row: StudyRow) -> Mapping[str, str]:
        return self._told[row.study_id]

    def image_path(self, row: StudyRow, image: str) -> str:
        return path_below(self.image_folder(), image, study_id=row.study_id)

    @abstractmethod
    def image_folder(self) -> Path:
        """What the paths of images are relative to."""

    def _row(self, study_id: str, cells: Mapping[str, Any], split: Split | None) -> StudyRow:
        images = self._texts(cells, "images")
        views = self._texts(cells, "views") or [""] * len(images)
        if not images:
            raise DataError(f"it has no {self.keys['images']}, a list of one path or more")
        if len(views) != len(images):
            raise DataError(f"it has {len(images)} images, and {len(views)} views")
        if study_id in self._told:
            raise DataError("it stands in another file, too")
        date, time = self._text(cells, "date"), self._text(cells, "time")
        day = read_day(date)
        seconds = read_time(time) if time else 0.0
        order = None if day is None or seconds is None else day + seconds / _SECONDS_OF_DAY
        told = {name: self._text(cells, name) for name in (*_SECTIONS, "age", "sex")}
        self._told[study_id] = told | told_by_name(self._text(cells, "context"))
        paths = tuple(image.removeprefix("../") for image in images)
        return StudyRow(
            study_id=study_id,
            patient_id=self._text(cells, "patient") or self.patient_of_path(paths[0]) or study_id,
            split=split or split_from_word(self._text(cells, "split")),
            images=paths,
            views=tuple(map(view_name, views)),
            order=order,
            day=day,
        )

    def patient_of_path(self, path: str) -> str:
        """The patient that an image's folders name; "" where they don't."""
        return ""

    def _text(self, cells: Mapping[str, Any], name: str) -> str:
        key = self.keys.get(name, "")
        value = cells.get(_key(key)) if key else None
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise DataError(f"{key} is {kind_of(value)}; it must be text")
        return str(value).strip()

    def _texts(self, cells: Mapping[str, Any], name: str) -> list[str]:
        key = self.keys[name]
        value = cells.get(_key(key))
        if value is None:
            return []
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str | None) for text in texts):
            raise DataError(f"{key} is {kind_of(value)}; it must be a list of texts")
        return [text or "" for text in texts]


def told_by_name(context: str) -> dict[str, str]:
    """What the leaderboard's context tells, "Age:63.Gender:F.Indication:Cough.Comparison:None.", for ``make_context``.

    Of two that tell the same, the first that says something counts.
    """
    pieces = _CONTEXT.split(context.replace("<context>", "").replace("</context>", ""))
    told: dict[str, str] = {}
    for name, piece in zip(map(str.lower, pieces[1::2]), pieces[2::2], strict=True):
        key, said = _NAMES.get(name, name), piece.strip(" .;,")
        told[key] = told.get(key) or said
    return told


def _key(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "")


def _by_key(study: Mapping[str, Any]) -> dict[str, Any]:
    spellings: dict[str, str] = {}
    for name in study:
        if (other := spellings.setdefault(_key(name), name)) is not name:
            raise DataError(f"keys {quoted(other)} and {quoted(name)} are the same; one is allowed")
    return {_key(name): value for name, value in study.items()}


class RexGradientReader(JsonStudiesReader["RexGradient"]):
    """ReXGradient-160K: chest radiographs of 79 sites with the official splits, public test part included."""

    name = "rexgradient"
    title = "ReXGradient-160K"
    tables = ("train", "valid", "test")
    published: Mapping[str, int] = {
        **{"studies": 160_000, "patients": 109_487, "train studies": 140_000, "train images": 238_968},
        **{"validate studies": 10_000, "test studies": 10_000},
    }
    keys = {  # noqa: RUF012
        "images": "ImagePath",
        "views": "ImageViewPosition",
        "patient": "PatientID",
        "findings": "Findings",
        "impression": "Impression",
        "indication": "Indication",
        "comparison": "Comparison",
        "technique": "Technique",
        "age": "PatientAge",
        "sex": "PatientSex",
        "date": "StudyDate",
        "time": "StudyTime",
    }

    def expected(self) -> Mapping[str, ExpectedFile]:
        root = require_root(self.settings.root, data_set=self.title, variable="ORAPO_REXGRADIENT_ROOT")
        url = "https://huggingface.co/datasets/rajpurkarlab/ReXGradient-160K"
        names = {part: f"{part}_metadata_view_position.json" for part in self.tables}
        files = {
            part: ExpectedFile(f"the {part} studies", (root / "metadata" / name, root / name), url)
            for part, name in names.items()
        }
        told = f"{url}, deid_png.part00 and so on, joined and unpacked"
        return files | {"images": ExpectedFile("the images", (root / "deid_png",), told)}

    def rows(self, tell: Tell) -> Sequence[StudyRow]:
        """Training studies first, each part in the order of its file."""
        splits = zip(self.tables, Split, strict=True)
        rows = [row for part, split in splits for row in self.read_studies(self.files[part], split, tell)]
        alone = sum(row.patient_id == row.study_id for row in rows)
        if alone:
            self.warnings.append(
                f"{self.title}: {alone:,} studies name no patient; each counts as a patient of its own"
            )
        return rows

    def image_folder(self) -> Path:
        return self.files["images"].parent

    def patient_of_path(self, path: str) -> str:
        """The first folder below deid_png/ that is not the image's own."""
        pieces = path.removeprefix("deid_png/").split("/")
        return pieces[0] if len(pieces) > 2 else ""


@settings
class RexGradient(SectionSettings):
    """Settings of ReXGradient-160K.

    Attributes:
        root: folder with metadata/ and deid_png/.
    """

    root: str | None
    _: KW_ONLY
    labels: Literal["labeler", "table"] = "labeler"

    reader: ClassVar[type[Reader[Any]]] = RexGradientReader


class RexRankReader(JsonStudiesReader["RexRank"]):
    """An input file of the leaderboard ReXrank, of MIMIC-CXR, IU X-Ray, CheXpert Plus or ReXGradient; for testing."""

    name = "rexrank"
    title = "ReXrank"
    tables = ("studies",)
    keys = {  # noqa: RUF012
        "images": "image_path",
        "views": "frontal_lateral",
        "patient": "subject_id",
        "findings": "section_findings",
        "impression": "section_impression",
        "context": "context",
        "split": "split",
        "image shown first": "key_image_path",
        "whole report": "report",
    }

    def expected(self) -> Mapping[str, ExpectedFile]:
        settings = self.settings
        root = require_root(settings.root, data_set=self.title, variable="ORAPO_REXRANK_ROOT")
        if not settings.json:
            raise DataError("ReXrank: no file given; set data.json to the input file of the leaderboard")
        url = "https://rexrank.ai"
        return {
            "studies": ExpectedFile("the studies", (Path(settings.json),), url),
            "images": ExpectedFile("the images", (root,), url),
        }

    def rows(self, tell: Tell) -> Sequence[StudyRow]:
        """In the order of the file."""
        return list(self.read_studies(self.files["studies"], None, tell))

    def sections(self, row: StudyRow) -> Mapping[str, str]:
        """A study without sections has no report."""
        sections = super().sections(row)
        if not any(sections[name] for name in _SECTIONS):
            raise MissingSection("no report")
        return sections

    def image_folder(self) -> Path:
        return self.files["images"]


@settings
class RexRank(SectionSettings):
    """Settings of an input file of ReXrank.

    Attributes:
        json: the file.
        root: folder that its image paths start from.
    """

    json: str | None
    root: str | None
    _: KW_ONLY
    labels: Literal["labeler", "table"] = "labeler"

    reader: ClassVar[type[Reader[Any]]] = RexRankReader
