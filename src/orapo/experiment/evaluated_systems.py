"""What is evaluated, and what it is set against: from the config to something that writes reports."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer

from orapo.batches import StudyBatch
from orapo.data.collate import Collate
from orapo.data.evaluation_studies import EvaluationStudies
from orapo.errors import SettingError
from orapo.evaluation.report_pairs import Written
from orapo.experiment.evaluate_config import TINY, ApiSettings, Evaluation
from orapo.experiment.progress import progress
from orapo.experiment.written_reports import ReportFile
from orapo.policy.checkpoints import ADAPTER_CONFIG, load_checkpoint
from orapo.policy.hub import is_hub_name
from orapo.policy.model import Policy
from orapo.policy.rollout_source import LocalRollouts
from orapo.policy.tiny import base_folder
from orapo.training.distributed import Ranks
from orapo.training.held_out_reports import HeldOutReports

REPORT_FILES = ("reports.jsonl", "test_reports.jsonl")
"""Where the folder of an evaluation, or of a run, keeps reports."""


class System(Protocol):
    """Writes reports for studies."""

    @property
    def described(self) -> dict[str, Any]:
        """Kind and name, for evaluation.json."""
        ...

    def write(self, studies: EvaluationStudies, images_of: Sequence[int] | None) -> Written:
        """One report a study.

        Args:
            studies: all that are evaluated.
            images_of: for each study the one whose images are shown; None shows its own.

        Raises:
            NotComputed: the system has no images to be shuffled.
        """
        ...


def open_system(evaluation: Evaluation) -> System:
    """Opens the system that the config says to evaluate."""
    settings = evaluation.settings
    if settings.reports is not None:
        return ReportFile(Path(settings.reports), settings.missing_reports)
    if isinstance(settings.system, ApiSettings):
        # litellm's helpers are for those who ask a model.
        from orapo.experiment.api_policy import ApiPolicy

        return ApiPolicy(settings.system, evaluation.model.prompt)
    return LocalPolicy(evaluation)


def open_other(name: str, evaluation: Evaluation) -> System:
    """The second system: a file of reports, the folder of an evaluation or run, or a checkpoint.

    Raises:
        SettingError: it is none of these.
    """
    path = Path(name)
    if path.is_file():
        return ReportFile(path)
    found = next((path / file for file in REPORT_FILES if (path / file).is_file()), None)
    if found is not None:
        return ReportFile(found)
    is_model = any((path / file).is_file() for file in ("config.json", ADAPTER_CONFIG))
    if not (name == TINY or is_model or is_hub_name(name)):
        raise SettingError(
            f"against={name} is no file of reports (.csv, .jsonl), no folder of an evaluation or run with "
            f"{' or '.join(REPORT_FILES)}, and no checkpoint"
        )
    settings = replace(evaluation.model, path=base_folder() if name == TINY else name)
    return LocalPolicy(replace(evaluation, kind="checkpoint", name=name, model=settings, base=None))


class LocalPolicy:
    """A checkpoint of ours, of the hub, or a PEFT adapter, in Lightning's test loop as a training run's test."""

    def __init__(self, evaluation: Evaluation) -> None:
        """Loads the model.

        Raises:
            CheckpointError: it can't be loaded.
        """
        self._evaluation = evaluation
        self._policy = load_checkpoint(evaluation.model, evaluation.base)

    @property
    def described(self) -> dict[str, Any]:
        """Kind, name, and how the model runs."""
        evaluation, settings = self._evaluation, self._evaluation.settings
        return {
            "kind": evaluation.kind,
            "name": evaluation.name,
            "path": evaluation.model.path,
            "is_adapter": self._policy.adapter is not None,
            "precision": settings.precision,
            "batch_size": settings.eval_batch_size,
        }

    def write(self, studies: EvaluationStudies, images_of: Sequence[int] | None) -> Written:
        """Greedy reports; the studies of a batch share its seconds equally."""
        settings, policy = self._evaluation.settings, self._policy
        collate = Collate(policy.processor, policy.prompt, max_report_tokens=None)
        loader = studies.loader(
            collate, batch_size=settings.eval_batch_size, num_workers=settings.num_workers, images_of=images_of
        )
        held_out = HeldOutReports(policy, LocalRollouts(policy), settings.sampling, Ranks())
        held_out.begin(len(studies.studies))
        _trainer(settings.accelerator, settings.precision, shuffled=images_of is not None).test(
            _Writer(policy, held_out), dataloaders=loader, verbose=False
        )
        return held_out.end()[0]


class _Writer(LightningModule):
    """Lets Lightning place the policy and its batches."""

    def __init__(self, policy: Policy, held_out: HeldOutReports) -> None:
        super().__init__()
        self.policy = policy
        self._held_out = held_out

    def test_step(self, batch: StudyBatch, batch_index: int) -> None:
        self._held_out.generate(batch, 0)


def _trainer(accelerator: str, precision: Any, shuffled: bool) -> Trainer:
    """A trainer on one device: the studies of an evaluation are not distributed."""
    try:
        return Trainer(
            accelerator=accelerator,
            devices=1,
            precision=precision,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            callbacks=[progress("reports on shuffled images" if shuffled else "reports")],
        )
    except (MisconfigurationException, ValueError) as error:
        raise SettingError(
            f"accelerator={accelerator} precision={precision}: {' '.join(str(error).split())}"
        ) from error
