"""CheXpert studies that radiologists labelled from the images: for testing, never for training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY
from pathlib import Path
from typing import Any, ClassVar, Literal

from orapo.chexpert import LabelStates
from orapo.data.chexpert_gold_table import GoldLabels, read_gold_labels
from orapo.data.chexpert_images import (
    ROOT_VARIABLE,
    Images,
    find_image_folders,
    images_file,
    in_order,
    view_of_stem,
)
from orapo.data.chexpert_plus import read_plus_table, table_file
from orapo.data.expected_files import ExpectedFile, require_root
from orapo.data.labels import SharedStates
from orapo.data.report_sections import MissingSection
from orapo.data.tabulated import Reader, SectionSettings, StudyRow, Tell
from orapo.errors import DataError, SettingError
from orapo.records import Split
from orapo.settings import settings

PUBLISHED = {"valid": {"studies": 200, "images": 234}, "test": {"studies": 500, "images": 668}}
"""Counts of the published sets."""

_OBTAIN = {
    "valid": "https://stanfordmlgroup.github.io/competitions/chexpert/ or https://aimi.stanford.edu/datasets/chexlocalize",
    "test": "https://aimi.stanford.edu/datasets/chexlocalize",
}
_PLACES = {
    "valid": (
        "valid.csv",
        "val_labels.csv",
        "CheXpert/val_labels.csv",
        "CheXpert-v1.0/valid.csv",
        "CheXpert-v1.0-small/valid.csv",
        "CheXpert-v1.0 batch 1 (validate & csv)/valid.csv",
    ),
    "test": (
        "test_labels.csv",
        "groundtruth.csv",
        "CheXpert/test_labels.csv",
        "cheXpert-test-set-labels/groundtruth.csv",
    ),
}


class GoldReader(Reader["ChexpertGold"]):
    """The studies that radiologists labelled, all of them in TEST; ids are CheXpert Plus's, "patient64541/study1".

    The validation part (200 studies) has reports in CheXpert Plus. Those of the test part (500 studies) are private:
    their ``oracle_report`` is "", and only labels can be compared.
    """

    name = "chexpert_gold"
    title = "CheXpert's radiologists' labels"
    tables = ("labels",)

    def __init__(self, settings: "ChexpertGold") -> None:
        super().__init__(settings)
        self.published = PUBLISHED[settings.part]
        self.folders = find_image_folders(self._root(), images=settings.images, parts=(settings.part,))
        self._gold = GoldLabels({}, {})
        self._reports: Mapping[str, Mapping[str, str]] | None = None

    def expected(self) -> Mapping[str, ExpectedFile]:
        settings, root, part = self.settings, self._root(), self.settings.part
        given = settings.gold_labels
        places = tuple(root / place for place in _PLACES[part]) if given is None else (Path(given),)
        needed = {
            "labels": ExpectedFile(f"the labels of the {part} part", places, _OBTAIN[part]),
            "images": images_file(root, settings.images, self.folders, part=part, obtain=_OBTAIN[part]),
        }
        return needed | ({} if settings.reports is None else {"reports": table_file(Path(settings.reports))})

    def rows(self, tell: Tell) -> Sequence[StudyRow]:
        """Studies in the order of the file of labels; without images where that lists none."""
        path, part = self.files["labels"], self.settings.part
        self._gold = gold = read_gold_labels(path)
        if "reports" in self.files:
            self._reports = self._read_reports(tell)
        rows = []
        for key, stems in gold.stems.items():
            of, patient, study = key.split("/")
            if of == part:
                views = tuple(map(view_of_stem, stems))
                rows.append(StudyRow(f"{patient}/{study}", patient, Split.TEST, stems, views))
        if not rows:
            parts = ", ".join(sorted({key.partition("/")[0] for key in gold.stems}))
            tell(f"{path} has no study of part {part!r}; its studies are of {parts}")
        return rows

    def sections(self, row: StudyRow) -> Mapping[str, str] | None:
        """CheXpert Plus's; None without it."""
        if self._reports is None:
            return None
        if row.study_id not in self._reports:
            raise MissingSection("no report")
        return self._reports[row.study_id]

    def images(self, row: StudyRow) -> StudyRow:
        """Those on the disk, where the file of labels lists none."""
        if row.images:
            return row
        stems = in_order(self.folders.list_study(row.study_id, self.settings.part))
        if not stems:
            raise DataError(f"study {row.study_id}: it has no image ({self.folders})")
        return row._replace(images=stems, views=tuple(map(view_of_stem, stems)))

    def image_path(self, row: StudyRow, image: str) -> str:
        return self.folders.require(row.study_id, self.settings.part, image)

    def label_files(self) -> Mapping[str, ExpectedFile]:
        return {"gold": self.expected()["labels"]}

    def own_labels(self, path: Path, shared: SharedStates) -> tuple[str, Mapping[str, LabelStates]]:
        return "study", self._gold.states

    def label_keys(self, row: StudyRow, column: str) -> Iterable[str]:
        return (f"{self.settings.part}/{row.study_id}",)

    def _root(self) -> Path:
        return require_root(self.settings.root, data_set=self.title, variable=ROOT_VARIABLE)

    def _read_reports(self, tell: Tell) -> dict[str, Mapping[str, str]]:
        columns, images, parts, _ = read_plus_table(self.files["reports"], self.settings.target, tell)
        names = ("findings", "impression")
        firsts = {study: next(iter(of.values()))[0] for study, of in images.items() if parts[study] == "valid"}
        return {
            study: {name: columns.get(f"section_{name}")[place] for name in names} for study, place in firsts.items()
        }


@settings
class ChexpertGold(SectionSettings):
    """Settings of the studies that radiologists labelled.

    Attributes:
        root: folder with the images: of CheXpert v1, CheXlocalize or CheXpert Plus.
        part: ``"valid"`` or ``"test"``.
        gold_labels: the file of labels; None looks below ``root`` for valid.csv or val_labels.csv, or for
            test_labels.csv or groundtruth.csv.
        reports: folder of CheXpert Plus, for the reports of the validation part; None leaves them "".
        images: ``"png"``, ``"jpg"``, ``"dicom"``, or ``"auto"`` for what is there.
        labels: the radiologists'.
    """

    root: str | None
    _: KW_ONLY
    part: Literal["valid", "test"] = "valid"
    gold_labels: str | None = None
    reports: str | None = None
    images: Images = "auto"
    labels: Literal["gold"] = "gold"

    reader: ClassVar[type[Reader[Any]]] = GoldReader

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reports is not None and self.part == "test":
            raise SettingError(
                f"reports is {self.reports!r}, but reports of the test part are private; it must be null"
            )


def parts_there(root: str | None) -> "list[ChexpertGold]":
    """Settings of each part whose labels lie below the root; where none do, of the validation part, for messages."""
    parts = [ChexpertGold(root, part=part) for part in ("valid", "test")]
    there = [part for part in parts if root and any((Path(root) / place).exists() for place in _PLACES[part.part])]
    return there or parts[:1]
