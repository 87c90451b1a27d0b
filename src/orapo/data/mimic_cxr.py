"""MIMIC-CXR: images and tables of MIMIC-CXR-JPG 2.0.0 or 2.1.0, reports of MIMIC-CXR, in the layouts of downloads."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

from orapo.chexpert import LabelStates
from orapo.data.context import read_day
from orapo.data.expected_files import ExpectedFile, require_root
from orapo.data.images import check_below_root
from orapo.data.labels import SharedStates, check_overlap
from orapo.data.report_sections import parse_sections
from orapo.data.splits import split_from_word
from orapo.data.tables import is_blank, quoted, read_columns
from orapo.data.tabulated import Reader, SectionSettings, StudyRow, Tell
from orapo.data.text_files import TextFiles
from orapo.data.views import is_frontal, view_name
from orapo.errors import DataError
from orapo.records import Split
from orapo.settings import settings

JPG_URL = "https://physionet.org/content/mimic-cxr-jpg/2.1.0/"
REPORTS_URL = "https://physionet.org/content/mimic-cxr/2.1.0/"

METADATA, SPLIT, CHEXPERT, NEGBIO, RADIOLOGIST = "metadata", "split", "chexpert", "negbio", "radiologist"
TABLES = {
    METADATA: ("the table of images", "mimic-cxr-2.0.0-metadata.csv"),
    SPLIT: ("the table of splits", "mimic-cxr-2.0.0-split.csv"),
    CHEXPERT: ("the CheXpert labels", "mimic-cxr-2.0.0-chexpert.csv"),
    NEGBIO: ("the NegBio labels", "mimic-cxr-2.0.0-negbio.csv"),
    RADIOLOGIST: ("the radiologist's labels (new in version 2.1.0)", "mimic-cxr-2.1.0-test-set-labeled.csv"),
}
"""What each table is, and its name without .gz; the names say 2.0.0 in version 2.1.0 too."""

IMAGE_SUFFIXES = (".jpg", ".png", ".dcm", ".jpeg")
_VERSIONS = ("2.1.0", "2.0.0")
_ZIP = "mimic-cxr-reports.zip"
_A_STUDY = "files/pNN/pNNNNNNNN/sNNNNNNNN"
_MOST_LOOKED_INTO = 5
_VIEW_MEANING, _DATE, _TIME = "ViewCodeSequence_CodeMeaning", "StudyDate", "StudyTime"
_BLANK_TIME = float("inf")
"""StudyTime has the form HHMMSS.fff without leading zeros; read as a number it sorts by time, blank ones last."""

_Image = tuple[bool, float, str, str]
"""Whether it isn't frontal, time, id, view: in the order to sort by."""


class MimicReader(Reader["MimicCxr"]):
    """Studies in the order of the table of images; a study's images are its frontal ones, as taken, then the others.

    Reports come straight from mimic-cxr-reports.zip or from a folder.
    """

    name = "mimic_cxr"
    title = "MIMIC-CXR"
    tables = (METADATA, SPLIT)
    texts_in_table = False
    blank_is_frontal = False
    published: Mapping[str, int] = {
        **{"train images": 368_960, "train studies": 222_758, "train patients": 64_586},
        **{"validate images": 2_991, "validate studies": 1_808, "validate patients": 500},
        **{"test images": 5_159, "test studies": 3_269, "test patients": 293},
    }

    def expected(self) -> Mapping[str, ExpectedFile]:
        settings, root = self.settings, self._root()
        needed = {key: table_file(root, key) for key in (METADATA, SPLIT)}
        if settings.labels not in ("labeler", "table"):
            needed["labels"] = table_file(root, settings.labels)
        if settings.radiologist_test_labels or settings.test_studies == RADIOLOGIST:
            needed[RADIOLOGIST] = table_file(root, RADIOLOGIST)
        return needed | {"images": images_file(root), "reports": reports_file(root, settings.reports)}

    def rows(self, tell: Tell) -> Sequence[StudyRow]:
        """Joins the tables of images and of splits."""
        splits = _read_splits(self.files[SPLIT], tell)
        studies = []
        for study, (subject, images, order, day) in _read_images(self.files[METADATA], tell).items():
            patient, split = splits.get(study, ("", None))
            if split is None:
                tell(f"{self.files[SPLIT]} has no row for study s{study} of {self.files[METADATA]}; each needs one")
                continue
            if patient != subject:
                tell(f"{self.files[SPLIT]} gives study s{study} to another patient than the images do")
                continue
            dicom_ids, views = zip(*((dicom, view) for _, _, dicom, view in sorted(images)), strict=True)
            studies.append(StudyRow(f"s{study}", f"p{subject}", split, dicom_ids, views, order=order, day=day))
        return studies

    def sections(self, row: StudyRow) -> Mapping[str, str]:
        path = study_folder(row).with_suffix(".txt")
        return parse_sections(self._reports.read(str(path), study_id=row.study_id))

    def image_path(self, row: StudyRow, image: str) -> str:
        """The image's file, in whichever format it is there."""
        folder = self.files["images"] / study_folder(row)
        check_below_root(image, str(folder), study_id=row.study_id)
        stem = folder / image
        found = next((path for suffix in IMAGE_SUFFIXES if os.path.isfile(path := f"{stem}{suffix}")), None)
        if found is None:
            raise DataError(
                f"study {row.study_id}: there is no image {image} with one of the endings {', '.join(IMAGE_SUFFIXES)}; "
                f"get the images of MIMIC-CXR-JPG from {JPG_URL}"
            )
        return found

    def label_files(self) -> Mapping[str, ExpectedFile]:
        return {key: table_file(self._root(), key) for key in (CHEXPERT, NEGBIO, RADIOLOGIST)}

    def label_key(self, column: str, cell: str) -> str:
        """Ids are whole numbers, with or without the leading "s"."""
        key = super().label_key(column, cell).removeprefix("s")
        if not key.isdecimal():
            raise DataError(f"{column} is no id like s50414267 or 50414267")
        return key

    def overrule(self, shared: SharedStates, rows: Sequence[StudyRow]) -> Callable[[StudyRow], LabelStates | str]:
        """A radiologist's labels replace others in TEST."""
        path = self.files.get(RADIOLOGIST)
        if path is None:
            return super().overrule(shared, rows)
        _, labels = self.table_labels(path, shared)
        test = {row.study_id[1:] for row in rows if row.split is Split.TEST}
        check_overlap(path, labels, test, "the test split", by="study_id")

        def by_radiologist(row: StudyRow) -> LabelStates | str:
            states = labels.get(row.study_id[1:]) if row.split is Split.TEST else None
            if states is None and row.split is Split.TEST and self.settings.test_studies == RADIOLOGIST:
                return "no radiologist's labels"
            return states if states is not None and self.settings.radiologist_test_labels else ""

        return by_radiologist

    def _root(self) -> Path:
        return require_root(self.settings.root, data_set=self.title, variable="ORAPO_MIMIC_ROOT")

    @cached_property
    def _reports(self) -> TextFiles:
        return TextFiles(self.files["reports"], REPORTS_URL)


