"""What a finished run writes: summary.json, pictures, and the final table."""

import json
import math
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orapo.comparison.run_folder import TRAINING_KEYS, read_columns
from orapo.data.datamodule import ReportDataModule
from orapo.evaluation.answers import ACCURACY
from orapo.evaluation.clinical import reading_of
from orapo.evaluation.evaluation_table import EvaluationTables, readers_of, tables_text
from orapo.evaluation.examiner import SCORE, SystemScores
from orapo.evaluation.figures import ANSWERS, REPORTS, learning_curve
from orapo.evaluation.resampling import Difference
from orapo.evaluation.study_pictures import study_sheet
from orapo.experiment.config import Experiment
from orapo.experiment.evaluation_files import tested
from orapo.experiment.train_settings import SUMMARY
from orapo.training.metrics import METRIC_NAMES
from orapo.whole_file import write_whole

PACKAGES = ("orapo", "torch", "transformers", "peft", "lightning", "hydra-core", "numpy")
NUM_PICTURED_STUDIES = 6
_MACRO = "all_14/macro/f1"
_SECONDS = "seconds_"


@dataclass(frozen=True)
class Results:
    """Everything that the summary is built from.

    Attributes:
        systems: the rows of the table by key: "system" (the trained policy), "base", and the controls.
        differences: trained minus base, paired over the test studies, by measure.
        confidence: of the intervals.
        data: the studies.
        seconds: by phase.
        judge: what a language-model judge did.
    """

    systems: Mapping[str, SystemScores]
    differences: Mapping[str, Difference]
    confidence: float
    data: ReportDataModule
    seconds: Mapping[str, float]
    judge: Mapping[str, float]


def summary_of(results: Results, experiment: Experiment, folder: Path) -> dict[str, Any]:
    """The content of summary.json."""
    reading, data = reading_of(experiment.data.uncertain_is_positive), results.data
    trained, base, shuffled = (results.systems[key] for key in ("system", "base", "shuffled_images"))
    floor = results.systems.get("always_positive")
    return {
        "run_name": experiment.run_name,
        "seed": experiment.seed,
        "base": base.summary(reading),
        "trained": trained.summary(reading),
        "shuffled_images": None if shuffled.not_computed else shuffled.summary(reading),
        **({} if floor is None else {"always_positive": floor.clinical(reading, len(trained.pairs))}),
        "scores": {key: row.to_dict() for key, row in results.systems.items()},
        "differences_from_base": {name: asdict(found) for name, found in results.differences.items()},
        "counts": {
            "train_studies": len(data.train_studies),
            "validate_studies": len(data.validate_studies),
            "test_studies": len(trained.pairs),
            "training_steps": data.num_steps,
        },
        "max_test_studies": experiment.data.max_test_studies,
        "seconds": {phase: round(seconds, 3) for phase, seconds in results.seconds.items()},
        "seconds_per_training_phase": _phase_seconds(folder / "metrics.csv"),
        "judge": dict(results.judge),
        "packages": {name: version(name) for name in PACKAGES},
        "git_commit": git_commit(),
        "sortable": _sortable(results.systems, reading),
    }


def write_summary(summary: Mapping[str, Any], folder: Path) -> None:
    """Writes summary.json, whole and after all else: a run with a summary counts as finished."""
    write_whole(folder / SUMMARY, json.dumps(summary, indent=2, allow_nan=True) + "\n")


