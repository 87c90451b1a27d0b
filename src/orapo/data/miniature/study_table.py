"""A user's own table, with all optional columns but the labels."""

from pathlib import Path

from orapo.data.miniature.studies import MadeUpStudy
from orapo.data.miniature.writing import begin, write_images, write_table

COLUMNS = (
    *("study_id", "patient_id", "image_path", "view", "report", "split"),
    *("indication", "comparison", "technique", "age", "sex", "study_date"),
)


def write_miniature_study_table(folder: str | Path, num_patients: int = 60, seed: int = 0) -> Path:
    """Writes studies.csv with a row for each image, and the images; reports are the findings, else the impression.

    Gives the table's path; arguments and errors as of ``begin``.
    """
    root, studies = begin(folder, num_patients, seed)
    write_images(root, studies, _paths)
    rows = (
        [
            *(f"s{study.serial}", f"p{study.patient}", path, view),
            *(study.findings or study.impression, study.split.value, "Made up.", "", "Drawn."),
            *(study.age, study.sex[0], f"2180-{study.number:02}-01"),
        ]
        for study in studies
        for path, view in zip(_paths(study), study.views, strict=True)
    )
    write_table(root / "studies.csv", COLUMNS, rows)
    return root / "studies.csv"


def _paths(study: MadeUpStudy) -> list[str]:
    return [f"images/s{study.serial}_{number}.png" for number in range(1, len(study.views) + 1)]
