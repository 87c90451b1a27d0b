"""A miniature as a Hugging Face data set, saved to a folder."""

import io
from pathlib import Path
from typing import Any

from PIL import Image

from orapo.data.miniature.studies import MadeUpStudy
from orapo.data.miniature.writing import begin
from orapo.records import Split

_NAMES = {Split.TRAIN: "train", Split.VALIDATE: "validation", Split.TEST: "test"}


def write_miniature_hf_dataset(folder: str | Path, num_patients: int = 60, seed: int = 0) -> Path:
    """Writes a DatasetDict whose rows have a list of images, a report, ids, age and sex, and gives the folder.

    Arguments and errors as of ``begin``.
    """
    import datasets

    root, studies = begin(folder, num_patients, seed)
    images = datasets.List(datasets.Image())
    parts = {}
    for split, name in _NAMES.items():
        rows = [_row(study) for study in studies if study.split is split]
        parts[name] = datasets.Dataset.from_list(rows).cast_column("image", images)
    datasets.DatasetDict(parts).save_to_disk(str(root))
    return root


def _row(study: MadeUpStudy) -> dict[str, Any]:
    return {
        "image": [{"bytes": _png(image), "path": None} for image in study.images],
        "report": study.findings or study.impression,
        "study_id": f"s{study.serial}",
        "patient_id": f"p{study.patient}",
        "indication": "Made up for XXXX.",
        "age": study.age,
        "sex": study.sex[0],
    }


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
