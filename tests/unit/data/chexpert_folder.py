"""CheXpert Plus in small: real files in the real layout, made-up sentences, grey images."""

import csv
import json

from PIL import Image

from orapo.chexpert import OBSERVATIONS

COLUMNS = (
    *("path_to_image", "path_to_dcm", "frontal_lateral", "ap_pa", "deid_patient_id", "patient_report_date_order"),
    *("report", "section_narrative", "section_clinical_history", "section_findings", "section_impression", "age"),
    *("split",),
)
# CheXbert's order: Enlarged Cardiomediastinum first, No Finding last.
CHEXBERT_ORDER = (*[o.value for o in OBSERVATIONS[1:]], "No Finding")
V1_ORDER = [o.value for o in OBSERVATIONS]
V1_ORDER[3], V1_ORDER[4] = V1_ORDER[4], V1_ORDER[3]


def row(path="train/patient00001/study1/view1_frontal.jpg", **changes):
    part, patient, _, file = path.rsplit("/", 3)
    lateral = "lateral" in file
    cells = {
        "path_to_image": path,
        "path_to_dcm": path.replace(".jpg", ".dcm"),
        "frontal_lateral": "Lateral" if lateral else "Frontal",
        "ap_pa": "" if lateral else "AP",
        "deid_patient_id": patient,
        "patient_report_date_order": "3",
        "report": "NARRATIVE:\nWritten on a day that never was.",
        "section_narrative": "  ",
        "section_findings": f"\nMILD EDEMA, {patient.upper()}.\n  NO\tEFFUSION. ",
        "section_impression": f"\n1. EDEMA OF {patient.upper()}.",
        "split": part.rsplit("/", 1)[-1],
    }
    return cells | changes


def label(path, **codes):
    return {"path_to_image": path} | dict.fromkeys(CHEXBERT_ORDER) | codes


class ChexpertFolder:
    """Writes what a test asks for below one root."""

    def __init__(self, root):
        self.root = root

    def write_table(self, rows, columns=COLUMNS, name="df_chexpert_plus_240401.csv", index=True):
        with (self.root / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([""] * index + list(columns))
            for number, cells in enumerate(rows):
                writer.writerow([number] * index + [cells.get(column, "") for column in columns])
        return self

    def write_labels(self, records, name="chexbert_labels/findings_fixed.json"):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return self

    def write_images(self, paths, base="PNG", ending=".png"):
        for number, path in enumerate(paths):
            file = self.root / base / path.replace(".jpg", ending)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (60 + number, 50), 10 + number).save(file)
        return self

    def write_gold(self, rows, name="valid.csv", first=("Path",)):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*first, *V1_ORDER])
            for cells in rows:
                writer.writerow([cells[column] for column in first] + [cells.get(name, "0.0") for name in V1_ORDER])
        return self
