"""MIMIC-CXR as a study source: images and tables of MIMIC-CXR-JPG 2.0.0 or 2.1.0, reports of MIMIC-CXR."""

import hashlib
import json
import logging
from collections.abc import Sequence

from PIL import Image
from pydantic import PositiveInt

from orapo.chexpert import OBSERVATIONS, LabelStates, label_state_to_code
from orapo.data.expected_files import find_all, require_root
from orapo.data.garbage_collection import collection_paused
from orapo.data.images import LongestSide, load_image
from orapo.data.left_out import count_reasons
from orapo.data.mimic_cxr.files import (
    IMAGE_SUFFIXES,
    JPG_URL,
    METADATA,
    NAME,
    ROOT_VARIABLE,
    SPLIT,
    TITLE,
    find_image,
    needed_files,
    study_folder,
)
from orapo.data.mimic_cxr.report_files import ReportFiles, open_reports
from orapo.data.mimic_cxr.selection import LabelStudy, choose_labels, keep_images
from orapo.data.mimic_cxr.settings import Labels, MimicSettings, TestStudies
from orapo.data.mimic_cxr.tables import MimicStudy, read_studies
from orapo.data.progress import watched
from orapo.data.report_sections import MissingSection, Sections, Wanted, choose_sections, parse_sections
from orapo.data.source import LeftOut, ListedStudy
from orapo.data.study_table import ReportLabeler
from orapo.data.views import Views
from orapo.errors import DataError
from orapo.records import Split, Study

logger = logging.getLogger(__name__)


