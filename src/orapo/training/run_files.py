"""Callbacks that write a run's files while it trains: metrics, rollouts, validation scores.

Each saves in the checkpoint how much it has written. So a resumed run cuts off what came after the checkpoint, and its
files are as if it had never stopped.
"""

import csv
import hashlib
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from orapo.chexpert import OBSERVATIONS
from orapo.errors import CheckpointError
from orapo.evaluation.answers import ACCURACY, ANSWERED, Answered, answer_measures
from orapo.evaluation.clinical import clinical_measures, reading_of
from orapo.evaluation.report_pairs import Written, labeled
from orapo.labeler.types import ReportLabeler
from orapo.records import Fact, RewardBreakdown, Study
from orapo.training.experience import Experience
from orapo.training.metrics import METRIC_NAMES, TERM_PREFIX
from orapo.training.module import OrapoModule
from orapo.whole_file import naming


class AppendedFile:
    """A text file that grows line by line and can be cut back to an earlier number of bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest: Any = None

    @property
    def num_bytes(self) -> int:
        """0 while the file does not exist."""
        return self._path.stat().st_size if self._path.exists() else 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The cells of the first line."""
        with self._path.open(encoding="utf-8", newline="") as file:
            return tuple(next(csv.reader(file)))

    def append(self, text: str) -> None:
        """Writes the text at the end, unbuffered.

        Raises:
            CheckpointError: the folder is gone.
            OSError: names the file, which a failed write does not by itself.
        """
        content = text.encode()
        self._read().update(content)
        try:
            with naming(self._path), self._path.open("ab") as file:
                file.write(content)
        except FileNotFoundError:
            raise CheckpointError(f"{self._path.parent} was moved or removed while its run was at work") from None

    def state_dict(self) -> dict[str, Any]:
        """Its size and the SHA-256 of its bytes, which are flushed to the disk first."""
        if self._path.exists():
            with self._path.open("rb") as file:
                os.fsync(file.fileno())
        return {"num_bytes": self.num_bytes, "sha256": self._read().hexdigest()}

    def cut(self, state: Mapping[str, Any]) -> None:
        """Cuts off what was written after ``state_dict`` returned this state.

        Raises:
            CheckpointError: the file has not grown from what it was then; it stays as it is.
        """
        num_bytes, self._digest = state["num_bytes"], None
        found = self._read(num_bytes)
        # Checkpoints of older versions hold the size alone.
        if self.num_bytes < num_bytes or found.hexdigest() != state.get("sha256", found.hexdigest()):
            raise CheckpointError(
                f"{self._path} was shortened or changed since the checkpoint, which knows {num_bytes:,} bytes of it; "
                "put it back as it was"
            )
        if self.num_bytes > num_bytes:
            with self._path.open("r+b") as file:
                file.truncate(num_bytes)

    def _read(self, num_bytes: int | None = None) -> Any:
        """The SHA-256 so far, computed from the file when it was not followed from its beginning."""
        if self._digest is None:
            self._digest = hashlib.sha256()
            if self._path.exists():
                with self._path.open("rb") as file:
                    left = self.num_bytes if num_bytes is None else num_bytes
                    while left and (part := file.read(min(left, 2**20))):
                        self._digest.update(part)
                        left -= len(part)
        return self._digest


