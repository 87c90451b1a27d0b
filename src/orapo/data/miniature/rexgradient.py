"""Miniatures of ReXGradient-160K and of an input file of the leaderboard ReXrank."""

import json
from pathlib import Path

from orapo.data.miniature.studies import MadeUpStudy, make_studies
from orapo.data.miniature.writing import new_folder, write_image
from orapo.records import Split

_PART = {Split.TRAIN: "train", Split.VALIDATE: "valid", Split.TEST: "test"}
_VIEW = {"PA": "POSTERO_ANTERIOR", "AP": "AP", "LATERAL": "LATERAL"}


def write_miniature_rexgradient(folder: str | Path, num_patients: int = 60, seed: int = 0) -> Path:
    """Writes metadata/ and deid_png/, and gives the folder.

    Arguments and errors as of ``make_studies`` and ``new_folder``.
    """
    studies = make_studies(num_patients, seed)
    root = new_folder(folder)
    parts: dict[str, dict[str, object]] = {part: {} for part in _PART.values()}
    for study in studies:
        paths = _write_images(root, study, f"deid_png/P{study.patient:05}/S{study.serial:05}/instances")
        parts[_PART[study.split]][f"S{study.serial:05}"] = {
            "StudyInstanceUid": f"1.2.{study.serial}",
            "StudyDate": f"2180{study.number:02}01",
            "PatientAge": f"{20 + study.patient % 60:03}Y",
            "PatientSex": "FM"[study.patient % 2],
            "Indication": "Made up for XXXX.",
            "Comparison": "None.",
            "Findings": study.findings,
            "Impression": study.impression,
            "ImagePath": [f"../{path}" for path in paths],
            "ImageViewPosition": [_VIEW[view] for view in study.views],
        }
    (root / "metadata").mkdir()
    for part, content in parts.items():
        path = root / "metadata" / f"{part}_metadata_view_position.json"
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return root


def write_miniature_rexrank(folder: str | Path, num_patients: int = 60, seed: int = 0) -> Path:
    """Writes studies.json, the input file, and images/; gives the file."""
    studies = make_studies(num_patients, seed)
    root = new_folder(folder)
    content = {}
    for study in studies:
        paths = _write_images(root, study, f"images/{study.serial}")
        findings, impression = (f"{text}\n" for text in (study.findings, study.impression))
        content[f"study{study.serial}"] = {
            "image_path": paths,
            "key_image_path": paths[0],
            "context": f"Age:{20 + study.patient % 60}.Gender:{'FM'[study.patient % 2]}.Indication: Made up.",
            "frontal_lateral": ["Lateral" if view == "LATERAL" else "Frontal" for view in study.views],
            "section_findings": findings,
            "section_impression": impression,
            "report": f"FINDINGS: {findings}IMPRESSION: {impression}",
            "split": _PART[study.split],
            "subject_id": f"p{study.patient}",
        }
    (root / "studies.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    return root / "studies.json"


def _write_images(root: Path, study: MadeUpStudy, folder: str) -> list[str]:
    """The pictures below the root, and their paths."""
    paths = [f"{folder}/{number}.png" for number in range(1, len(study.views) + 1)]
    for path, image in zip(paths, study.images, strict=True):
        write_image(root / path, image)
    return paths
