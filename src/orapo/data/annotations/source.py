"""A study source for annotation files in the form of R2Gen."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image
from pydantic import PositiveInt

from orapo.chexpert import OBSERVATIONS, LabelStates, label_state_to_code
from orapo.data.annotations.image_places import ImagePlaces, views_of
from orapo.data.annotations.labels import LabelTable, label_reports
from orapo.data.annotations.one_split import sort_out
from orapo.data.annotations.settings import AnnotationSettings, Labels, SharedPatients, require_files
from orapo.data.annotations.studies import AnnotatedStudies, read_studies
from orapo.data.images import LongestSide, load_image
from orapo.data.left_out import count_reasons
from orapo.data.source import LeftOut, ListedStudy
from orapo.data.study_table import ReportLabeler
from orapo.data.table_columns import sha256_of_file
from orapo.errors import DataError
from orapo.labeler import Labeler
from orapo.records import Split, Study

logger = logging.getLogger(__name__)

_MANY_REPORTS = 20_000


class AnnotationSource:
    """A study source for an annotation.json: ``{"train": [...], "val": [...], "test": [...]}``.

    Samples of MIMIC-CXR (R2Gen) are images with study_id and subject_id; those of CheXpert Plus (CXPMRG-Bench) tell
    both by the folders of their images. One study comes of all samples that share it. The file's own split counts, as
    far as no patient stands in two: random splits share patients, and training on a patient of the test set would
    make its numbers worthless.
    """

    name = "annotation"
    settings_type = AnnotationSettings

    def __init__(
        self,
        annotation: str | None,
        root: str | None,
        *,
        labels: Labels = "labeler",
        label_table: str | None = None,
        labeler: ReportLabeler | None = None,
        shared_patients: SharedPatients = "leave_out",
        max_images: PositiveInt | None = None,
        longest_side: LongestSide = 512,
    ) -> None:
        """Reads and checks the file; image files are looked for when a study is read.

        Args:
            annotation: the JSON file.
            root: folder of the images; their paths start there, or in images/, files/, PNG/ or PNG/PNG/ below.
            labels: ``"labeler"`` labels every report, which takes a minute or more for MIMIC-CXR; ``"table"`` takes
                ``label_table``. Texts cleaned as R2Gen does (lower case, sentences joined by " . ") are fine.
            label_table: CSV with study_id or id and the 14 observations, written by ``orapo label``.
            labeler: for labels "labeler"; ``orapo.labeler.Labeler()`` when None.
            shared_patients: ``"leave_out"`` leaves a patient's training studies out when others of theirs are in test
                or validate, and validation studies when others are in test; ``"refuse"`` raises.
            max_images: the first so many images of a study in the file's order; None keeps all.
            longest_side: images are shrunk to at most this width and height, in pixels, in [32, 8192].

        Raises:
            SettingError: a setting is out of range.
            DataError: a file is missing or can't be used; names split and index of the sample.
        """
        settings = AnnotationSettings(labels, shared_patients, max_images, longest_side, label_table)
        path, folder = require_files(annotation, root)
        self._annotated = read_studies(path)
        self._places, self._settings = ImagePlaces(folder), settings
        self._left_out = sort_out(self._annotated, path, shared_patients=shared_patients)
        self._labels = self._label(path, label_table, labeler)
        self._entries = self._list_entries()
        self._digest = _digest(settings, [path, *([Path(label_table)] if label_table else [])], self._labels)
        _log(path, self._annotated, self._entries, self._left_out)

    def entries(self, split: Split) -> Sequence[ListedStudy]:
        """All studies of one split that have a report, labels and a patient of that split only; in the file's order."""
        return self._entries[split]

    def left_out(self, split: Split) -> Sequence[LeftOut]:
        """The studies of one split that have no report or no labels, or whose patient is in a stronger split."""
        return self._left_out[split]

    def read(self, study_id: str) -> Study:
        """The study of this id; raises DataError when it isn't listed, or an image file is missing."""
        study, labels = self._annotated.studies.get(study_id), self._labels.get(study_id)
        if study is None or labels is None:
            raise DataError(f"study {study_id} is not listed: the annotation has none of that id, or it is left out")
        image_paths = study.image_paths[: self._settings.max_images]
        return Study(
            study_id=study_id,
            patient_id=study.patient_id,
            split=study.split,
            image_paths=tuple(self._places.require(path, study_id=study_id) for path in image_paths),
            views=views_of(image_paths),
            oracle_report=study.text,
            labels=labels,
        )

    def load_images(self, study: Study) -> tuple[Image.Image, ...]:
        """Decodes the study's images, in its order: mode RGB, longest side as set; raises DataError naming the file."""
        longest_side = self._settings.longest_side
        return tuple(load_image(path, study_id=study.study_id, longest_side=longest_side) for path in study.image_paths)

    def digest(self) -> str:
        """SHA-256 over the bytes of annotation and label table, the settings and all labels; not the images."""
        return self._digest

    def _label(self, path: Path, label_table: str | None, labeler: ReportLabeler | None) -> dict[str, LabelStates]:
        gone = {left_out.study_id for of_split in self._left_out.values() for left_out in of_split}
        studies = [study for study in self._annotated.studies.values() if study.study_id not in gone]
        if label_table is None:
            if len(studies) > _MANY_REPORTS:
                logger.info(
                    "%s: labelling %d reports, which takes minutes; a label table is quicker", path, len(studies)
                )
            return label_reports(studies, labeler or Labeler())
        table = LabelTable(Path(label_table))
        labels = {study.study_id: states for study in studies if (states := table.find(study)) is not None}
        if not labels:
            raise DataError(f"{label_table} has labels of no study of {path}; they are joined by {table.id_column}")
        for study in studies:
            if study.study_id not in labels:
                self._left_out[study.split].append(LeftOut(study.study_id, "no labels"))
        return labels

    def _list_entries(self) -> dict[Split, list[ListedStudy]]:
        entries: dict[Split, list[ListedStudy]] = {split: [] for split in Split}
        for study in self._annotated.studies.values():
            if (labels := self._labels.get(study.study_id)) is not None:
                entries[study.split].append(ListedStudy(study.study_id, study.patient_id, labels))
        return entries


def _digest(settings: AnnotationSettings, files: Sequence[Path], labels: Mapping[str, LabelStates]) -> str:
    # Neither paths nor the root: the same data elsewhere is the same data.
    digest = hashlib.sha256(json.dumps([settings.to_dict(), [sha256_of_file(file) for file in files]]).encode())
    codes: dict[int, str] = {}  # equal states are one mapping
    for study_id, states in labels.items():
        code = codes.get(id(states))
        if code is None:
            code = codes[id(states)] = ",".join(
                label_state_to_code(states[observation]) for observation in OBSERVATIONS
            )
        digest.update(f"{study_id}\0{code}\0".encode())
    return digest.hexdigest()


def _log(
    path: Path,
    annotated: AnnotatedStudies,
    entries: Mapping[Split, Sequence[ListedStudy]],
    left_out: Mapping[Split, Sequence[LeftOut]],
) -> None:
    counts = ", ".join(f"{len(entries[split]):,} {split}" for split in Split)
    logger.info(
        "%s: %d samples, %d studies (%s)", path, sum(annotated.num_samples.values()), len(annotated.studies), counts
    )
    for note in annotated.notes():
        logger.warning("%s: %s", path, note)
    if any(left_out.values()):
        reasons = count_reasons(study for of_split in left_out.values() for study in of_split)
        logger.warning("%s: %d studies left out (%s)", path, sum(map(len, left_out.values())), reasons)
