"""Callbacks that write what a run leaves behind while it trains: metrics, rollouts, validation scores.

Each remembers in the checkpoint how much it had written, so that a resumed run cuts off what came after the checkpoint
and continues as if it had never stopped.
"""

import csv
import io
import json
import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from orapo.chexpert import OBSERVATIONS
from orapo.evaluation.report_pairs import ReportPair, score_reports
from orapo.records import Fact, RewardBreakdown, Study
from orapo.training.experience import Experience
from orapo.training.metrics import METRIC_NAMES, TERM_PREFIX
from orapo.training.module import OrapoModule


class AppendedFile:
    """A text file that grows line by line and can be cut back to an earlier number of bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def num_bytes(self) -> int:
        """Its size; 0 while it does not exist."""
        return self._path.stat().st_size if self._path.exists() else 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The first line's cells."""
        with self._path.open(encoding="utf-8", newline="") as file:
            return tuple(next(csv.reader(file)))

    def append(self, text: str) -> None:
        """Writes text at the end, at once."""
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(text)

    def cut(self, num_bytes: int) -> None:
        """Forgets everything after ``num_bytes``."""
        if self.num_bytes > num_bytes:
            with self._path.open("r+b") as file:
                file.truncate(num_bytes)


class RunFile(Callback):
    """A callback that owns one growing file."""

    def __init__(self, path: Path) -> None:
        """Nothing is written yet.

        Args:
            path: in an existing folder.
        """
        self.file = AppendedFile(path)

    def state_dict(self) -> dict[str, int]:
        """How much had been written when the checkpoint was taken."""
        return {"num_bytes": self.file.num_bytes}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Cuts off what was written after the checkpoint."""
        self.file.cut(state_dict["num_bytes"])


class MetricsFile(RunFile):
    """metrics.csv: one row a training step; a cell is blank where a quantity does not exist."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Writes the row of the step that just ended."""
        assert isinstance(pl_module, OrapoModule)
        row = {"step": batch_idx + 1, **pl_module.last_metrics}
        terms = [name for name in row if name.startswith(TERM_PREFIX)]
        self.file.append(csv_row(row, ("step", *METRIC_NAMES, *terms), self.file))


def csv_row(row: Mapping[str, float], columns: tuple[str, ...], file: AppendedFile) -> str:
    """One line of CSV, preceded by the header when the file is empty; else of the columns that its header names."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if file.num_bytes == 0:
        writer.writerow(columns)
    else:
        columns = file.columns  # those of the version that began the run
    cells = [row.get(name, math.nan) for name in columns]
    writer.writerow("" if math.isnan(cell) else f"{cell:.8g}" for cell in cells)
    return text.getvalue()


class RolloutFile(RunFile):
    """rollouts.jsonl: now and then, all rollouts of a few studies with everything that explains their rewards."""

    def __init__(self, path: Path, every_steps: int, studies: int) -> None:
        """Settings.

        Args:
            path: in an existing folder.
            every_steps: rollouts of step 1, 1 + n, 1 + 2n ... are written; at least 1.
            studies: studies written each time, at least 1.
        """
        super().__init__(path)
        self._every_steps = every_steps
        self._studies = studies

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Writes the sample when it is due."""
        assert isinstance(pl_module, OrapoModule)
        if batch_idx % self._every_steps == 0 and pl_module.last_experience is not None:
            lines = rollout_rows(pl_module.last_experience, batch_idx + 1, self._studies)
            self.file.append("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def rollout_rows(experience: Experience, step: int, num_studies: int) -> list[dict[str, Any]]:
    """Every rollout of the first studies of a step, with facts, verdicts and reward; empty without rollouts."""
    rows = []
    groups = zip(experience.studies, experience.rollouts, experience.breakdowns, strict=False)
    for study, group, breakdowns in islice(groups, num_studies):
        for k, (text, ids, finished, breakdown) in enumerate(
            zip(group.texts, group.token_ids, group.finished, breakdowns, strict=True)
        ):
            head = {"step": step, "study_id": study.study_id, "rollout": k}
            tail = {"num_tokens": len(ids), "finished": finished}
            rows.append({**head, **study_row(study), "generated_report": text, **tail, **breakdown_row(breakdown)})
    return rows


def study_row(study: Study) -> dict[str, Any]:
    """The oracle report and its labels, those that are mentioned."""
    labels = {o.value: state.value for o, state in study.labels.items() if state.value != "unmentioned"}
    return {"oracle_report": study.oracle_report, "oracle_labels": labels}


def fact_row(fact: Fact) -> dict[str, Any]:
    """A fact, where it stands in the generated report, and what it says there of which observation."""
    return {
        "text": fact.text,
        "sentence_index": fact.sentence_index,
        "start": fact.start,
        "end": fact.end,
        "mentions": [mention.to_row() for mention in fact.mentions],
    }


def breakdown_row(breakdown: RewardBreakdown) -> dict[str, Any]:
    """Why a rollout earned its reward."""
    return {
        "reward": breakdown.total,
        "terms": dict(breakdown.terms),
        "is_zero": breakdown.is_zero,
        "judge": breakdown.judge,
        "precision": breakdown.precision,
        "recall": breakdown.recall,
        "true_positives": sorted(breakdown.true_positives),
        "false_positives": sorted(breakdown.false_positives),
        "false_negatives": sorted(breakdown.false_negatives),
        "facts": [fact_row(fact) for fact in breakdown.facts],
        "rejected": dict(breakdown.rejected),
        "verdicts": {
            verdict.observation.value: {
                "judgement": verdict.judgement.value,
                "supporting_facts": [fact.text for fact in verdict.supporting_facts],
            }
            for verdict in breakdown.verdicts
            if verdict.judgement.value != "not mentioned"
        },
    }


VALIDATION_NAMES = (
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "micro_f1",
    "shuffled_macro_f1",
    "seconds_per_study",
    *(f"{observation.value}/f1" for observation in OBSERVATIONS),
)
"""The columns of validation.csv after the step; those of single observations are named as evaluate.py names them."""


class ValidationFile(RunFile):
    """validation.csv: one row a validation, own images and shuffled images."""

    def __init__(self, path: Path, uncertain_is_positive: bool) -> None:
        """Settings.

        Args:
            path: in an existing folder.
            uncertain_is_positive: how uncertain label states count.
        """
        super().__init__(path)
        self._uncertain_is_positive = uncertain_is_positive

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Scores and writes what was generated."""
        assert isinstance(pl_module, OrapoModule)
        step = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        own, *shuffled = pl_module.generated
        scores = self._clinical(own.pairs)
        row = {
            "step": float(step),
            "macro_precision": scores.macro.precision,
            "macro_recall": scores.macro.recall,
            "macro_f1": scores.macro.f1,
            "micro_f1": scores.micro.f1,
            "shuffled_macro_f1": self._clinical(shuffled[0].pairs).macro.f1 if shuffled else math.nan,
            "seconds_per_study": own.seconds_per_study,
            **{f"{observation.value}/f1": one.f1 for observation, one in scores.per_observation.items()},
        }
        self.file.append(csv_row(row, ("step", *VALIDATION_NAMES), self.file))
        logged = {f"validation/{name}": row[name] for name in VALIDATION_NAMES}
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=step)

    def _clinical(self, pairs: tuple[ReportPair, ...]) -> Any:
        return score_reports(pairs, uncertain_is_positive=self._uncertain_is_positive).clinical