@settings
class MimicCxr(SectionSettings):
    """Settings of MIMIC-CXR.

    With the whole set, opening takes about ten seconds, as only tables are read (labels "labeler" reads every report).

    Attributes:
        root: folder of MIMIC-CXR-JPG, or one above it as wget leaves it.
        reports: folder of MIMIC-CXR or mimic-cxr-reports.zip; None looks in ``root`` and beside it.
        labels: ``"chexpert"`` or ``"negbio"``: the tables that come with the images.
        radiologist_test_labels: whether version 2.1.0's labels by a radiologist replace those of the 687 test studies
            that have them.
        test_studies: ``"all"``, or ``"radiologist"``: only those 687.
    """

    root: str | None
    _: KW_ONLY
    reports: str | None = None
    labels: Literal["chexpert", "negbio", "labeler", "table"] = "chexpert"
    radiologist_test_labels: bool = False
    test_studies: Literal["all", "radiologist"] = "all"

    reader: ClassVar[type[Reader[Any]]] = MimicReader


def study_folder(row: StudyRow) -> Path:
    """The folder of a study's images below ``files``; the report has its name with .txt."""
    return Path(row.patient_id[:3]) / row.patient_id / row.study_id


def table_file(root: Path, key: str) -> ExpectedFile:
    """One of ``TABLES``, gzipped or not; all of them in the first folder that has one."""
    what, name = TABLES[key]
    names = [f"{table}{gz}" for _, table in TABLES.values() for gz in (".gz", "")]
    holding = (folder for folder in _folders(root, "mimic-cxr-jpg") if any((folder / n).is_file() for n in names))
    home = next(holding, None)
    folders = [root, root / "physionet.org/files/mimic-cxr-jpg/2.1.0"] if home is None else [home]
    return ExpectedFile(what, tuple(folder / f"{name}{gz}" for folder in folders for gz in (".gz", "")), JPG_URL)


def images_file(root: Path) -> ExpectedFile:
    """The folder ``files`` of images; its place is a pattern when there is none, so that it isn't found."""
    folders = (*_folders(root, "mimic-cxr-jpg"), *_folders(root, "mimic-cxr"))
    found = next((folder / "files" for folder in folders if _has_studies(folder / "files", is_folder=True)), None)
    return ExpectedFile("the images", (found or root / _A_STUDY / "*.jpg",), JPG_URL)


def reports_file(root: Path, reports: str | None) -> ExpectedFile:
    """The zip of reports, or the folder ``files`` that holds them.

    Args:
        root: of MIMIC-CXR-JPG; where no place is given, it and the folders beside it are looked into.
        reports: a folder or zip, as configured.

    Raises:
        DataError: the place that is given isn't there.
    """
    if reports is not None and not Path(reports).exists():
        raise DataError(f"MIMIC-CXR: there is no reports {reports}; name the folder or {_ZIP} from {REPORTS_URL}")
    if reports is not None and Path(reports).is_file():
        return ExpectedFile("the reports", (Path(reports),), REPORTS_URL)
    above = [root.resolve().parent, root.resolve().parent.parent]
    starts = [root] if reports is None else [Path(reports), Path(reports).parent]
    folders = [folder for start in starts for folder in _folders(start, "mimic-cxr")]
    if reports is None:
        folders += _folders(root, "mimic-cxr-jpg")
        folders += (folder for start in above for folder in _folders(start, "mimic-cxr"))
    found = next(filter(None, map(_reports_in, folders)), None)
    places = (found,) if found else (starts[0] / _ZIP, starts[0] / f"{_A_STUDY}.txt", *(f / _ZIP for f in above[:1]))
    return ExpectedFile("the reports", places, REPORTS_URL)


