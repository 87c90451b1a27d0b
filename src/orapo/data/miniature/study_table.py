"""A user's own table, with all optional columns but the labels."""

from pathlib import Path

from orapo.data.miniature.studies import make_studies
from orapo.data.miniature.writing import new_folder, write_image, write_table

COLUMNS = (
    *("study_id", "patient_id", "image_path", "view", "report", "split"),
    *("indication", "comparison", "technique", "age", "sex", "study_date"),
)


def write_miniature_study_table(folder: str | Path, num_patients: int = 60, seed: int = 0) -> Path:
    """Writes studies.csv with a row for each image, and the images; reports are the findings, else the impression.

    Gives the table's path; arguments and errors as of ``make_studies`` and ``new_folder``.
    """
    studies = make_studies(num_patients, seed)
    root = new_folder(folder)
    rows = []
    for study in studies:
        for number, (view, image) in enumerate(zip(study.views, study.images, strict=True), start=1):
            path = f"images/s{study.serial}_{number}.png"
            write_image(root / path, image)
            rows.append(
                [
                    *(f"s{study.serial}", f"p{study.patient}", path, view),
                    *(study.findings or study.impression, study.split.value, "Made up.", "", "Drawn."),
                    *(20 + study.patient % 60, "FM"[study.patient % 2], f"2180-{study.number:02}-01"),
                ]
            )
    write_table(root / "studies.csv", COLUMNS, rows)
    return root / "studies.csv"
