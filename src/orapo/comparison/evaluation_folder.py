"""One folder of evaluate.py, read as a finished run that trained nothing, to be shown beside runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orapo.comparison.run_folder import EVALUATION, Run, flat_settings
from orapo.comparison.run_state import RunState
from orapo.comparison.scores import EVALUATED, SCORES, SYSTEM
from orapo.errors import DataError
from orapo.evaluation.answers import ACCURACY
from orapo.evaluation.clinical import reading_of
from orapo.evaluation.resampling import Estimate
from orapo.foreign import read_json

READABLE_FORMAT = 1
"""Of evaluation.json; another one may mean something else by the same keys."""


@dataclass(frozen=True)
class Evaluation(Run):
    """What an evaluation's folder says.

    Attributes:
        title: what was evaluated, by its own name.
        num_studies: test studies.
        is_capped: whether there would have been more.
        estimates: keys of ``EVALUATED`` to the score with its interval; what was not measured is missing.
    """

    title: str = ""
    num_studies: int = 0
    is_capped: bool = False
    estimates: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def reports(self) -> Path:
        return self.folder / "reports.jsonl"


def is_evaluation(folder: Path) -> bool:
    return (folder / EVALUATION).is_file()


def read_evaluation(folder: Path) -> Evaluation:
    """Reads the folder; a damaged file gives a ``DAMAGED`` evaluation with the reason, never an exception."""
    try:
        return _read(folder)
    except (DataError, OSError) as error:
        reason = " ".join(str(error).split())
        return Evaluation(folder, RunState.DAMAGED, reason=reason, title=f"(not read) {folder.resolve().name}")


def _read(folder: Path) -> Evaluation:
    path = folder / EVALUATION
    content = read_json(path)
    try:
        if content["format"] != READABLE_FORMAT:
            raise DataError(f"{path}: format is {content['format']!r}, allowed: {READABLE_FORMAT}")
        settings = flat_settings(content["settings"])
        estimates = _estimates(content["scores"], settings.get("data.uncertain_is_positive") is True)
        title, num_studies = str(content["name"]), int(content["data"]["num_studies"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{path} is no evaluation as evaluate.py writes it ({type(error).__name__}: {error})") from None
    return Evaluation(
        folder=folder,
        state=RunState.FINISHED,
        settings=settings,
        scores={key: estimate.value for key, estimate in estimates.items()},
        # A run's evaluation bears the name of the run's folder.
        title=f"evaluation of {title}" if settings.get("run") else title,
        num_studies=num_studies,
        is_capped=settings.get("data.max_test_studies") == num_studies,
        estimates=estimates,
    )


def _estimates(scores: Mapping[str, Any], is_lenient: bool) -> dict[str, Estimate]:
    reading = reading_of(is_lenient)
    places = {key: SCORES[key].measure for key in EVALUATED}
    places = {key: f"{reading}/{name}" if "/" in name else name for key, name in places.items()}
    own = scores[SYSTEM]["measures"]
    headline = ACCURACY if ACCURACY in own and places["macro_f1"] not in own else places["macro_f1"]
    if headline not in own:
        raise KeyError(headline)
    found = {}
    for key, name in places.items():
        row = SCORES[key].row
        # A control that could not be computed says so instead of having measures.
        measures = scores.get(row, {}).get("measures")
        if measures is not None and (name in measures if row == SYSTEM else name == headline):
            found[key] = Estimate(*(float(measures[name][part]) for part in ("value", "low", "high")))
    return found
