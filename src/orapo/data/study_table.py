"""A user's own studies from a CSV file and a folder of images."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image
from pydantic import NonNegativeInt

from orapo.chexpert import OBSERVATIONS, LabelStates, label_state_to_code
from orapo.data.csv_table import read_csv
from orapo.data.images import LongestSide, check_image_name, load_image
from orapo.data.source import LeftOut
from orapo.data.splits import check_fractions, split_patients
from orapo.data.study_rows import StudyRow, group_by_study, read_study_rows
from orapo.data.views import Views, is_frontal
from orapo.errors import DataError
from orapo.labeler import Labeler
from orapo.labeler.types import LabeledReport
from orapo.records import Split, Study
from orapo.settings import Fraction, checked

logger = logging.getLogger(__name__)

_NUM_SHOWN = 3


class ReportLabeler(Protocol):
    """What a table without label columns needs: ``orapo.labeler.Labeler``, or another with the same method."""

    def label(self, report: str, /) -> LabeledReport:
        """The 14 label states of one report."""
        ...


class StudyTable:
    """A study source for a CSV with the columns study_id, patient_id, image_path, view and report.

    Rows with the same study_id are images of one study and agree in everything but image_path and view. Studies keep
    the order of the table. Optional columns:

    - ``split``: train, validate (or valid, val) or test. Without it, patients are split at random by ``seed``.
    - the 14 observations, by the names of ``Observation``: 1, 0, -1 or blank. Without them, the reports are labelled.

    The split covers every patient of the table, also those whose images the view filter leaves out, so that another
    choice of views moves no patient from training to test.
    """

    name = "study_table"

    @checked
    def __init__(
        self,
        csv: str | Path,
        root: str | Path,
        *,
        views: Views = "frontal",
        columns: Mapping[str, str] | None = None,
        validate_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.2,
        seed: NonNegativeInt = 0,
        longest_side: LongestSide = 512,
        labeler: ReportLabeler | None = None,
    ) -> None:
        """Reads and checks the whole table, and that every image file exists; images are decoded when asked for.

        Args:
            csv: the table: UTF-8, comma-separated.
            root: folder that relative image paths start from.
            views: ``"frontal"`` keeps views that start with PA, AP or FRONTAL, and blank ones; ``"all"`` keeps all.
            columns: the table's own column names, from the names above, for example ``{"report": "impression"}``.
            validate_fraction: of the patients, in [0, 1]; unused when the table has a split column.
            test_fraction: of the patients, in [0, 1]; unused when the table has a split column.
            seed: of the split.
            longest_side: images are shrunk to at most this width and height, in pixels, in [32, 8192].
            labeler: for tables without label columns; ``orapo.labeler.Labeler()`` when None.

        Raises:
            SettingError: a setting is out of range.
            DataError: the table can't be used; names the line and the study.
        """
        csv = str(csv)
        check_fractions(validate_fraction, test_fraction)
        if not Path(root).is_dir():
            raise DataError(f"root {root} is not a folder; it must be the one that the image paths start from")
        table = read_csv(csv)
        groups = group_by_study(read_study_rows(table, columns or {}), csv)
        patients = (group[0].patient_id for group in groups)
        splits = _given_splits(groups) or split_patients(
            patients, validate_fraction=validate_fraction, test_fraction=test_fraction, seed=seed
        )
        listed, groups = groups, _keep_views(groups, views, csv)
        kept = {group[0].study_id for group in groups}
        self._left_out = [
            (group[0].study_id, splits[group[0].patient_id]) for group in listed if group[0].study_id not in kept
        ]
        _check_image_files(groups, Path(root), csv)
        self._longest_side = longest_side
        self._studies = _build_studies(groups, splits, Path(root), labeler)
        self._by_id = {study.study_id: study for study in self._studies}
        settings = {
            "views": views,
            "columns": dict(columns or {}),
            "validate_fraction": validate_fraction,
            "test_fraction": test_fraction,
            "seed": seed,
            "longest_side": longest_side,
        }
        self._digest = _digest(table.sha256, settings, self._studies)
        counts = ", ".join(f"{len(self.studies(split))} {split.value}" for split in Split)
        source_of_labels = "the table" if groups[0][0].labels is not None else "the report labeler"
        logger.info("%s: %d studies (%s), labels from %s", csv, len(self._studies), counts, source_of_labels)

    def studies(self, split: Split) -> Sequence[Study]:
        """The studies of one split in the order of the table; empty when the table assigns none to it."""
        return [study for study in self._studies if study.split is split]

    def entries(self, split: Split) -> Sequence[Study]:
        """Same as ``studies``: the table holds the reports."""
        return self.studies(split)

    def left_out(self, split: Split) -> Sequence[LeftOut]:
        """Studies without an image of the views asked for."""
        return [LeftOut(study_id, "no frontal image") for study_id, of in self._left_out if of is split]

    def read(self, study_id: str) -> Study:
        """The study of this id; raises DataError when the table has none."""
        study = self._by_id.get(study_id)
        if study is None:
            raise DataError(f"study {study_id} is not in the table, or the view filter leaves it out")
        return study

    def load_images(self, study: Study) -> tuple[Image.Image, ...]:
        """Decodes the study's images, in its order: mode RGB, longest side as set; raises DataError naming the file."""
        return tuple(
            load_image(path, study_id=study.study_id, longest_side=self._longest_side) for path in study.image_paths
        )

    def digest(self) -> str:
        """SHA-256 over the bytes of the table, the settings, and every study's split and labels; not the images."""
        return self._digest


