"""Tables as large as the real ones, of made-up patients: CheXpert Plus, MIMIC-CXR and ReXGradient-160K.

Sizes are those of the real sets, labels about as frequent; sentences are the phantoms'. Images are made on demand, as
empty files, since a source looks for those of the studies that it reads.
"""

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from made_up_text import MadeUpText

from orapo.chexpert import LabelStates, label_state_to_code
from orapo.data.miniature.chexpert_plus import CHEXBERT_ORDER, COLUMNS, TABLE
from orapo.data.miniature.mimic_cxr import LABEL_COLUMNS, LABEL_ORDER, METADATA_COLUMNS, REPORTS_ARCHIVE, SPLIT_COLUMNS

PLUS_ROWS, PLUS_STUDIES, PLUS_PATIENTS, PLUS_VALID_PATIENTS = 223_462, 187_711, 64_725, 200
MIMIC_ROWS, MIMIC_STUDIES, MIMIC_PATIENTS, MIMIC_UNLABELLED = 377_110, 227_835, 65_379, 8
MIMIC_TEST_PATIENTS, MIMIC_VALIDATE_PATIENTS = 293, 500
REX_PARTS = {"train": 140_000, "valid": 10_000, "test": 10_000}
REX_STUDIES, REX_PATIENTS, REX_IMAGES = 160_000, 109_487, 273_106
REX_LABELS = "labels.csv"


def write_chexpert_plus(root: Path) -> None:
    """Writes the table and CheXbert's labels of the findings."""
    made_up = MadeUpText(0)
    (root / "chexbert_labels").mkdir()
    for part in ("train", "valid"):
        (root / "PNG" / part).mkdir(parents=True)
    with (
        open(root / TABLE, "w", encoding="utf-8", newline="") as table,
        open(root / "chexbert_labels" / "findings_fixed.json", "w", encoding="utf-8") as labels,
    ):
        writer = csv.writer(table)
        writer.writerow(("", *COLUMNS))
        for study in range(PLUS_STUDIES):
            codes = _numbers(made_up.labels())
            for row in _plus_rows(study, made_up):
                writer.writerow([0, *(row.get(column, "") for column in COLUMNS)])
                labels.write(json.dumps({"path_to_image": row["path_to_image"], **codes}) + "\n")


def plus_images(study_id: str) -> list[str]:
    """Files that a study of this id has, below the root."""
    patient, study = study_id.split("/")
    number = int(patient.removeprefix("patient"))
    part = "valid" if number >= PLUS_PATIENTS - PLUS_VALID_PATIENTS else "train"
    return [f"PNG/{part}/{patient}/{study}/view1_frontal.png"]


