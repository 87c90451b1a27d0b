"""Where the files of MIMIC-CXR-JPG and MIMIC-CXR lie, in the layouts that downloads leave behind."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from orapo.data.expected_files import ExpectedFile
from orapo.data.mimic_cxr.settings import MimicSettings
from orapo.errors import DataError

NAME = "mimic_cxr"
TITLE = "MIMIC-CXR"
ROOT_VARIABLE = "ORAPO_MIMIC_ROOT"
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


def table_file(root: Path, key: str) -> ExpectedFile:
    """One of ``TABLES``, gzipped or not."""
    what, name = TABLES[key]
    holding = (folder for folder in _folders(root, "mimic-cxr-jpg") if any(_tables_in(folder)))
    home = next(holding, None)
    folders = [root, root / "physionet.org/files/mimic-cxr-jpg/2.1.0"] if home is None else [home]
    return ExpectedFile(what, tuple(folder / name_ for folder in folders for name_ in (f"{name}.gz", name)), JPG_URL)


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
        raise DataError(f"{TITLE}: there is no reports {reports}; name the folder or {_ZIP} from {REPORTS_URL}")
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


def needed_files(root: Path, reports: str | None, settings: MimicSettings) -> dict[str, ExpectedFile]:
    """What a source with these settings needs: the two tables, "labels" and ``RADIOLOGIST``, "images", "reports".

    Raises:
        DataError: ``reports`` is given and isn't there.
    """
    needed = {key: table_file(root, key) for key in (METADATA, SPLIT)}
    if settings.label_table is not None:
        needed["labels"] = ExpectedFile("label_table", (Path(settings.label_table),), "orapo label")
    elif settings.labels != "labeler":
        needed["labels"] = table_file(root, settings.labels)
    if settings.radiologist_test_labels or settings.test_studies == "radiologist":
        needed[RADIOLOGIST] = table_file(root, RADIOLOGIST)
    return needed | {"images": images_file(root), "reports": reports_file(root, reports)}


def study_folder(files: Path, patient_id: str, study_id: str) -> Path:
    """The folder of a study's images; the report has its name with .txt."""
    return files / patient_id[:3] / patient_id / study_id


def find_image(folder: Path, dicom_id: str) -> Path | None:
    """The file of an image, whichever its format; None when there is none."""
    paths = (folder / f"{dicom_id}{suffix}" for suffix in IMAGE_SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def _folders(start: Path, project: str) -> Iterator[Path]:
    """The folders that a download of a PhysioNet project into ``start`` may have made, ``start`` first."""
    yield start
    yield start / f"{project}-reports"
    yield start / project
    for version in _VERSIONS:
        yield start / version
        yield start / f"{project}-{version}"
        yield start / f"{project}-{version}.physionet.org"
        for above in (project, f"files/{project}", f"physionet.org/files/{project}"):
            yield start / above / version


def _tables_in(folder: Path) -> Iterator[bool]:
    for _, name in TABLES.values():
        yield (folder / f"{name}.gz").is_file() or (folder / name).is_file()


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
        raise DataError(f"{TITLE}: folder {folder} can't be read: {error.strerror}") from None
