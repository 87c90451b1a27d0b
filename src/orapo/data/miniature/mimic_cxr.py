"""A miniature of MIMIC-CXR-JPG together with the reports of MIMIC-CXR."""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from orapo.chexpert import OBSERVATIONS, LabelStates, Observation
from orapo.data.miniature.studies import MadeUpStudy, Trait
from orapo.data.miniature.writing import begin, codes, write_images, write_table, write_texts
from orapo.records import Split
from orapo.settings import checked

Version = Literal["2.0.0", "2.1.0"]
LABEL_ORDER = tuple(sorted(OBSERVATIONS))
METADATA_COLUMNS = (
    *("dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows", "Columns"),
    *("StudyDate", "StudyTime", "ProcedureCodeSequence_CodeMeaning", "ViewCodeSequence_CodeMeaning"),
    "PatientOrientationCodeSequence_CodeMeaning",
)
SPLIT_COLUMNS = ("dicom_id", "study_id", "subject_id", "split")
LABEL_COLUMNS = ("subject_id", "study_id", *LABEL_ORDER)
TEST_SET_COLUMNS = ("study_id", *("Airspace Opacity" if o is Observation.LUNG_OPACITY else o for o in LABEL_ORDER))
REPORTS_ARCHIVE = "mimic-cxr-reports.zip"

_VIEW_MEANING = {"AP": "antero-posterior", "PA": "postero-anterior", "LATERAL": "lateral"}
_RULE = "_" * 78
_INDENT = " " * 33


@checked
def write_miniature_mimic_cxr(
    folder: str | Path, num_patients: int = 60, seed: int = 0, *, version: Version = "2.1.0", zip_reports: bool = False
) -> Path:
    """Writes the data set; a few seconds. Arguments and errors as of ``begin``.

    Patients are p90000001 and so on, studies s90000001. Tables keep their names of 2.0.0 in both versions, as the real
    ones do; 2.1.0 adds a radiologist's labels of the test studies, with "Airspace Opacity" for Lung Opacity. Labels
    are those of the impression, or of the findings where there is no impression.

    With ``zip_reports`` reports go to mimic-cxr-reports.zip, as they are downloaded, instead of to files/. Gives the
    folder.
    """
    root, studies = begin(folder, num_patients, seed)
    write_images(root, studies, image_paths)
    write_texts(root, {"IMAGE_FILENAMES": "".join(f"{path}\n" for s in studies for path in image_paths(s))})
    reports = {report_path(study): write_report(study) for study in studies}
    write_texts(root, reports, archive=REPORTS_ARCHIVE if zip_reports else None)
    _write_tables(root, studies, version)
    return root


def subject_id(study: MadeUpStudy) -> int:
    return 90_000_000 + study.patient


def study_id(study: MadeUpStudy) -> int:
    return 90_000_000 + study.serial


def report_path(study: MadeUpStudy) -> str:
    """Beside the folder of the study's images."""
    return f"files/p{subject_id(study) // 1_000_000}/p{subject_id(study)}/s{study_id(study)}.txt"


def image_paths(study: MadeUpStudy) -> list[str]:
    folder = report_path(study).removesuffix(".txt")
    return [f"{folder}/{dicom_id}.jpg" for dicom_id in _dicom_ids(study)]


def table_labels(study: MadeUpStudy) -> LabelStates:
    """What the tables of labels say: the impression's labels, or else those of the findings."""
    return study.impression_labels if study.impression else study.findings_labels


def write_report(study: MadeUpStudy) -> str:
    """The report as a text file has it: heads in capitals, three underscores for what was removed."""
    head = f"{_INDENT}FINAL REPORT\n EXAMINATION:  CHEST PHANTOM\n \n INDICATION:  Made up for ___.\n \n"
    if study.trait is Trait.ADDENDUM:
        head = f"{_INDENT}ADDENDUM  Signed again by Dr. ___ on ___.\n \n{_RULE}\n{head}"
    body = f"{head} COMPARISON:  ___.\n \n"
    if study.findings or study.trait is Trait.BLANK_FINDINGS:
        body += f" FINDINGS: \n \n{_lines(study, study.findings)}\n \n"
    if study.impression:
        body += f" IMPRESSION: \n \n{_lines(study, study.impression)}\n"
    return body


def _lines(study: MadeUpStudy, text: str) -> str:
    paragraphs = study.paragraphs(text, gap=" ") if text else []
    return "\n \n".join(textwrap.fill(line, 78, initial_indent=" ", subsequent_indent=" ") for line in paragraphs)


def _dicom_ids(study: MadeUpStudy) -> list[str]:
    return [f"{study_id(study)}-00000000-00000000-00000000-{number:08x}" for number in range(1, len(study.views) + 1)]


def _write_tables(root: Path, studies: Sequence[MadeUpStudy], version: str) -> None:
    labelled = [study for study in studies if study.trait is not Trait.NO_LABELS]
    by_code = [[subject_id(s), study_id(s), *codes(table_labels(s), LABEL_ORDER)] for s in labelled]
    write_table(root / "mimic-cxr-2.0.0-chexpert.csv.gz", LABEL_COLUMNS, by_code)
    write_table(root / "mimic-cxr-2.0.0-negbio.csv.gz", LABEL_COLUMNS, by_code)
    split = (
        [dicom_id, study_id(study), subject_id(study), study.split.value]
        for study in studies
        for dicom_id in _dicom_ids(study)
    )
    write_table(root / "mimic-cxr-2.0.0-split.csv.gz", SPLIT_COLUMNS, split)
    metadata = (row for study in studies for row in _metadata_rows(study))
    write_table(root / "mimic-cxr-2.0.0-metadata.csv.gz", METADATA_COLUMNS, metadata)
    if version == "2.1.0":
        test = [[study_id(s), *codes(table_labels(s), LABEL_ORDER)] for s in studies if s.split is Split.TEST]
        write_table(root / "mimic-cxr-2.1.0-test-set-labeled.csv", TEST_SET_COLUMNS, test)


def _metadata_rows(study: MadeUpStudy) -> Iterator[list[object]]:
    for dicom_id, view, image in zip(_dicom_ids(study), study.views, study.images, strict=True):
        yield [
            *(dicom_id, subject_id(study), study_id(study), "CHEST PHANTOM", view, image.height, image.width),
            *(f"2180{study.number:02d}01", "120000.0", "CHEST PHANTOM", _VIEW_MEANING[view], "Erect"),
        ]
