"""What a finished run says: summary.json, pictures, and the table at the end."""

import csv
import json
import math
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orapo.chexpert import Observation
from orapo.data.datamodule import ReportDataModule
from orapo.errors import DataError
from orapo.evaluation.clinical import ClinicalScores, ObservationScores, PrecisionRecallF1, clinical_scores
from orapo.evaluation.controls import always_positive_states
from orapo.evaluation.figures import learning_curve
from orapo.evaluation.report_pairs import score_reports
from orapo.evaluation.study_pictures import study_sheet
from orapo.evaluation.summary_table import RunSummary, run_summary_text
from orapo.evaluation.text import TextScores
from orapo.experiment.config import Experiment
from orapo.training.held_out_reports import Generated

PACKAGES = ("orapo", "torch", "transformers", "peft", "lightning", "hydra-core", "numpy")
NUM_PICTURED_STUDIES = 6


@dataclass(frozen=True)
class Scores:
    """Scores of one system on the test split.

    Attributes:
        clinical: over the 14 observations.
        text: of the reports as text.
        floor: of the always-positive report on the same studies.
        seconds_per_study: of generation; the batch size is the run's.
    """

    clinical: ClinicalScores
    text: TextScores
    floor: ClinicalScores
    seconds_per_study: float

    @classmethod
    def of(cls, generated: Generated, uncertain_is_positive: bool) -> "Scores":
        """Scores generated reports."""
        scores = score_reports(generated.pairs, uncertain_is_positive=uncertain_is_positive)
        floor = clinical_scores(
            always_positive_states(len(generated.pairs)),
            [pair.oracle_states for pair in generated.pairs],
            uncertain_is_positive=uncertain_is_positive,
        )
        return cls(scores.clinical, scores.text, floor, generated.seconds_per_study)

    def to_dict(self) -> dict[str, Any]:
        """For summary.json."""
        return {
            "clinical": self.clinical.to_dict(),
            "text": self.text.to_dict(),
            "seconds_per_study": self.seconds_per_study,
        }


@dataclass(frozen=True)
class Results:
    """Everything that the summary is made of."""

    base: Scores
    trained: Scores
    shuffled: Scores | None
    num_train_studies: int
    num_validate_studies: int
    num_steps: int
    seconds: Mapping[str, float]
    judge: Mapping[str, float]


def write_scores(scores: Scores, path: Path) -> None:
    """Keeps the scores of the base policy for a run that is interrupted and resumed."""
    content = {**scores.to_dict(), "always_positive": scores.floor.to_dict()}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_scores(path: Path) -> Scores:
    """Reads what ``write_scores`` wrote.

    Raises:
        DataError: the file is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Scores(
            clinical=_clinical(content["clinical"]),
            text=TextScores(**content["text"]),
            floor=_clinical(content["always_positive"]),
            seconds_per_study=content["seconds_per_study"],
        )
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it to score the base policy again") from error


def _clinical(content: Mapping[str, Any]) -> ClinicalScores:
    return ClinicalScores(
        macro=PrecisionRecallF1(**content["macro"]),
        micro=PrecisionRecallF1(**content["micro"]),
        per_observation={
            Observation(name): ObservationScores(**scores) for name, scores in content["per_observation"].items()
        },
        num_studies=content["num_studies"],
        uncertain_is_positive=content["uncertain_is_positive"],
    )


def write_results(results: Results, experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Writes summary.json and returns its content."""
    shuffled = results.shuffled
    summary = {
        "run_name": experiment.run_name,
        "seed": experiment.seed,
        "base": results.base.to_dict(),
        "trained": results.trained.to_dict(),
        "shuffled_images": None if shuffled is None else shuffled.to_dict(),
        "always_positive": results.trained.floor.to_dict(),
        "counts": {
            "train_studies": results.num_train_studies,
            "validate_studies": results.num_validate_studies,
            "test_studies": results.trained.clinical.num_studies,
            "training_steps": results.num_steps,
        },
        "seconds": {phase: round(seconds, 3) for phase, seconds in results.seconds.items()},
        "seconds_per_training_phase": _phase_seconds(folder / "metrics.csv"),
        "judge": dict(results.judge),
        "packages": {name: version(name) for name in PACKAGES},
        "git_commit": git_commit(),
        "sortable": {
            "test/macro_f1": results.trained.clinical.macro.f1,
            "test/micro_f1": results.trained.clinical.micro.f1,
            "test/base_macro_f1": results.base.clinical.macro.f1,
            "test/shuffled_macro_f1": math.nan if shuffled is None else shuffled.clinical.macro.f1,
            "test/always_positive_macro_f1": results.trained.floor.macro.f1,
        },
    }
    text = json.dumps(summary, indent=2, allow_nan=True) + "\n"
    (folder / "summary.json").write_text(text, encoding="utf-8")
    return summary


def write_pictures(
    results: Results, own: Generated, data: ReportDataModule, folder: Path, uncertain_is_positive: bool
) -> str:
    """Writes the learning curve, a sheet of test studies and the table; returns the table."""
    learning_curve(
        read_csv_rows(folder / "metrics.csv"),
        read_csv_rows(folder / "validation.csv"),
        folder / "learning_curve.png",
        floor_macro_f1=results.trained.floor.macro.f1,
    )
    pictured = data.test_studies[:NUM_PICTURED_STUDIES]
    images = [data.load_images(study)[1][0] for study in pictured]
    sheet = folder / "test_studies.png"
    study_sheet(images, own.pairs[: len(pictured)], sheet, uncertain_is_positive=uncertain_is_positive)
    trained = results.trained
    table = run_summary_text(
        RunSummary(
            base=results.base.clinical,
            trained=trained.clinical,
            shuffled=None if results.shuffled is None else results.shuffled.clinical,
            always_positive=trained.floor,
            base_seconds_per_image=results.base.seconds_per_study,
            trained_seconds_per_image=trained.seconds_per_study,
            run_folder=str(folder),
            files=FILES,
        )
    )
    (folder / "summary.txt").write_text(table, encoding="utf-8")
    return table


FILES = {
    "summary.json": "all scores, counts, seconds, versions",
    "learning_curve.png": "reward, zero-reward rate, weight, macro F1",
    "test_studies.png": "test studies with both reports",
    "test_reports.jsonl": "every test study with both reports",
    "rollouts.jsonl": "a sample of rollouts, each reward explained",
    "metrics.csv": "one row a training step",
    "validation.csv": "one row a validation",
    "subset.json": "which studies trained, and why",
    "model/": "the trained policy, for from_pretrained",
    "checkpoints/": "to go on: orapo train resume=FOLDER",
}


def read_csv_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV that the run wrote; none when it wrote none."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _phase_seconds(path: Path) -> dict[str, float]:
    """Seconds of all training steps together, by phase."""
    rows = read_csv_rows(path)
    phases = [name for name in (rows[0] if rows else {}) if name.startswith("seconds_")]
    return {
        name.removeprefix("seconds_"): round(sum(float(row[name]) for row in rows if row[name]), 3) for name in phases
    }


def git_commit() -> str | None:
    """The commit of the source tree that runs, with "+changes" when it is not clean; None for an installed package."""
    try:
        # An environment may lie in a repository of its user's, whose commit says nothing.
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        commit, status = _git("rev-parse", "HEAD").strip(), _git("status", "--porcelain")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if status else "")


def _git(*arguments: str) -> str:
    here = Path(__file__).parent
    return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout
