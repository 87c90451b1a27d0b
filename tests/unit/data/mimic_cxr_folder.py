"""Writes a small MIMIC-CXR in the layout of the real one: made-up ids, made-up sentences, grey images."""

import csv
import gzip
import io
import zipfile
from pathlib import Path

from PIL import Image

from orapo.chexpert import OBSERVATIONS

LABELS = sorted(observation.value for observation in OBSERVATIONS)
METADATA = ("dicom_id", "subject_id", "study_id", "ViewPosition", "StudyTime", "ViewCodeSequence_CodeMeaning")
RULE = "_" * 78


def image(study, number, view="PA", time="101500.5", meaning="", split="train", patient=None):
    """One row of the tables; the patient has the study's number unless said otherwise."""
    return {
        "dicom_id": f"{study:08x}-{number:08x}",
        "subject_id": 90000000 + (study if patient is None else patient),
        "study_id": 90000000 + study,
        "ViewPosition": view,
        "StudyTime": time,
        "ViewCodeSequence_CodeMeaning": meaning,
        "split": split,
    }


def report(findings="Small effusion on the left.", impression="Left effusion."):
    text = "                                 FINAL REPORT\n INDICATION:  ___ with cough\n\n"
    for head, body in (("FINDINGS", findings), ("IMPRESSION", impression)):
        text += "" if body is None else f" {head}:\n \n {body}\n\n"
    return text


class Mimic:
    """A folder with the tables, images and reports of these rows; changed by the tests before it is written."""

    def __init__(self, folder, rows):
        self.folder = Path(folder)
        self.rows = rows
        self.studies = {row["study_id"]: row["subject_id"] for row in rows}
        self.labels = {study: {"Edema": "1.0", "Pneumonia": "0.0", "Fracture": "-1.0"} for study in self.studies}
        self.radiologist = {}
        self.reports = {study: report() for study in self.studies}

    def write(
        self,
        *,
        jpg="",
        reports="",
        gz=True,
        zipped=True,
        suffix=".jpg",
        version="2.1.0",
        label_columns=LABELS,
        leave=(),
    ):
        """Writes all but what is named in ``leave``: metadata, split, chexpert, negbio, images, reports."""
        self.root = self.folder / jpg
        ending = ".csv.gz" if gz else ".csv"
        tables = {
            "metadata": (METADATA, self.rows),
            "split": (("dicom_id", "study_id", "subject_id", "split"), self.rows),
            "chexpert": (("subject_id", "study_id", *label_columns), self._label_rows(self.labels)),
            "negbio": (
                ("study_id", "subject_id", *reversed(label_columns)),
                self._label_rows({study: {"No Finding": "1.0"} for study in self.labels}),
            ),
        }
        for name, (columns, rows) in tables.items():
            if name not in leave:
                write_table(self.root / f"mimic-cxr-2.0.0-{name}{ending}", columns, rows)
        if version == "2.1.0":
            named = [name.replace("Lung Opacity", "Airspace Opacity") for name in reversed(LABELS)]
            rows = [{"study_id": study, **cells} for study, cells in self.radiologist.items()]
            write_table(self.root / "mimic-cxr-2.1.0-test-set-labeled.csv", ("study_id", *named), rows)
        if "images" not in leave:
            self._write_images(suffix)
        if "reports" not in leave:
            self._write_reports(self.folder / reports, zipped)
        return self

    def _label_rows(self, labels):
        return [{"subject_id": self.studies[study], "study_id": study, **cells} for study, cells in labels.items()]

    def _write_images(self, suffix):
        for grey, row in enumerate(self.rows):
            path = self.root / f"{stem(row['subject_id'], row['study_id'])}/{row['dicom_id']}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (80, 60), grey * 10).save(path)

    def _write_reports(self, folder, zipped):
        names = {f"{stem(self.studies[study], study)}.txt": text for study, text in self.reports.items()}
        if not zipped:
            for name, text in names.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text)
            return
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / "mimic-cxr-reports.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("files/", "")
            for name, text in names.items():
                archive.writestr(name, text)


def stem(patient, study):
    """A study's place below the data set's folder."""
    return f"files/p{patient // 1_000_000}/p{patient}/s{study}"


def write_table(path, columns, rows):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
