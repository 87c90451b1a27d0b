"""Miniatures of ReXGradient-160K and of an input file of the leaderboard ReXrank."""

import json
from pathlib import Path

from orapo.data.miniature.studies import MadeUpStudy
from orapo.data.miniature.writing import begin, write_images, write_texts
from orapo.records import Split

_PART = {Split.TRAIN: "train", Split.VALIDATE: "valid", Split.TEST: "test"}
_VIEW = {"PA": "POSTERO_ANTERIOR", "AP": "AP", "LATERAL": "LATERAL"}


def write_miniature_rexgradient(folder: str | Path, num_patients: int = 60, seed: int = 0) -> Path:
    """Writes metadata/ and deid_png/, and gives the folder.

    Arguments and errors as of ``begin``.
    """
    root, studies = begin(folder, num_patients, seed)
    parts: dict[str, dict[str, object]] = {part: {} for part in _PART.values()}
    for study in studies:
        parts[_PART[study.split]][f"S{study.serial:05}"] = {
            "StudyInstanceUid": f"1.2.{study.serial}",
            "StudyDate": f"2180{study.number:02}01",
            "PatientAge": f"{study.age:03}Y",
            "PatientSex": study.sex[0],
            "Indication": "Made up for XXXX.",
            "Comparison": "None.",
            "Findings": study.findings,
            "Impression": study.impression,
            "ImagePath": [f"../{path}" for path in _paths(study)],
            "ImageViewPosition": [_VIEW[view] for view in study.views],
        }
    files = {f"{part}_metadata_view_position.json": json.dumps(content, indent=1) for part, content in parts.items()}
    write_texts(root / "metadata", files)
    write_images(root, studies, _paths)
    return root


def write_miniature_rexrank(folder: str | Path, num_patients: int = 60, seed: int = 0) -> Path:
    """Writes studies.json, the input file, and images/; gives the file."""
    root, studies = begin(folder, num_patients, seed)
    content = {}
    for study in studies:
        paths = _ranked_paths(study)
        findings, impression = (f"{text}\n" for text in (study.findings, study.impression))
        content[f"study{study.serial}"] = {
            "image_path": paths,
            "key_image_path": paths[0],
            "context": f"Age:{study.age}.Gender:{study.sex[0]}.Indication: Made up.",
            "frontal_lateral": list(study.sides),
            "section_findings": findings,
            "section_impression": impression,
            "report": f"FINDINGS: {findings}IMPRESSION: {impression}",
            "split": _PART[study.split],
            "subject_id": f"p{study.patient}",
        }
    write_images(root, studies, _ranked_paths)
    (root / "studies.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    return root / "studies.json"


def _paths(study: MadeUpStudy) -> list[str]:
    folder = f"deid_png/P{study.patient:05}/S{study.serial:05}/instances"
    return [f"{folder}/{number}.png" for number in range(1, len(study.views) + 1)]


def _ranked_paths(study: MadeUpStudy) -> list[str]:
    return [f"images/{study.serial}/{number}.png" for number in range(1, len(study.views) + 1)]
