"""A look at CheXpert Plus as it lies on the disk: what is there, what is missing, what differs from the original."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates
from orapo.data.check_report import CheckReport
from orapo.data.chexpert_plus.chexbert_labels import read_chexbert_labels
from orapo.data.chexpert_plus.files import (
    CHEXBERT_FILE,
    NAME,
    PARTS,
    ROOT_VARIABLE,
    TITLE,
    chexbert_file,
    images_file,
    table_file,
)
from orapo.data.chexpert_plus.image_check import ImageToCheck, check_images
from orapo.data.chexpert_plus.image_folders import find_image_folders
from orapo.data.chexpert_plus.settings import Images
from orapo.data.chexpert_plus.table import COLUMN_OF_SECTION, PlusStudy, PlusTable, read_plus_table
from orapo.data.expected_files import require_root
from orapo.data.garbage_collection import collection_paused
from orapo.data.report_sections import one_line
from orapo.errors import DataError
from orapo.settings import checked

PUBLISHED = {
    "rows": 223_462,
    "images": 223_462,
    "patients": 64_725,
    "studies": 187_711,
    "images in train": 223_228,
    "images in valid": 234,
    "studies in valid": 200,
    "frontal images": 191_071,
    "lateral images": 32_391,
}
"""Counts of the published set, as users of the whole set report them."""


@checked
def check_chexpert_plus(root: str | None, *, images: Images = "auto", num_opened: int = 20) -> CheckReport:
    """Reads the tables, looks for every image file and opens a few; a minute or more for the whole set.

    Args:
        root: folder of the data set.
        images: ``"auto"``, ``"png"``, ``"jpg"`` or ``"dicom"``, as ``ChexpertPlusSource`` takes it.
        num_opened: how many images to open, spread over the set.

    Raises:
        SettingError: ``images`` is another word.
    """
    check = _Check()
    try:
        with collection_paused():
            check.run(require_root(root, data_set=TITLE, variable=ROOT_VARIABLE), images, num_opened)
    except DataError as error:
        check.problems.append(str(error))
    return CheckReport(NAME, tuple(check.found), check.counts, tuple(check.problems), tuple(check.notes))


class _Check:
    """What has been found so far."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.counts: dict[str, int] = {}
        self.problems: list[str] = []
        self.notes: list[str] = []

    def run(self, root: Path, images: str, num_opened: int) -> None:
        """Looks at everything; raises DataError when the table can't be read, which leaves nothing more to look at."""
        folders = find_image_folders(root, images=images, parts=PARTS)
        labels = {sections: chexbert_file(root, sections) for sections in CHEXBERT_FILE}
        found = {sections: path for sections, file in labels.items() if (path := file.find()) is not None}
        missing = [
            file.describe_missing()
            for file in (table_file(root), images_file(root, images, folders))
            if not file.find()
        ]
        missing += [] if found else [file.describe_missing() for file in labels.values()]
        self.problems += [f"missing: {what}" for what in missing]
        if found:
            self.notes += [f"missing: {file.describe_missing()}" for key, file in labels.items() if key not in found]
        if folders.of_part:
            self.found.append(str(folders))
        path = table_file(root).find()
        table = None if path is None else self._table(path)
        for sections, labels_path in found.items():
            self._labels(labels_path, sections, table)
        if table is not None and folders.of_part:
            listed = [
                ImageToCheck(study.name, image.stem, image.dicom, image.view != "LATERAL")
                for study in table.studies
                for image in study.images
            ]
            problems, notes = check_images(listed, folders, num_opened)
            self.problems += problems
            self.notes += notes

    def _table(self, path: Path) -> PlusTable:
        table = read_plus_table(path, sections=tuple(COLUMN_OF_SECTION), with_dicom=True)
        self.found.append(f"{path}: {table.num_rows:,} rows")
        self.counts |= _counts(table)
        if table.shared_patients:
            first = table.shared_patients[0]
            self.problems.append(
                f"{path}: {len(table.shared_patients):,} patients are in train and in valid: {first}, ..."
            )
        self.notes += [
            f"{path}: {len(rows):,} rows {what}; the first is row {rows[0]:,} (the header is row 0)"
            for rows, what in (
                (table.repeated_rows, "repeat the image of an earlier row and are passed over"),
                (table.renamed_rows, "have another deid_patient_id than the patient's folder, which counts"),
                (table.differing_rows, "have other sections than the first row of their study, which counts"),
            )
            if rows
        ]
        self.notes += [
            f"{key}: {self.counts[key]:,} here, {published:,} in the published set"
            for key, published in PUBLISHED.items()
            if self.counts[key] != published
        ]
        return table

    def _labels(self, path: Path, sections: str, table: PlusTable | None) -> None:
        try:
            labels = read_chexbert_labels(path)
        except DataError as error:
            self.problems.append(str(error))
            return
        self.found.append(f"{path}: labels of {len(labels):,} images")
        if table is None:
            return
        keys = {f"{study.name.key}/{image.stem}" for study in table.studies for image in study.images}
        self.notes += [
            f"{path}: {len(lacking):,} {what}, for example {min(lacking)}"
            for lacking, what in (
                (labels.keys() - keys, "labelled images have no row in the table"),
                (keys - labels.keys(), "images of the table have no labels; studies without labels are left out"),
            )
            if lacking
        ]
        self.counts |= _label_counts(labels, table.studies, sections)


def _counts(table: PlusTable) -> dict[str, int]:
    views = Counter(image.view for study in table.studies for image in study.images)
    images = Counter(dict.fromkeys(PARTS, 0))
    studies, patients = images.copy(), {part: set[str]() for part in PARTS}
    for study in table.studies:
        images[study.name.part] += len(study.images)
        studies[study.name.part] += 1
        patients[study.name.part].add(study.name.patient)
    counts = {"rows": table.num_rows, "images": images.total(), "studies": studies.total()}
    counts["patients"] = len(set.union(*patients.values()))
    for part in PARTS:
        counts |= {f"images in {part}": images[part], f"studies in {part}": studies[part]}
        counts[f"patients in {part}"] = len(patients[part])
    counts["frontal images"] = views.total() - views["LATERAL"]
    counts["lateral images"] = views["LATERAL"]
    counts |= {f"view {view}": count for view, count in sorted(views.items())}
    return counts | _section_counts(table.studies)


def _section_counts(studies: Sequence[PlusStudy]) -> dict[str, int]:
    there = Counter(tuple(bool(one_line(study.sections[name])) for name in COLUMN_OF_SECTION) for study in studies)
    both, findings_only, impression_only = there[True, True], there[True, False], there[False, True]
    return {
        "studies with findings": both + findings_only,
        "studies with impression": both + impression_only,
        "studies with findings and impression": both,
    }


def _label_counts(labels: Mapping[str, LabelStates], studies: Sequence[PlusStudy], sections: str) -> dict[str, int]:
    """Studies by positive label, of those that have the sections: for others, CheXbert's file says No Finding."""
    needed = [name for name in COLUMN_OF_SECTION if name in sections]
    states = [
        labels[study.image_key]
        for study in studies
        if study.image_key in labels and all(one_line(study.sections[name]) for name in needed)
    ]
    counts = {f"studies with {sections} and labels": len(states)}
    for observation in OBSERVATIONS:
        positive = sum(of_study[observation] is LabelState.POSITIVE for of_study in states)
        counts[f"{sections}: {observation} positive"] = positive
    return counts
