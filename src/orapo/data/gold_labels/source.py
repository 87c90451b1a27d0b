"""CheXpert studies that radiologists labelled from the images: a source for testing, never for training."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image
from pydantic import PositiveInt

from orapo.data.chexpert_plus.files import images_file, table_file
from orapo.data.chexpert_plus.image_folders import find_image_folders
from orapo.data.chexpert_plus.image_names import StudyName, view_number, view_of_stem
from orapo.data.chexpert_plus.settings import SECTIONS_OF, Images
from orapo.data.chexpert_plus.table import read_plus_table
from orapo.data.expected_files import find_all, require_root
from orapo.data.gold_labels.files import NAME, OBTAIN, ROOT_VARIABLE, TITLE, Part, labels_file
from orapo.data.gold_labels.settings import GoldSettings
from orapo.data.gold_labels.table import GoldLabels, read_gold_labels
from orapo.data.images import LongestSide, load_image
from orapo.data.report_sections import MissingSection, Sections, Wanted, choose_sections
from orapo.data.source import LeftOut, ListedStudy
from orapo.data.table_columns import sha256_of_file
from orapo.data.views import Views, is_frontal
from orapo.errors import DataError
from orapo.records import Split, Study

_NO_FRONTAL = "no frontal image"


class GoldSource:
    """A study source for the studies that radiologists labelled, all of them in TEST.

    The validation part (200 studies) has reports in CheXpert Plus. Those of the test part (500 studies) are private:
    their ``oracle_report`` is "", and only labels can be compared. Ids are CheXpert Plus's, "patient64541/study1".
    """

    name = NAME
    settings_type = GoldSettings

    def __init__(
        self,
        root: str | None,
        *,
        part: Part = "valid",
        gold_labels: str | None = None,
        reports: str | None = None,
        sections: Sections = "findings",
        images: Images = "auto",
        views: Views = "frontal",
        max_images: PositiveInt | None = None,
        longest_side: LongestSide = 512,
    ) -> None:
        """Reads the tables; image files are looked for when a study is read.

        Args:
            root: folder with the images: of CheXpert v1, CheXlocalize or CheXpert Plus.
            part: ``"valid"`` or ``"test"``.
            gold_labels: the file of labels; None looks below ``root`` for valid.csv or val_labels.csv, or for
                test_labels.csv or groundtruth.csv.
            reports: folder of CheXpert Plus, for the reports of the validation part; None leaves them "".
            sections: those of the reports: ``"findings"``, ``"impression"`` or ``"findings_and_impression"``.
            images: ``"png"``, ``"jpg"``, ``"dicom"``, or ``"auto"`` for what is there.
            views: ``"frontal"`` keeps images that are called frontal, ``"all"`` keeps all.
            max_images: the first so many images of a study in the order of their view numbers; None keeps all.
            longest_side: images are shrunk to at most this width and height, in pixels, in [32, 8192].

        Raises:
            SettingError: a setting is out of range.
            DataError: files are missing (all are named), a table can't be used, or it has no study of the part.
        """
        self._settings = GoldSettings(
            part=part,
            reports=reports,
            sections=sections,
            images=images,
            views=views,
            max_images=max_images,
            longest_side=longest_side,
        )
        folder = require_root(root, data_set=TITLE, variable=ROOT_VARIABLE)
        self._folders = find_image_folders(folder, images=images, parts=(part,))
        needed = {
            "labels": labels_file(folder, part, gold_labels),
            "images": images_file(folder, images, self._folders, part=part, obtain=OBTAIN[part]),
        }
        paths = find_all(TITLE, needed | ({} if reports is None else {"reports": table_file(Path(reports))}))
        self._gold = read_gold_labels(paths["labels"])
        self._names = _names_of_part(self._gold, part, paths["labels"])
        self._reports = _read_reports(paths["reports"], sections) if "reports" in paths else None
        self._left_out = self._rule_out()
        self._digest = _digest(paths, self._settings)

    def entries(self, split: Split) -> Sequence[ListedStudy]:
        """The labelled studies for TEST, in the order of the file of labels; none for TRAIN and VALIDATE."""
        if split is not Split.TEST:
            return []
        return [
            ListedStudy(study_id, name.patient, self._gold.states[name.key])
            for study_id, name in self._names.items()
            if study_id not in self._left_out
        ]

    def left_out(self, split: Split) -> Sequence[LeftOut]:
        """The studies of TEST without the section, or without a frontal image where the file of labels tells."""
        return list(self._left_out.values()) if split is Split.TEST else []

    def read(self, study_id: str) -> Study | LeftOut:
        """The study of this id; left out when a file of labels without images has let a study without frontal pass.

        Raises:
            DataError: it isn't listed, or has no image file.
        """
        name = self._names.get(study_id)
        if name is None or study_id in self._left_out:
            raise DataError(f"{TITLE}: study {study_id} is not in the file, or it is left out")
        stems = self._gold.stems[name.key] or self._stems_on_disk(name)
        views = self._views(stems)
        if not views:
            return LeftOut(study_id, _NO_FRONTAL)
        return Study(
            study_id=study_id,
            patient_id=name.patient,
            split=Split.TEST,
            image_paths=tuple(self._folders.require(name, stem) for stem in views),
            views=tuple(views.values()),
            oracle_report=self._report(name),
            labels=self._gold.states[name.key],
        )

    def load_images(self, study: Study) -> tuple[Image.Image, ...]:
        """Decodes the study's images, in its order: mode RGB, longest side as set; raises DataError naming the file."""
        longest_side = self._settings.longest_side
        return tuple(load_image(path, study_id=study.study_id, longest_side=longest_side) for path in study.image_paths)

    def digest(self) -> str:
        """SHA-256 over the bytes of the tables and the settings; not the images."""
        return self._digest

    def _rule_out(self) -> dict[str, LeftOut]:
        reasons: dict[str, str] = {}
        for study_id, name in self._names.items():
            stems = self._gold.stems[name.key]
            try:
                self._report(name)
            except MissingSection as missing:
                reasons[study_id] = missing.reason
                continue
            if stems and not self._views(stems):
                reasons[study_id] = _NO_FRONTAL
        return {study_id: LeftOut(study_id, reason) for study_id, reason in reasons.items()}

    def _report(self, name: StudyName) -> str:
        """The chosen sections, "" when there are no reports; raises MissingSection when this one lacks them."""
        if self._reports is None:
            return ""
        if name.key not in self._reports:
            raise MissingSection("no report")
        return choose_sections(self._reports[name.key], Wanted(self._settings.sections))

    def _views(self, stems: Sequence[str]) -> dict[str, str]:
        """The images to be used, and their views."""
        views = {stem: view_of_stem(stem) for stem in stems}
        kept = [stem for stem in stems if self._settings.views == "all" or is_frontal(views[stem])]
        return {stem: views[stem] for stem in kept[: self._settings.max_images]}

    def _stems_on_disk(self, name: StudyName) -> list[str]:
        stems = sorted(self._folders.list_study(name), key=lambda stem: (view_number(stem), stem))
        if not stems:
            raise DataError(f"study {name.patient}/{name.study}: it has no image ({self._folders})")
        return stems


def _names_of_part(gold: GoldLabels, part: str, path: Path) -> dict[str, StudyName]:
    names = {f"{name.patient}/{name.study}": name for name in gold.names.values() if name.part == part}
    if not names:
        parts = ", ".join(sorted({name.part for name in gold.names.values()}))
        raise DataError(f"{path} has no study of part {part!r}; its studies are of {parts}")
    return names


def _read_reports(path: Path, sections: str) -> dict[str, Mapping[str, str]]:
    table = read_plus_table(path, sections=SECTIONS_OF[sections])
    return {study.name.key: study.sections for study in table.studies if study.name.part == "valid"}


def _digest(paths: Mapping[str, Path], settings: GoldSettings) -> str:
    files = {key: sha256_of_file(path) for key, path in paths.items() if key != "images"}
    return hashlib.sha256(json.dumps([files, settings.to_dict()], sort_keys=True).encode()).hexdigest()