def write_mimic_cxr(root: Path) -> None:
    """Writes the tables of images, splits and labels, and the zip of reports."""
    made_up = MadeUpText(1)
    write_image_files(root, mimic_images(0))
    images = [(study, image) for study in range(MIMIC_STUDIES) for image in range(_num_images(study))]
    _write_gzip(
        root / "mimic-cxr-2.0.0-split.csv.gz",
        SPLIT_COLUMNS,
        (
            (_dicom_id(study, image), 50_000_000 + study, _subject(study), _mimic_split(study))
            for study, image in images
        ),
    )
    _write_gzip(
        root / "mimic-cxr-2.0.0-metadata.csv.gz",
        METADATA_COLUMNS,
        (_metadata_row(study, image) for study, image in images),
    )
    _write_gzip(
        root / "mimic-cxr-2.0.0-chexpert.csv.gz",
        LABEL_COLUMNS,
        (_label_row(study, made_up.labels()) for study in range(MIMIC_STUDIES - MIMIC_UNLABELLED)),
    )
    with zipfile.ZipFile(root / REPORTS_ARCHIVE, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for study in range(MIMIC_STUDIES):
            findings = f" FINDINGS: \n \n {made_up.text()}\n \n" if study % 10 < 7 else ""
            text = f" FINAL REPORT\n EXAMINATION:  ___\n \n{findings} IMPRESSION: \n \n {made_up.text()}\n"
            archive.writestr(f"{_mimic_folder(study)}.txt", text)


def mimic_images(study: int | str) -> list[str]:
    """Files that a study of this number or id has, below the root."""
    number = int(study[1:]) - 50_000_000 if isinstance(study, str) else study
    return [f"{_mimic_folder(number)}/{_dicom_id(number, image)}.jpg" for image in range(_num_images(number))]


def write_rexgradient(root: Path) -> None:
    """Writes the three files of studies, and a table of labels as ``orapo label`` makes it."""
    made_up = MadeUpText(2)
    (root / "metadata").mkdir()
    (root / "deid_png").mkdir()
    first = 0
    for part, num_studies in REX_PARTS.items():
        content = {f"study{study}": _rex_study(study, made_up) for study in range(first, first + num_studies)}
        (root / "metadata" / f"{part}_metadata_view_position.json").write_text(json.dumps(content), encoding="utf-8")
        first += num_studies
    with open(root / REX_LABELS, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("study_id", *LABEL_ORDER))
        for study in range(REX_STUDIES):
            labels = made_up.labels()
            writer.writerow((f"study{study}", *(label_state_to_code(labels[name]) for name in LABEL_ORDER)))


def rex_images(study: int | str) -> list[str]:
    """Files that a study of this number or id has, below the root."""
    number = int(study.removeprefix("study")) if isinstance(study, str) else study
    patient, extra = number * REX_PATIENTS // REX_STUDIES, REX_IMAGES - REX_STUDIES
    count = 1 + (number * extra % REX_STUDIES < extra)
    return [f"deid_png/P{patient}/S{number}/instances/{image}.png" for image in range(count)]


def write_image_files(root: Path, paths: Iterable[str]) -> None:
    """Makes empty files."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def _plus_rows(study: int, made_up: MadeUpText) -> Iterator[dict[str, object]]:
    number = study * PLUS_PATIENTS // PLUS_STUDIES
    patient, part = f"patient{number:05d}", "valid" if number >= PLUS_PATIENTS - PLUS_VALID_PATIENTS else "train"
    findings, impression = f"\n{made_up.text().upper()}" if study % 4 == 0 else "", f"\n{made_up.text().upper()}"
    has_lateral = study * (PLUS_ROWS - PLUS_STUDIES) % PLUS_STUDIES < PLUS_ROWS - PLUS_STUDIES
    for view in ("1_frontal", "2_lateral")[: 1 + has_lateral]:
        path = f"{part}/{patient}/study{study}/view{view}"
        yield {
            "path_to_image": f"{path}.jpg",
            "path_to_dcm": f"{path}.dcm",
            "frontal_lateral": view[2:].capitalize(),
            "ap_pa": "AP" if view == "1_frontal" else "",
            "deid_patient_id": patient,
            "patient_report_date_order": 1,
            "report": f"NARRATIVE:\n{findings}{impression}",
            "section_findings": findings,
            "section_impression": impression,
            "age": 50,
            "split": part,
        }


def _rex_study(study: int, made_up: MadeUpText) -> dict[str, object]:
    images = rex_images(study)
    return {
        "StudyInstanceUid": f"1.2.{study}",
        "StudyDate": "21800506",
        "PatientAge": "050Y",
        "PatientSex": "F",
        "Indication": "Cough.",
        "Comparison": "None.",
        "Findings": made_up.text(),
        "Impression": made_up.text(),
        "ImagePath": [f"../{path}" for path in images],
        "ImageViewPosition": ["POSTERO_ANTERIOR", "LATERAL"][: len(images)],
    }


def _numbers(labels: LabelStates) -> dict[str, float | None]:
    codes = {observation.value: label_state_to_code(labels[observation]) for observation in CHEXBERT_ORDER}
    return {name: float(code) if code else None for name, code in codes.items()}


def _num_images(study: int) -> int:
    extra = MIMIC_ROWS - MIMIC_STUDIES
    return 1 + (study * extra % MIMIC_STUDIES < extra)


def _subject(study: int) -> int:
    return 10_000_000 + study * MIMIC_PATIENTS // MIMIC_STUDIES


def _mimic_split(study: int) -> str:
    from_last = MIMIC_PATIENTS - (_subject(study) - 10_000_000)
    if from_last <= MIMIC_TEST_PATIENTS:
        return "test"
    return "validate" if from_last <= MIMIC_TEST_PATIENTS + MIMIC_VALIDATE_PATIENTS else "train"


def _mimic_folder(study: int) -> str:
    subject = _subject(study)
    return f"files/p{subject // 1_000_000}/p{subject}/s{50_000_000 + study}"


def _dicom_id(study: int, image: int) -> str:
    return f"{study:08x}-{image:08x}-00000000-00000000-00000000"


def _metadata_row(study: int, image: int) -> tuple[object, ...]:
    view = ("PA", "LATERAL")[image]
    where = (_dicom_id(study, image), _subject(study), 50_000_000 + study)
    return (*where, "CHEST (PA AND LAT)", view, 3056, 2544, 21800506, 213014.531, "CHEST (PA AND LAT)", view, "Erect")


def _label_row(study: int, labels: LabelStates) -> tuple[object, ...]:
    codes = (label_state_to_code(labels[observation]) for observation in LABEL_ORDER)
    return (_subject(study), 50_000_000 + study, *(f"{code}.0" if code else "" for code in codes))


def _write_gzip(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with gzip.open(path, "wb", compresslevel=6) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(header)
        writer.writerows(rows)
