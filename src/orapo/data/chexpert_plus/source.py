"""CheXpert Plus as a source of studies: reports from its table, images in any of the layouts it is found in."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image
from pydantic import NonNegativeInt, PositiveInt

from orapo.chexpert import OBSERVATIONS, label_state_to_code
from orapo.data.chexpert_plus.files import NAME, PARTS, ROOT_VARIABLE, TITLE, needed_files
from orapo.data.chexpert_plus.image_folders import ImageKind, find_image_folders
from orapo.data.chexpert_plus.label_choice import label_by_file, label_by_text
from orapo.data.chexpert_plus.selection import Selection, select_studies
from orapo.data.chexpert_plus.settings import SECTIONS_OF, Images, Labels, PlusSettings
from orapo.data.chexpert_plus.table import PlusTable, read_plus_table
from orapo.data.expected_files import find_all, require_root
from orapo.data.garbage_collection import collection_paused
from orapo.data.gold_labels.table import read_gold_labels
from orapo.data.images import LongestSide, load_image
from orapo.data.left_out import count_reasons
from orapo.data.report_sections import Sections
from orapo.data.source import LeftOut, StudyEntry
from orapo.data.study_table import ReportLabeler
from orapo.data.table_columns import sha256_of_file
from orapo.data.views import Views
from orapo.errors import DataError
from orapo.labeler import Labeler
from orapo.records import Split, Study

logger = logging.getLogger(__name__)


class ChexpertPlusSource:
    """A study source for CheXpert Plus; a study is the folder of one examination, for example "patient42142/study5".

    Splits: the official test set is private, so TEST is the official validation part (200 studies, whose images three
    radiologists labelled), and VALIDATE are patients held out of the official training part, drawn by a seeded hash of
    their folder's name among all patients of that part. Another choice of sections, views or labels moves nobody.

    The report of a study is that of its first row: its rows differ in invented dates only. CheXbert's labels are
    joined to that row. A study that lacks the section is left out before labels are asked for, since CheXbert calls an
    absent section "No Finding".
    """

    name = NAME
    settings_type = PlusSettings

    def __init__(
        self,
        root: str | None,
        *,
        sections: Sections = "findings",
        images: Images = "auto",
        views: Views = "frontal",
        max_images: PositiveInt | None = None,
        labels: Labels = "chexbert",
        label_table: str | None = None,
        labeler: ReportLabeler | None = None,
        gold_labels: str | None = None,
        num_validate_patients: PositiveInt = 500,
        longest_side: LongestSide = 512,
        seed: NonNegativeInt = 0,
    ) -> None:
        """Reads the tables; image files are looked for when a study is read.

        Args:
            root: folder with df_chexpert_plus_240401.csv, chexbert_labels and the images.
            sections: ``"findings"``, ``"impression"`` or ``"findings_and_impression"``; a study must have them.
            images: ``"png"``, ``"jpg"`` (CheXpert v1's), ``"dicom"``, or ``"auto"`` for the first that is there.
            views: ``"frontal"`` keeps AP, PA and frontal images of unknown direction, ``"all"`` keeps all.
            max_images: the first so many images of a study in the order of their view numbers; None keeps all.
            labels: ``"chexbert"`` takes the file that fits the sections, of the whole report for both; ``"labeler"``
                labels the chosen text, which takes a minute or more; ``"table"`` takes ``label_table``.
            label_table: written by ``orapo label``, with ids in study_id or path_to_image.
            labeler: for labels "labeler"; ``orapo.labeler.Labeler()`` when None.
            gold_labels: radiologists' labels (valid.csv of CheXpert v1, val_labels.csv of CheXlocalize), used for TEST.
            num_validate_patients: patients held out for VALIDATE, at least 1; never more than a fifth of the part's.
            longest_side: images are shrunk to at most this width and height, in pixels, in [32, 8192].
            seed: of the patients held out.

        Raises:
            SettingError: a setting is out of range.
            DataError: files are missing (all are named), or a table can't be used.
        """
        self._settings = settings = PlusSettings(
            sections=sections,
            images=images,
            views=views,
            max_images=max_images,
            labels=labels,
            label_table=label_table,
            num_validate_patients=num_validate_patients,
            longest_side=longest_side,
            seed=seed,
        )
        folder = require_root(root, data_set=TITLE, variable=ROOT_VARIABLE)
        self._folders = find_image_folders(folder, images=images, parts=PARTS)
        needed = needed_files(
            folder,
            self._folders,
            sections=sections,
            images=images,
            labels=labels,
            label_table=label_table,
            gold_labels=gold_labels,
        )
        paths = find_all(TITLE, needed)
        with collection_paused():
            table = _read_table(paths["table"], sections, with_dicom=self._folders.kind is ImageKind.DICOM)
            if "labels" in paths:
                label = label_by_file(paths["labels"], table.studies, is_chexbert=labels == "chexbert")
            else:
                label = label_by_text(labeler or Labeler())
            gold = read_gold_labels(paths["gold"]).states if "gold" in paths else None
            self._selection = select_studies(table, settings, label, gold)
        self._entries = {split: self._selection.of(split) for split in Split}
        self._digest = _digest(paths, settings, self._selection)
        self._log(paths["table"])

    def entries(self, split: Split) -> Sequence[StudyEntry]:
        """All studies of one split that have section, view and labels, in the order of the table."""
        return self._entries[split]

    def left_out(self, split: Split) -> Sequence[LeftOut]:
        """The studies of one split without the section, an image of the views asked for, or labels."""
        return self._selection.left_out[split]

    def read(self, study_id: str) -> Study:
        """The study of this id.

        Raises:
            DataError: it isn't listed, or an image file is missing.
        """
        usable = self._selection.usable.get(study_id)
        if usable is None:
            raise DataError(f"{TITLE}: study {study_id} is not in the table, or it is left out")
        return Study(
            study_id=study_id,
            patient_id=usable.patient_id,
            split=usable.split,
            image_paths=tuple(self._folders.require(usable.name, image.stem, image.dicom) for image in usable.images),
            views=tuple(image.view for image in usable.images),
            oracle_report=usable.report,
            labels=usable.labels,
        )

    def load_images(self, study: Study) -> tuple[Image.Image, ...]:
        """Decodes the study's images, in its order: mode RGB, longest side as set; raises DataError naming the file."""
        longest_side = self._settings.longest_side
        return tuple(load_image(path, study_id=study.study_id, longest_side=longest_side) for path in study.image_paths)

    def digest(self) -> str:
        """SHA-256 over the bytes of the tables, the settings, and labels that the labeler gave; not the images."""
        return self._digest

    def _log(self, table: Path) -> None:
        counts = ", ".join(f"{len(self._entries[split]):,} {split}" for split in Split)
        logger.info("%s: studies %s; %s", table, counts, self._folders)
        left_out = [study for split in Split for study in self.left_out(split)]
        if left_out:
            logger.info("%s: left out %s", table, count_reasons(left_out))


def _read_table(path: Path, sections: str, *, with_dicom: bool) -> PlusTable:
    """The table; what is odd about its rows is told in the log, by number."""
    table = read_plus_table(path, sections=SECTIONS_OF[sections], with_dicom=with_dicom)
    if table.shared_patients:
        raise DataError(
            f"{path}: {len(table.shared_patients)} patients have studies in train and in valid, for example "
            f"{table.shared_patients[0]}; a patient must be in one part only"
        )
    for rows, what in (
        (table.repeated_rows, "rows repeat the image of an earlier row and are passed over"),
        (table.renamed_rows, "rows have another deid_patient_id than the patient's folder, which counts"),
        (table.differing_rows, "rows have other sections than the first row of their study, which counts"),
    ):
        if rows:
            logger.warning("%s: %d %s (the first is row %d)", path, len(rows), what, rows[0])
    return table


def _digest(paths: Mapping[str, Path], settings: PlusSettings, selection: Selection) -> str:
    # Neither paths nor the kind of images found: the same data elsewhere is the same data.
    files = {key: sha256_of_file(path) for key, path in paths.items() if key != "images"}
    digest = hashlib.sha256(json.dumps([files, settings.to_dict()], sort_keys=True).encode())
    if settings.labels == "labeler":
        for study in selection.usable.values():
            codes = [label_state_to_code(study.labels[observation]) for observation in OBSERVATIONS]
            digest.update(json.dumps([study.study_id, codes]).encode())
    return digest.hexdigest()
