"""Which studies were chosen for training, from what, and by which rule: enough to review the choice and repeat it."""

import json
import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orapo.chexpert import OBSERVATIONS, Observation
from orapo.errors import DataError

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
        positives_before: studies of the pool that are positive, per observation.
        positives_after: chosen studies that are positive, per observation.
        seed: of the choice.
        uncertain_is_positive: whether an uncertain label counted as positive.
        rule: the rule of choice, in words.
        note: what a reader should know of this choice; "" when it went as asked.
        source_digest: identifies the data that the choice was made from.
    """

    study_ids: tuple[str, ...]
    num_requested: int
    num_pool: int
    num_unusable: int
    positives_before: Mapping[Observation, int]
    positives_after: Mapping[Observation, int]
    seed: int
    uncertain_is_positive: bool
    rule: str
    note: str
    source_digest: str

    def check_source(self, study_ids: Collection[str], source_digest: str) -> None:
        """Checks that the chosen studies can be had; a source that has changed since is logged as a warning.

        Args:
            study_ids: all that the source lists for training.
            source_digest: of the source now.

        Raises:
            DataError: a chosen study is not among ``study_ids``.
        """
        missing = [study_id for study_id in self.study_ids if study_id not in study_ids]
        if missing:
            shown = ", ".join(missing[:_NUM_SHOWN]) + (", ..." if len(missing) > _NUM_SHOWN else "")
            raise DataError(
                f"{len(missing)} of the {len(self.study_ids)} studies of the subset are not in the source: {shown}; "
                "a subset can only be used with the data it was chosen from"
            )
        if source_digest != self.source_digest:
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
        content["study_ids"] = content.pop("study_ids")  # last, since it is long
        temporary = Path(path).with_name(f"{Path(path).name}.part")
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(temporary, path)

    @classmethod
    def read(cls, path: str | Path) -> "SubsetManifest":
        """Reads what ``write`` wrote.

        Raises:
            DataError: no such file, not JSON, a field missing or of the wrong kind, or a study listed twice.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(f"there is no subset manifest {path}") from error
        except (OSError, ValueError) as error:
            raise DataError(f"subset manifest {path} can't be read: {' '.join(str(error).split())}") from error
        _check_fields(content, path)
        return cls(
            study_ids=tuple(content["study_ids"]),
            positives_before=_counts(content, "positives_before", path),
            positives_after=_counts(content, "positives_after", path),
            **{name: content[name] for name in _KIND_OF_FIELD},
        )


_KIND_OF_FIELD: dict[str, type] = {
    "num_requested": int,
    "num_pool": int,
    "num_unusable": int,
    "seed": int,
    "uncertain_is_positive": bool,
    "rule": str,
    "note": str,
    "source_digest": str,
}


def _check_fields(content: object, path: str | Path) -> None:
    if not isinstance(content, dict):
        raise DataError(f"subset manifest {path} holds a {type(content).__name__}; it must be a JSON object")
    for name, kind in {**_KIND_OF_FIELD, "study_ids": list}.items():
        if type(content.get(name)) is not kind:
            raise DataError(f"subset manifest {path}: {name} is {content.get(name)!r}; it must be a {kind.__name__}")
    study_ids = content["study_ids"]
    if not all(isinstance(study_id, str) for study_id in study_ids):
        raise DataError(f"subset manifest {path}: every one of study_ids must be a string")
    if len(set(study_ids)) < len(study_ids):
        twice = next(study_id for study_id in study_ids if study_ids.count(study_id) > 1)
        raise DataError(f"subset manifest {path}: study {twice} is listed twice")


def _counts(content: Mapping[str, Any], name: str, path: str | Path) -> dict[Observation, int]:
    counts = content.get(name)
    if not isinstance(counts, dict) or set(counts) != set(OBSERVATIONS):
        raise DataError(f"subset manifest {path}: {name} must have a count for each of the 14 observations")
    return {observation: counts[observation] for observation in OBSERVATIONS}