def _folders(start: Path, project: str) -> Iterator[Path]:
    """The folders that a download of a PhysioNet project into ``start`` may have made, ``start`` first."""
    yield from (start, start / f"{project}-reports", start / project)
    for version in _VERSIONS:
        yield from (start / version, start / f"{project}-{version}", start / f"{project}-{version}.physionet.org")
        for above in (project, f"files/{project}", f"physionet.org/files/{project}"):
            yield start / above / version


def _reports_in(folder: Path) -> Path | None:
    if (folder / _ZIP).is_file():
        return folder / _ZIP
    return folder / "files" if _has_studies(folder / "files", is_folder=False) else None


def _has_studies(files: Path, *, is_folder: bool) -> bool:
    """Whether studies lie here, as folders (of images) or as text files; looks at a few patients of each group."""
    patients = (
        patient for group in _entries(files, "p") for patient in islice(_entries(group, "p"), _MOST_LOOKED_INTO)
    )
    return any(
        study.is_dir() if is_folder else study.suffix == ".txt"
        for patient in patients
        for study in islice(_entries(patient, "s"), _MOST_LOOKED_INTO * 2)
    )


def _entries(folder: Path, first_letter: str) -> Iterator[Path]:
    if not folder.is_dir():
        return
    try:
        with os.scandir(folder) as entries:
            yield from (Path(entry.path) for entry in entries if entry.name.startswith(first_letter))
    except OSError as error:
        raise DataError(f"MIMIC-CXR: folder {folder} can't be read: {error.strerror}") from None


def _read_images(path: Path, tell: Tell) -> dict[str, tuple[str, list[_Image], float | None, int | None]]:
    """Patient, images, time and day of each study; the time is None where that of an image isn't known."""
    required, optional = ("dicom_id", "subject_id", "study_id", "ViewPosition"), (_VIEW_MEANING, _DATE, _TIME)
    columns = read_columns(path, required, optional)
    cells = zip(columns.lines, *(columns.get(name) for name in required + optional), strict=True)
    studies: dict[str, tuple[str, list[_Image], float | None, int | None]] = {}
    seen: set[str] = set()
    for line, dicom, subject, study, position, meaning, date, time in cells:
        try:
            if not (dicom and subject.isdecimal() and study.isdecimal()):
                raise DataError("dicom_id is blank, or study_id or subject_id is no whole number")
            if dicom in seen:
                raise DataError(f"image {dicom} of study s{study} is there twice")
            seen.add(dicom)
            day, seconds = _day(date), _time(time)
            view = view_name(position) or view_name(meaning)
            is_other = not is_frontal(view, blank=False)
            order = None if day is None or seconds == _BLANK_TIME else day + seconds / 240_000
            patient, images, first, first_day = studies.setdefault(study, (subject, [], order, day))
            if patient != subject:
                raise DataError(f"study s{study} is of another patient than above")
            images.append((is_other, seconds, dicom, view))
            if first != order:
                first = None if order is None or first is None else min(order, first)
                studies[study] = (subject, images, first, first_day if day is None else day)
        except DataError as error:
            tell(f"{path} line {line}: {error}")
    return studies


def _read_splits(path: Path, tell: Tell) -> dict[str, tuple[str, Split]]:
    """Patient and split of each study."""
    columns = read_columns(path, ("subject_id", "study_id", "split"))
    of_patient: dict[str, Split] = {}
    of_study: dict[str, tuple[str, Split]] = {}
    previous: tuple[str, ...] = ()
    for line, row in zip(columns.lines, zip(*columns.cells.values(), strict=True), strict=True):
        if row == previous:  # images of a study follow each other
            continue
        subject, study, word = previous = row
        try:
            split = _split(word)
        except DataError as error:
            tell(f"{path} line {line}: study s{study}: {error}")
            continue
        first = of_study.setdefault(study, (subject, split))
        if first != (subject, split):
            tell(
                f"{path} line {line}: an image of study s{study} is of another patient, or split, than one above; all "
                "images of a study must agree"
            )
        elif of_patient.setdefault(subject, split) is not split:
            tell(
                f"{path} line {line}: study s{study} is in split {split}, another of its patient in "
                f"{of_patient[subject]}; a patient must be in one split only"
            )
    return of_study


_split = cache(split_from_word)
_day = cache(read_day)


def _time(cell: str) -> float:
    try:
        return _BLANK_TIME if is_blank(cell) else float(cell)
    except ValueError:
        raise DataError(f"{_TIME} is {quoted(cell)}; it must be HHMMSS.fff or blank") from None