class MimicCxrSource:
    """A study source for MIMIC-CXR.

    Studies keep the order of the table of images; a study's images are its frontal ones, in the order taken, then the
    others. Reports come straight from mimic-cxr-reports.zip or from a folder. With the whole set, making a source
    takes about ten seconds, as only tables are read (``labels="labeler"`` reads every report).
    """

    name = NAME
    settings_type = MimicSettings

    def __init__(
        self,
        root: str | None,
        *,
        reports: str | None = None,
        sections: Sections = "findings",
        views: Views = "frontal",
        max_images: PositiveInt | None = None,
        labels: Labels = "chexpert",
        label_table: str | None = None,
        radiologist_test_labels: bool = False,
        test_studies: TestStudies = "all",
        longest_side: LongestSide = 512,
        labeler: ReportLabeler | None = None,
    ) -> None:
        """Finds the files and reads the tables; no report (but see ``labels``), no image.

        Args:
            root: folder of MIMIC-CXR-JPG, or one above it as wget leaves it.
            reports: folder of MIMIC-CXR or mimic-cxr-reports.zip; None looks in ``root`` and beside it.
            sections: the report to learn: ``"findings"``, ``"impression"`` or ``"findings_and_impression"``. Studies
                that lack one of them are left out when read.
            views: ``"frontal"`` keeps AP and PA (by ViewPosition, where blank by the view code), ``"all"`` every image.
            max_images: of a study, at least 1; None keeps all.
            labels: ``"chexpert"`` or ``"negbio"``: the tables that come with the images; ``"labeler"``: those of
                ``orapo.labeler`` for the sections asked for, of every report, which takes minutes; ``"table"``: those
                of ``label_table``.
            label_table: .csv, .csv.gz or .parquet with study_id and the 14 observations.
            radiologist_test_labels: whether version 2.1.0's labels by a radiologist replace those of the 687 test
                studies that have them.
            test_studies: ``"all"``, or ``"radiologist"``: only those 687.
            longest_side: images are shrunk to at most this width and height, in pixels, in [32, 8192].
            labeler: for ``labels="labeler"``; ``orapo.labeler.Labeler()`` when None.

        Raises:
            SettingError: a setting is out of range or contradicts another.
            DataError: files are missing (all are named), or a table can't be used.
        """
        self._settings = MimicSettings(
            sections, views, max_images, labels, label_table, radiologist_test_labels, test_studies, longest_side
        )
        self._wanted = Wanted(sections)
        folder = require_root(root, data_set=TITLE, variable=ROOT_VARIABLE)
        files = find_all(TITLE, needed_files(folder, reports, self._settings))
        self._images = files["images"]
        self._reports: ReportFiles = open_reports(files["reports"])
        self._listed: dict[str, tuple[MimicStudy, LabelStates]] = {}
        self._entries: dict[Split, list[ListedStudy]] = {split: [] for split in Split}
        self._left_out: dict[Split, list[LeftOut]] = {split: [] for split in Split}
        with collection_paused():
            studies = read_studies(files[METADATA], files[SPLIT])
            label = choose_labels(self._settings, files, studies, self._read_report, labeler)
            for study in watched(studies, "labelling reports") if labels == "labeler" else studies:
                self._list(study, label)
        self._digest = ""
        for split in Split:
            reasons = count_reasons(self._left_out[split]) or "none"
            logger.info("%s: %d %s studies; left out: %s", TITLE, len(self._entries[split]), split.value, reasons)

    def entries(self, split: Split) -> Sequence[ListedStudy]:
        """The studies of one split in the order of the table of images."""
        return self._entries[split]

    def left_out(self, split: Split) -> Sequence[LeftOut]:
        """Studies without an image of the views asked for, without labels, or (see ``labels``) without the sections."""
        return self._left_out[split]

    def read(self, study_id: str) -> Study | LeftOut:
        """Reads the report and finds the image files.

        Raises:
            DataError: no such study is listed, its report or an image is missing, or the report is damaged.
        """
        if study_id not in self._listed:
            raise DataError(f"{TITLE}: study {study_id} is not listed: no table has it, or the settings leave it out")
        study, labels = self._listed[study_id]
        report = self._read_report(study)
        if isinstance(report, LeftOut):
            return report
        return Study(
            study_id=study_id,
            patient_id=study.patient_id,
            split=study.split,
            image_paths=self._image_paths(study),
            views=study.views,
            oracle_report=report,
            labels=labels,
        )

    def load_images(self, study: Study) -> tuple[Image.Image, ...]:
        """Decodes the study's images, in its order: mode RGB, longest side as set; raises DataError naming the file."""
        return tuple(
            load_image(path, study_id=study.study_id, longest_side=self._settings.longest_side)
            for path in study.image_paths
        )

    def digest(self) -> str:
        """SHA-256 over settings, and every listed study's ids, split, views and labels; not reports and images."""
        if not self._digest:
            lines = [json.dumps(self._settings.to_dict(), sort_keys=True)]
            distinct = {id(labels): labels for _, labels in self._listed.values()}
            codes = {key: _codes(labels) for key, labels in distinct.items()}
            for study, labels in self._listed.values():
                of_study = (study.study_id, study.patient_id, study.split.value, codes[id(labels)])
                lines.append("\t".join((*of_study, *study.dicom_ids, *study.views)))
            self._digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        return self._digest

    def _list(self, study: MimicStudy, label: LabelStudy) -> None:
        kept = keep_images(study, self._settings)
        if isinstance(kept, LeftOut):
            self._left_out[study.split].append(kept)
        elif isinstance(labels := label(kept), LeftOut):
            self._left_out[study.split].append(labels)
        else:
            self._listed[study.study_id] = (kept, labels)
            self._entries[study.split].append(ListedStudy(study.study_id, study.patient_id, labels))

    def _read_report(self, study: MimicStudy) -> str | LeftOut:
        text = self._reports.read(study.patient_id, study.study_id)
        try:
            return choose_sections(parse_sections(text), self._wanted)
        except MissingSection as missing:
            return LeftOut(study.study_id, missing.reason)

    def _image_paths(self, study: MimicStudy) -> tuple[str, ...]:
        folder = study_folder(self._images, study.patient_id, study.study_id)
        paths = []
        for dicom_id in study.dicom_ids:
            path = find_image(folder, dicom_id)
            if path is None:
                raise DataError(
                    f"study {study.study_id}: there is no image {folder / dicom_id} with one of the endings "
                    f"{', '.join(IMAGE_SUFFIXES)}; get the images of MIMIC-CXR-JPG from {JPG_URL}"
                )
            paths.append(str(path))
        return tuple(paths)


def _codes(labels: LabelStates) -> str:
    return ",".join(label_state_to_code(labels[observation]) for observation in OBSERVATIONS)