class RunFile(Callback):
    """A callback that owns one growing file."""

    def __init__(self, path: Path) -> None:
        """Writes nothing yet.

        Args:
            path: in an existing folder.
        """
        self.file = AppendedFile(path)

    def state_dict(self) -> dict[str, Any]:
        """The file's size and digest at the checkpoint."""
        return self.file.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Cuts off what was written after the checkpoint."""
        self.file.cut(state_dict)


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
    """One line of CSV, after the header if the file is empty, else in the order of the file's header."""
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
    """rollouts.jsonl: at intervals, all rollouts of a few studies with everything that explains their rewards."""

    def __init__(self, path: Path, every_steps: int, studies: int) -> None:
        """Stores the settings.

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
        """Writes the sample when due."""
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
    """The oracle report and the labels it mentions; for a question, the right answer."""
    if study.question is not None:
        question = study.question
        return {"question": question.text, "oracle_report": study.oracle_report, "answer": question.answer}
    labels = {o.value: state.value for o, state in study.labels.items() if state.value != "unmentioned"}
    return {"oracle_report": study.oracle_report, "oracle_labels": labels}


def fact_row(fact: Fact) -> dict[str, Any]:
    """A fact, its place in the generated report, and what it states of each observation."""
    return {
        "text": fact.text,
        "sentence_index": fact.sentence_index,
        "start": fact.start,
        "end": fact.end,
        "mentions": [mention.to_row() for mention in fact.mentions],
    }


def breakdown_row(breakdown: RewardBreakdown) -> dict[str, Any]:
    """Why a rollout earned its reward; an answer has no observations."""
    earned = {"reward": breakdown.total, "terms": dict(breakdown.terms), "is_zero": breakdown.is_zero}
    if not breakdown.verdicts:
        return earned
    return {
        **earned,
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
ANSWER_VALIDATION_NAMES = (ACCURACY, ANSWERED, f"shuffled_{ACCURACY}", "seconds_per_study")
"""The same for questions."""


class ValidationFile(RunFile):
    """validation.csv: one row a validation, own images and shuffled images."""

    def __init__(self, path: Path, labeler: ReportLabeler, uncertain_is_positive: bool) -> None:
        """Stores the settings.

        Args:
            path: in an existing folder.
            labeler: reads the generated reports.
            uncertain_is_positive: how uncertain label states count.
        """
        super().__init__(path)
        self._labeler = labeler
        self._reading = reading_of(uncertain_is_positive)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Scores the generated reports and writes the row."""
        assert isinstance(pl_module, OrapoModule)
        step = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        studies: Sequence[Study] = trainer.datamodule.validate_studies  # type: ignore[attr-defined]
        own, *shuffled = pl_module.written
        asked = studies[0].question is not None
        row, names = (self._answers, ANSWER_VALIDATION_NAMES) if asked else (self._reports, VALIDATION_NAMES)
        assert own.seconds is not None
        scores = {"step": float(step), "seconds_per_study": sum(own.seconds) / len(own.seconds)}
        scores |= row(studies, own, shuffled[0] if shuffled else None)
        self.file.append(csv_row(scores, ("step", *names), self.file))
        logged = {f"validation/{name}": scores[name] for name in names}
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=step)

    def _answers(self, studies: Sequence[Study], own: Written, shuffled: Written | None) -> dict[str, float]:
        found = _answer_scores(own, studies)
        other = math.nan if shuffled is None else _answer_scores(shuffled, studies)[ACCURACY]
        return {ACCURACY: found[ACCURACY], ANSWERED: found[ANSWERED], f"shuffled_{ACCURACY}": other}

    def _reports(self, studies: Sequence[Study], own: Written, shuffled: Written | None) -> dict[str, float]:
        scores = self._clinical(own, studies)
        return {
            **{name.replace("/", "_"): scores[f"all_14/{name}"] for name in ("macro/precision", "macro/recall")},
            "macro_f1": scores["all_14/macro/f1"],
            "micro_f1": scores["all_14/micro/f1"],
            "shuffled_macro_f1": math.nan if shuffled is None else self._clinical(shuffled, studies)["all_14/macro/f1"],
            **{f"{observation.value}/f1": scores[f"{observation.value}/f1"] for observation in OBSERVATIONS},
        }

    def _clinical(self, written: Written, studies: Sequence[Study]) -> dict[str, float]:
        """Clinical measures in the run's reading of uncertain labels, without the reading's name."""
        called = [labeled(report, self._labeler).states for report in written.reports]
        measures = clinical_measures(called, [study.labels for study in studies], (self._reading,))
        return {name.removeprefix(f"{self._reading}/"): value for name, value in measures.values().items()}


def _answer_scores(written: Written, studies: Sequence[Study]) -> dict[str, float]:
    pairs = zip(written.reports, studies, strict=True)
    return answer_measures([Answered.of(text, study.question) for text, study in pairs if study.question]).values()
