"""A look at MIMIC-CXR as it lies on the disk: what is there, what is missing, what differs from the published set."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from orapo.data.check_report import CheckReport
from orapo.data.expected_files import ExpectedFile, require_root
from orapo.data.images import load_image
from orapo.data.mimic_cxr.files import (
    JPG_URL,
    METADATA,
    NAME,
    RADIOLOGIST,
    ROOT_VARIABLE,
    SPLIT,
    TABLES,
    TITLE,
    find_image,
    images_file,
    reports_file,
    study_folder,
    table_file,
)
from orapo.data.mimic_cxr.label_tables import read_label_table
from orapo.data.mimic_cxr.report_files import open_reports
from orapo.data.mimic_cxr.tables import MimicStudy, read_studies
from orapo.data.progress import watched
from orapo.data.report_sections import MissingSection, Wanted, choose_sections, parse_sections
from orapo.data.shared_states import SharedStates
from orapo.data.views import is_frontal
from orapo.errors import DataError
from orapo.records import Split

PUBLISHED = {
    Split.TRAIN: {"images": 368_960, "studies": 222_758, "patients": 64_586},
    Split.VALIDATE: {"images": 2_991, "studies": 1_808, "patients": 500},
    Split.TEST: {"images": 5_159, "studies": 3_269, "patients": 293},
}
"""Counts of the published set, the same in 2.0.0 and 2.1.0."""

_NEEDED = (METADATA, SPLIT)
_LONGEST_SIDE = 512
_MOST_SHOWN = 5


def check_mimic_cxr(root: str | None, reports: str | None = None, *, num_opened: int = 20) -> CheckReport:
    """Reads the tables and every report, looks for every image file and opens a few; minutes for the whole set.

    Args:
        root: folder of MIMIC-CXR-JPG, as ``MimicCxrSource`` takes it.
        reports: folder of MIMIC-CXR or mimic-cxr-reports.zip; None looks in ``root`` and beside it.
        num_opened: how many images to open, spread over the set; at least 1.
    """
    check = _Check()
    try:
        check.run(require_root(root, data_set=TITLE, variable=ROOT_VARIABLE), reports, num_opened)
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

    def run(self, root: Path, reports: str | None, num_opened: int) -> None:
        """Looks at everything; raises DataError when the two tables that are needed can't be used."""
        tables = {key: self._find(table_file(root, key), is_needed=key in _NEEDED) for key in TABLES}
        images = self._find(images_file(root))
        try:
            texts = self._find(reports_file(root, reports))
        except DataError as error:
            self.problems.append(str(error))
            texts = None
        metadata, split = tables.pop(METADATA), tables.pop(SPLIT)
        studies = [] if metadata is None or split is None else read_studies(metadata, split)
        if studies:
            self._count_studies(studies)
            for key, path in tables.items():
                if path is not None:
                    self._labels(key, path, studies)
        if studies and images is not None:
            self._images(studies, images, num_opened)
        if studies and texts is not None:
            self._reports(studies, texts)

    def _find(self, file: ExpectedFile, *, is_needed: bool = True) -> Path | None:
        path = file.find()
        if path is None:
            (self.problems if is_needed else self.notes).append(f"missing: {file.describe_missing()}")
        else:
            size = f", {path.stat().st_size:,} bytes" if path.is_file() else ""
            self.found.append(f"{file.what}: {path}{size}")
        return path

    def _count_studies(self, studies: Sequence[MimicStudy]) -> None:
        for split, published in PUBLISHED.items():
            of_split = [study for study in studies if study.split is split]
            here = {
                "images": sum(len(study.dicom_ids) for study in of_split),
                "studies": len(of_split),
                "patients": len({study.patient_id for study in of_split}),
            }
            self.counts |= {f"{split} {what}": number for what, number in here.items()}
            self.notes += [
                f"{split} has {here[what]:,} {what}, the published set {number:,}"
                for what, number in published.items()
                if here[what] != number
            ]
        views = Counter(view or "(blank)" for study in studies for view in study.views)
        self.counts |= {f"view {view}": number for view, number in views.most_common()}
        self.counts["studies without a frontal image"] = sum(
            not any(is_frontal(view, blank=False) for view in study.views) for study in studies
        )

    def _labels(self, key: str, path: Path, studies: Sequence[MimicStudy]) -> None:
        try:
            labels = read_label_table(path, SharedStates())
        except DataError as error:
            self.problems.append(str(error))
            return
        self.counts[f"studies in {key} labels"] = len(labels)
        labelled = [study for study in studies if study.split is Split.TEST or key != RADIOLOGIST]
        unlabelled = [study.study_id for study in labelled if study.study_id not in labels]
        if unlabelled:
            of = "test studies" if key == RADIOLOGIST else "studies"
            self.notes.append(f"{len(unlabelled):,} {of} have no {key} labels: {_first(unlabelled)}")
        unknown = sorted(labels.keys() - {study.study_id for study in labelled})
        if unknown:
            self.notes.append(f"{path}: {len(unknown):,} studies are not in the tables or the split: {_first(unknown)}")

    def _images(self, studies: Sequence[MimicStudy], files: Path, num_opened: int) -> None:
        present: list[tuple[str, Path]] = []
        missing: list[str] = []
        for study in watched(studies, "looking for images"):
            folder = study_folder(files, study.patient_id, study.study_id)
            for dicom_id in study.dicom_ids:
                path = find_image(folder, dicom_id)
                if path is None:
                    missing.append(f"{study.study_id}/{dicom_id}")
                else:
                    present.append((study.study_id, path))
        self.counts["image files"] = len(present)
        if missing:
            self.problems.append(
                f"{len(missing):,} image files are missing: {_first(missing)}; get them from {JPG_URL}"
            )
        for study_id, path in islice(present, 0, None, max(1, len(present) // num_opened)):
            try:
                load_image(path, study_id=study_id, longest_side=_LONGEST_SIDE)
            except DataError as error:
                self.problems.append(str(error))

    def _reports(self, studies: Sequence[MimicStudy], texts: Path) -> None:
        reports = open_reports(texts)
        found: Counter[str] = Counter()
        unreadable: list[str] = []
        for study in watched(studies, "reading reports"):
            try:
                text = reports.read(study.patient_id, study.study_id)
            except DataError as error:
                unreadable.append(str(error))
                if len(unreadable) == len(studies) // 10 + _MOST_SHOWN:  # a broken zip, or the reports of other studies
                    break
                continue
            found.update(["reports read", *_usable(text)])
        keys = ("reports read", *(f"reports with {wanted.value}" for wanted in Wanted))
        self.counts |= {key: found[key] for key in keys}
        shown = list(dict.fromkeys(unreadable))[:_MOST_SHOWN]
        self.problems += shown
        if len(unreadable) > len(shown):
            self.problems.append(f"at least {len(unreadable) - len(shown):,} more reports are missing or damaged")


def _usable(text: str) -> Iterator[str]:
    sections = parse_sections(text)
    for wanted in Wanted:
        try:
            choose_sections(sections, wanted)
        except MissingSection:
            continue
        yield f"reports with {wanted.value}"


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_SHOWN]) + (", ..." if len(names) > _MOST_SHOWN else "")
