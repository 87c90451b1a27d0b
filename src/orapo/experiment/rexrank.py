"""ReXrank's input and output: ``generate.py rexrank=IN.json image_root=DIR out=OUT.json``; docs/rexrank.md.

The output is the input with ``model_prediction`` in each study, as the leaderboard's scoring reads it. Every report is
kept at once in OUT.json.part, from which the same command continues.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.data.context import make_context
from orapo.data.images import check_image_name
from orapo.data.json_studies import told_by_name
from orapo.errors import DataError
from orapo.foreign import read_json
from orapo.json_lines import read_json_lines
from orapo.records import Split, Study
from orapo.whole_file import write_whole

PREDICTION = "model_prediction"
_HEADED = re.compile(r"\s*(findings|impression)\s*:", re.IGNORECASE)


class RexrankFile:
    """One input file, and the output that grows beside it."""

    def __init__(self, path: Path, image_root: Path, images: str, out: Path) -> None:
        """Reads the input, and the output of an earlier command; opens no image.

        Args:
            path: the input.
            image_root: below which its image paths lie.
            images: "all" of a study, or "key": the frontal one.
            out: the output, which does not exist yet.

        Raises:
            DataError: the input can't be read, or a study has no image, or one that is neither PNG, JPEG nor DICOM.
        """
        self._path = path
        self._out = out
        self.part = out.with_name(f"{out.name}.part")
        self._content = _content(path)
        self.studies = tuple(self._study(key, row, image_root, images) for key, row in self._content.items())
        self._written: dict[str, str] = {}
        if self.part.is_file():
            self._written = {str(row["study_id"]): str(row["report"]) for _, row in read_json_lines(self.part)}

    @property
    def waiting(self) -> tuple[Study, ...]:
        """The studies without a report so far."""
        return tuple(study for study in self.studies if study.study_id not in self._written)

    def add(self, study_id: str, report: str) -> None:
        self._written[study_id] = report
        with self.part.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"study_id": study_id, "report": report}, ensure_ascii=False) + "\n")

    def finish(self) -> None:
        """Writes the output; a study whose images can't be read has an empty prediction."""
        content = {
            key: {**row, PREDICTION: prediction(self._written.get(key, ""))} for key, row in self._content.items()
        }
        write_whole(self._out, json.dumps(content, indent=4, ensure_ascii=False) + "\n")
        self.part.unlink(missing_ok=True)

    def _study(self, key: str, row: Any, root: Path, images: str) -> Study:
        where = f"{self._path}: study {key!r}"
        if not isinstance(row, Mapping):
            raise DataError(f"{where} is no object")
        named = row.get("key_image_path" if images == "key" else "image_path")
        paths = [named] if isinstance(named, str) else named
        if not isinstance(paths, list) or not paths or not all(isinstance(path, str) and path for path in paths):
            raise DataError(f"{where}: {'key_image_path' if images == 'key' else 'image_path'} must name its images")
        # Paths begin with a slash in some of the leaderboard's files.
        found = tuple(str(root / path.lstrip("/")) for path in paths)
        for path in found:
            check_image_name(path, study_id=key)
        return Study(
            study_id=key,
            patient_id=str(row.get("subject_id", key)),
            split=Split.TEST,
            image_paths=found,
            views=("",) * len(found),
            oracle_report="",
            labels=dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED),
            context=make_context(told_by_name(str(row.get("context") or "")), prior=None),
        )


def prediction(report: str) -> str:
    """As the leaderboard's files have it, "Findings: ..."; a report with headings of its own keeps them."""
    return report if not report or _HEADED.match(report) else f"Findings: {report}"


def _content(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise DataError(f"rexrank={path} must map each study's id to its images")
    return content