def _sortable(systems: Mapping[str, SystemScores], reading: str) -> dict[str, float]:
    """Scores that W&B sorts runs by: clinical F1 of each row and the trained policy's other measures, or accuracy."""
    if ACCURACY in systems["system"].estimates:
        rows = {"": "system", "base_": "base", "shuffled_": "shuffled_images", "majority_": "majority_answer"}
        return {
            f"test/{name}{ACCURACY}": systems[key].estimates[ACCURACY].value
            for name, key in rows.items()
            if ACCURACY in systems[key].estimates
        }
    macro = f"{reading}/{_MACRO}"
    found = {
        f"test/{name}macro_f1": systems[key].estimates[macro].value if macro in systems[key].estimates else math.nan
        for name, key in (("", "system"), ("base_", "base"), ("shuffled_", "shuffled_images"))
    }
    found["test/always_positive_macro_f1"] = systems["always_positive"].estimates[macro].value
    trained = systems["system"]
    names = {"micro_f1": f"{reading}/all_14/micro/f1"}
    names |= {f"{reader}_macro_f1": f"{reader}/{macro}" for reader in readers_of(trained)}
    names |= {name: name for name in ("rouge_l", "bleu_4", "attribute_f1", "mean_words")}
    names |= {name: name for name in trained.estimates if name.startswith(SCORE)}
    known = {shown: trained.estimates[name].value for shown, name in names.items() if name in trained.estimates}
    return found | {f"test/{shown}": value for shown, value in known.items()}


def write_pictures(results: Results, experiment: Experiment, folder: Path) -> str:
    """Writes the learning curve, a sheet of test studies and the tables; returns the tables that are printed."""
    is_lenient, data = experiment.data.uncertain_is_positive, results.data
    reading, trained = reading_of(is_lenient), results.systems["system"]
    key, measure = ("majority_answer", ACCURACY) if data.asks_questions else ("always_positive", f"{reading}/{_MACRO}")
    score = ANSWERS if data.asks_questions else REPORTS
    _, training = read_columns(folder / "metrics.csv", (), TRAINING_KEYS)
    _, validation = read_columns(folder / "validation.csv", (), (score.column, f"shuffled_{score.column}"))
    floor = results.systems[key].estimates[measure].value
    learning_curve(training, validation, folder / "learning_curve.png", floor=floor, score=score)
    if not data.asks_questions:
        pictured = data.test_studies[:NUM_PICTURED_STUDIES]
        images = [data.load_images(study).images[0] for study in pictured]
        sheet = folder / "test_studies.png"
        study_sheet(images, trained.pairs[: len(pictured)], sheet, uncertain_is_positive=is_lenient)
    tables = EvaluationTables(
        headline=f"{experiment.run_name}: {tested(len(trained.pairs), experiment.data.max_test_studies)}",
        systems=results.systems,
        against_title="the base policy",
        differences=results.differences,
        reading=reading,
        confidence=results.confidence,
    )
    (folder / "summary.txt").write_text(tables_text(tables, everything=True), encoding="utf-8")
    return tables_text(tables, everything=False)


def files_text(folder: Path) -> str:
    """What of a run's files there is, a line each."""
    width = max(map(len, FILES))
    files = [f"  {name:<{width}}  {meaning}" for name, meaning in FILES.items() if (folder / name).exists()]
    return "\n".join([f"Everything lies in {folder}", *files])


FILES = {
    "summary.json": "all scores with intervals, counts, seconds, versions",
    "summary.txt": "the tables; of reports, both readings of uncertain labels",
    "learning_curve.png": "reward, zero-reward rate, weight, score of validation",
    "test_studies.png": "test studies with both reports",
    "test_reports.jsonl": "every test study with both reports",
    "rollouts.jsonl": "a sample of rollouts, each reward explained",
    "metrics.csv": "one row a training step",
    "validation.csv": "one row a validation",
    "subset.json": "which studies trained, and why",
    "model/": "the trained policy, for from_pretrained",
    "checkpoints/": "to go on: orapo train resume=FOLDER",
}


def _phase_seconds(path: Path) -> dict[str, float]:
    """For each phase, its seconds in all training steps together."""
    _, curves = read_columns(path, (), [name for name in METRIC_NAMES if name.startswith(_SECONDS)])
    return {name.removeprefix(_SECONDS): round(sum(values.tolist()), 3) for name, (_, values) in curves.items()}


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