def _given_splits(groups: Iterable[Sequence[StudyRow]]) -> dict[str, Split]:
    """Split of each patient by the table; empty when it has no split column."""
    return {group[0].patient_id: group[0].split for group in groups if group[0].split}


def _keep_views(groups: list[list[StudyRow]], views: Views, csv: str) -> list[list[StudyRow]]:
    if views == "all":
        return groups
    left_out = Counter(row.view for group in groups for row in group if not is_frontal(row.view))
    kept = [rows for group in groups if (rows := [row for row in group if is_frontal(row.view)])]
    counted = ", ".join(f"{view}: {count}" for view, count in sorted(left_out.items()))
    if not kept:
        raise DataError(
            f"{csv}: no study is left with views=frontal (images left out by view: {counted}); "
            "PA, AP, FRONTAL and blank count as frontal; views=all keeps every image"
        )
    if left_out:
        logger.warning(
            "%s: views=frontal leaves out %d images (%s) and with them %d of %d studies; views=all keeps them",
            csv,
            left_out.total(),
            counted,
            len(groups) - len(kept),
            len(groups),
        )
    return kept


def _check_image_files(groups: Sequence[Sequence[StudyRow]], root: Path, csv: str) -> None:
    rows = [row for group in groups for row in group]
    for row in rows:
        check_image_name(row.image_path, study_id=f"{row.study_id} ({csv} line {row.line})")
    missing = [row for row in rows if not (root / row.image_path).is_file()]
    if missing:
        shown = "; ".join(f"line {row.line}, study {row.study_id}: {row.image_path}" for row in missing[:_NUM_SHOWN])
        more = "; ..." if len(missing) > _NUM_SHOWN else ""
        raise DataError(f"{csv}: {len(missing)} of {len(rows)} image files are not under {root}: {shown}{more}")


def _build_studies(
    groups: Sequence[Sequence[StudyRow]], splits: Mapping[str, Split], root: Path, labeler: ReportLabeler | None
) -> list[Study]:
    labeler = labeler or Labeler()
    return [
        Study(
            study_id=rows[0].study_id,
            patient_id=rows[0].patient_id,
            split=splits[rows[0].patient_id],
            image_paths=tuple(str(root / row.image_path) for row in rows),
            views=tuple(row.view for row in rows),
            oracle_report=rows[0].report,
            labels=_labels(rows[0], labeler),
        )
        for rows in groups
    ]


def _labels(row: StudyRow, labeler: ReportLabeler) -> LabelStates:
    return row.labels if row.labels is not None else labeler.label(row.report).states


def _digest(table_sha256: str, settings: Mapping[str, object], studies: Sequence[Study]) -> str:
    # Neither the path of the table nor the root: the same data elsewhere is the same data.
    digest = hashlib.sha256(json.dumps([table_sha256, settings], sort_keys=True).encode())
    for study in studies:
        codes = [label_state_to_code(study.labels[observation]) for observation in OBSERVATIONS]
        digest.update(json.dumps([study.study_id, study.split.value, codes]).encode())
    return digest.hexdigest()
