"""IU X-Ray (Open-I): reports and radiographs of Indiana University, in either of the layouts in which it is shared."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple
from xml.etree import ElementTree

from orapo.data.annotation import read_samples
from orapo.data.expected_files import ExpectedFile, require_root
from orapo.data.images import path_below
from orapo.data.tables import number_key, read_columns
from orapo.data.tabulated import DealtOutSettings, Reader, SectionSettings, StudyRow, Tell
from orapo.data.views import view_name
from orapo.errors import DataError
from orapo.foreign import read_bytes
from orapo.records import Split
from orapo.settings import settings

_KAGGLE = "https://www.kaggle.com/datasets/raddar/chest-xrays-indiana-university"
_OPEN_I = "https://openi.nlm.nih.gov/faq#collection (NLMCXR_reports.tgz and NLMCXR_png.tgz)"
_SECTIONS = ("findings", "impression", "indication", "comparison")
_NUMBER = re.compile(r"CXR(\d+)")


class _Report(NamedTuple):
    """A study as its file has it: its sections, and the file names and views of its images."""

    sections: Mapping[str, str]
    images: tuple[str, ...]
    views: tuple[str, ...]


class IuXrayReader(Reader["IuXray"]):
    """A study is a report, by its uid; nothing tells which are of one patient, so that each counts as one.

    Layouts: indiana_reports.csv and indiana_projections.csv with images/images_normalized/, or ecgen-radiology/*.xml
    with the PNG files beside or below. XML tells no projection: all of its images are of unknown view.
    """

    name = "iu_xray"
    title = "IU X-Ray"
    tables = ("annotation", "xml", "reports table", "projections")
    images_are_paths = True

    def __init__(self, settings: "IuXray") -> None:
        super().__init__(settings)
        self._reports: dict[str, _Report] = {}

    def expected(self) -> Mapping[str, ExpectedFile]:
        root = require_root(self.settings.root, data_set=self.title, variable="ORAPO_IU_XRAY_ROOT")
        annotation = self.settings.annotation
        needed = {} if annotation is None else {"annotation": ExpectedFile("annotation", (Path(annotation),), "R2Gen")}
        folders = (root / "ecgen-radiology", root / "NLMCXR_reports" / "ecgen-radiology")
        if (xml := next(filter(Path.is_dir, folders), None)) is not None:
            places = (root / "NLMCXR_png", root / "images", root)
            return needed | {
                "xml": ExpectedFile("the reports", (xml,), _OPEN_I),
                "images": ExpectedFile("the images", places, _OPEN_I),
            }
        images = (root / "images" / "images_normalized", root / "images_normalized", root / "images")
        return needed | {
            "reports table": ExpectedFile(
                "the table of reports", (root / "indiana_reports.csv",), f"{_KAGGLE}, or {_OPEN_I}"
            ),
            "projections": ExpectedFile("the table of images", (root / "indiana_projections.csv",), _KAGGLE),
            "images": ExpectedFile("the images", images, _KAGGLE),
        }

    def rows(self, tell: Tell) -> Sequence[StudyRow]:
        """In the order of their numbers."""
        reports = self._of_xml(tell) if "xml" in self.files else self._of_tables(tell)
        self._reports = dict(sorted(reports.items(), key=lambda item: (len(item[0]), item[0])))
        without = sum(not report.images for report in self._reports.values())
        if without:
            self.notes.append(f"{self.title}: {without:,} reports have no image and are passed over")
        shown = {uid: report for uid, report in self._reports.items() if report.images}
        is_given = "annotation" in self.files
        splits = dict(self._splits_of_annotation(tell)) if is_given else self.settings.deal_out(shown)
        unknown = len(shown.keys() - splits.keys())
        if unknown:
            self.notes.append(f"{self.title}: {unknown:,} reports are not in the annotation and are passed over")
        return [StudyRow(uid, uid, splits[uid], of.images, of.views) for uid, of in shown.items() if uid in splits]

    def sections(self, row: StudyRow) -> Mapping[str, str]:
        return self._reports[row.study_id].sections

    def image_path(self, row: StudyRow, image: str) -> str:
        return path_below(self.files["images"], image, study_id=row.study_id)

    def place_of_image(self, image: str) -> str:
        """The file itself, by whatever path or link."""
        return os.path.realpath(self.files["images"] / image)

    def _of_tables(self, tell: Tell) -> dict[str, _Report]:
        path = self.files["projections"]
        images: dict[str, list[tuple[str, str]]] = {}
        columns = read_columns(path, ("uid", "filename", "projection"))
        for uid, file, view in zip(*(columns.get(name) for name in ("uid", "filename", "projection")), strict=True):
            images.setdefault(number_key(uid), []).append((file, view_name(view)))
        path = self.files["reports table"]
        table = read_columns(path, ("uid", "findings", "impression"), ("indication", "comparison"))
        reports: dict[str, _Report] = {}
        for place, (line, cell) in enumerate(zip(table.lines, table.get("uid"), strict=True)):
            uid = number_key(cell)
            if not uid.isdecimal() or uid in reports:
                tell(f"{path} line {line}: uid {'stands in an earlier line' if uid in reports else 'is no number'}")
                continue
            files, views = zip(*images.get(uid, ()), strict=True) if uid in images else ((), ())
            sections = {name: table.get(name)[place] for name in _SECTIONS}
            reports[uid] = _Report(sections, files, views)
        return reports

    def _of_xml(self, tell: Tell) -> dict[str, _Report]:
        reports: dict[str, _Report] = {}
        for path in sorted(self.files["xml"].glob("*.xml")):
            try:
                root = ElementTree.fromstring(read_bytes(path))
            except DataError as error:
                tell(str(error))
                continue
            except (ElementTree.ParseError, LookupError, ValueError):  # the last two: of an encoding that it names
                tell(f"{path} is no XML; is it complete?")
                continue
            texts = {str(text.get("Label", "")).lower(): text.text or "" for text in root.iter("AbstractText")}
            images = tuple(dict.fromkeys(f"{image.get('id')}.png" for image in root.iter("parentImage")))
            sections = {name: texts.get(name, "") for name in _SECTIONS}
            reports[number_key(path.stem)] = _Report(sections, images, ("",) * len(images))
        if not reports:
            tell(f"{self.files['xml']} holds no .xml file")
        return reports

    def _splits_of_annotation(self, tell: Tell) -> Iterator[tuple[str, Split]]:
        """R2Gen's samples are called CXR3030_IM-1405; the number is the uid."""
        path = self.files["annotation"]
        for place, sample in read_samples(path, tell):
            if (found := _NUMBER.match(sample.sample_id)) is None:
                tell(f"{path}: {place}: id is not like CXR3030_IM-1405")
            else:
                yield number_key(found[1]), sample.split


@settings
class IuXray(SectionSettings, DealtOutSettings):
    """Settings of IU X-Ray.

    Attributes:
        root: folder with indiana_reports.csv, or with ecgen-radiology/, and the images.
        annotation: annotation.json of R2Gen, for its split (2,069 / 296 / 590 studies); None splits at random.
    """

    root: str | None
    _: KW_ONLY
    annotation: str | None = None
    labels: Literal["labeler", "table"] = "labeler"

    reader: ClassVar[type[Reader[Any]]] = IuXrayReader
