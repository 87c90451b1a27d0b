"""Which studies were chosen for training, from what, and by which rule: enough to review the choice and repeat it."""

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from orapo.chexpert import OBSERVATIONS
from orapo.data.tables import named
from orapo.errors import DataError
from orapo.foreign import read_json
from orapo.whole_file import write_whole

logger = logging.getLogger(__name__)

_NUM_SHOWN = 3


@dataclass(frozen=True, slots=True)
class SubsetManifest:
    """The result of a choice of studies.

    Attributes:
        study_ids: in the order of choice.
        num_requested: studies asked for; more than ``len(study_ids)`` when the pool was smaller.
        num_pool: studies that the choice was made from.
        num_unusable: studies that were about to be taken and turned out to lack what the settings ask for.
        positives_before: studies of the pool that are positive, per observation; questions, per group.
        positives_after: likewise of the chosen studies.
        seed: of the choice.
        uncertain_is_positive: whether an uncertain label counted as positive.
        rule: the rule of choice, in words.
        note: what a reader should know of this choice; "" when it went as asked.
        source_digest: identifies the data that the choice was made from.
        reasons: why each study was taken, by id; empty in manifests of older runs.
    """

    study_ids: tuple[str, ...]
    num_requested: int
    num_pool: int
    num_unusable: int
    positives_before: Mapping[str, int]
    positives_after: Mapping[str, int]
    seed: int
    uncertain_is_positive: bool
    rule: str
    note: str
    source_digest: str
    reasons: Mapping[str, str] = field(default_factory=dict)

    def check_source(self, study_ids: Collection[str], source_digest: str) -> None:
        """Checks that the source has the chosen studies; a source that has changed since is logged as a warning.

        Args:
            study_ids: all that the source lists for training.
            source_digest: of the source now.

        Raises:
            DataError: a chosen study is not among ``study_ids``.
        """
        missing = [study_id for study_id in self.study_ids if study_id not in study_ids]
        if missing:
            shown = ", ".join(map(named, missing[:_NUM_SHOWN])) + (", ..." if len(missing) > _NUM_SHOWN else "")
            raise DataError(
                f"{len(missing)} of the {len(self.study_ids)} studies of the subset are not in the source: {shown}; "
                "a subset can only be used with the data it was chosen from"
            )
        version, of_manifest = (digest.rpartition(":")[0] for digest in (source_digest, self.source_digest))
        if version != of_manifest:
            logger.info(
                "the subset was chosen by another version of orapo, whose digest can't be compared with today's"
            )
        elif source_digest != self.source_digest:
            logger.warning(
                "the subset was chosen from a source with digest %s, this one has %s: its table, labels or settings "
                "have changed, though all chosen studies are there",
                self.source_digest[:12],
                source_digest[:12],
            )

    def write(self, path: str | Path) -> None:
        """Writes the manifest as JSON; the file appears whole or not at all."""
        content: dict[str, Any] = {"num_studies": len(self.study_ids)}
        content |= {name: getattr(self, name) for name in self.__slots__}
        for name in ("study_ids", "reasons"):  # last, since they are long
            content[name] = content.pop(name)
        write_whole(Path(path), json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: str | Path) -> "SubsetManifest":
        """Reads what ``write`` wrote.

        Raises:
            DataError: no such file, not JSON, a field missing or of the wrong kind, or a study listed twice.
        """
        content = read_json(path)
        if not isinstance(content, dict):
            raise DataError(f"subset manifest {path} holds a {type(content).__name__}; it must be a JSON object")
        if problem := _problem(content):
            raise DataError(f"subset manifest {path}: {problem}")
        fields_there = {name: content[name] for name in cls.__slots__ if name in content}
        return cls(**fields_there | {"study_ids": tuple(content["study_ids"])})


_PLAIN_FIELDS: dict[str, type] = {
    field.name: field.type
    for field in fields(SubsetManifest)
    if isinstance(field.type, type) and issubclass(field.type, int | str)
}


def _problem(content: Mapping[str, Any]) -> str:
    """What is wrong with the fields of a manifest; "" where nothing is."""
    for name, kind in {**_PLAIN_FIELDS, "study_ids": list}.items():
        if type(content.get(name)) is not kind:
            return f"{name} is {named(repr(content.get(name)))}; it must be a {kind.__name__}"
    study_ids = content["study_ids"]
    if not all(isinstance(study_id, str) for study_id in study_ids):
        return "every one of study_ids must be a string"
    if len(set(study_ids)) < len(study_ids):
        twice = next(study_id for study_id in study_ids if study_ids.count(study_id) > 1)
        return f"study {named(twice)} is listed twice"
    for name in ("positives_before", "positives_after"):
        counts = content.get(name, {})
        are_counts = isinstance(counts, dict) and counts and all(type(count) is int for count in counts.values())
        if not are_counts or counts.keys() < set(OBSERVATIONS):
            return f"{name} must have a count for each of the 14 observations, or group of questions"
    reasons = content.get("reasons", {})
    if not isinstance(reasons, dict) or not all(isinstance(reason, str) for reason in reasons.values()):
        return "reasons must be an object from study to text"
    return ""
