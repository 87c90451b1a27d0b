"""An annotation.json as R2Gen (MIMIC-CXR) or CXPMRG-Bench (CheXpert Plus) has it, with the miniature it lists."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from orapo.data.miniature import chexpert_plus, mimic_cxr
from orapo.data.miniature.studies import MadeUpStudy, make_studies
from orapo.records import Split
from orapo.settings import checked

ANNOTATION = "annotation.json"
Form = Literal["mimic_cxr", "chexpert_plus"]
Sample = dict[str, Any]


@checked
def write_miniature_annotation(
    folder: str | Path, num_patients: int = 60, seed: int = 0, *, form: Form = "mimic_cxr"
) -> Path:
    """Writes a whole miniature, and beside it an annotation of its studies with findings.

    The MIMIC form has one sample per image and the official split. The CheXpert Plus form has one sample per study and
    deals studies of training patients out to all splits, so that patients stand in several, as they do in the one
    published. Reports are cleaned as R2Gen cleans them: lower case, sentences joined by " . ".

    Gives the annotation's path; arguments and errors as of ``begin``.
    """
    write_data_set, list_samples = _WRITERS[form]
    write_data_set(folder, num_patients, seed)
    content: dict[str, list[Sample]] = {"train": [], "val": [], "test": []}
    for study in make_studies(num_patients, seed):
        for sample in list_samples(study) if study.findings else ():
            content[sample["split"]].append(sample)
    path = Path(folder) / ANNOTATION
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def clean_text(text: str) -> str:
    """Lower case, without punctuation but the full stops between sentences."""
    sentences = [sentence.strip(" .").replace(",", "").lower() for sentence in text.split(". ")]
    return " . ".join(sentences) + " ."


def _mimic_samples(study: MadeUpStudy) -> Iterator[Sample]:
    for path in mimic_cxr.image_paths(study):
        yield {
            "id": Path(path).stem,
            "study_id": mimic_cxr.study_id(study),
            "subject_id": mimic_cxr.subject_id(study),
            "report": clean_text(study.findings),
            "image_path": [path.removeprefix("files/")],
            "split": {Split.TRAIN: "train", Split.VALIDATE: "val", Split.TEST: "test"}[study.split],
        }


def _plus_samples(study: MadeUpStudy) -> Iterator[Sample]:
    if study.split is not Split.TEST:  # the private part
        yield {
            "id": f"{chexpert_plus.patient_of(study)}_study{study.number}",
            "report": clean_text(study.findings),
            "image_path": chexpert_plus.png_paths(study),
            "split": ("train", "train", "test", "train", "val")[study.serial % 5],
        }


_WRITERS: Mapping[str, tuple[Callable[..., Path], Callable[[MadeUpStudy], Iterator[Sample]]]] = {
    "mimic_cxr": (mimic_cxr.write_miniature_mimic_cxr, _mimic_samples),
    "chexpert_plus": (chexpert_plus.write_miniature_chexpert_plus, _plus_samples),
}
