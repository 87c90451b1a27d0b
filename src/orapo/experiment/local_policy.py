"""A model on this machine writes the reports, in Lightning's test loop as a training run's test does."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

from orapo.batches import StudyBatch
from orapo.data.collate import Collate
from orapo.data.evaluation_studies import EvaluationStudies
from orapo.errors import SettingError
from orapo.experiment.evaluate_config import Evaluation
from orapo.experiment.written_reports import Written
from orapo.policy.checkpoints import load_checkpoint
from orapo.policy.model import Policy
from orapo.policy.settings import SamplingSettings
from orapo.training.metrics import Stopwatch


class LocalPolicy:
    """A checkpoint of ours, of the hub, or a PEFT adapter."""

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
        evaluation, config = self._evaluation, self._evaluation.config
        return {
            "kind": evaluation.kind,
            "name": evaluation.name,
            "path": evaluation.model.path,
            "is_adapter": self._policy.adapter is not None,
            "precision": config.precision,
            "batch_size": config.eval_batch_size,
        }

    def write(self, studies: EvaluationStudies, images_of: Sequence[int] | None) -> Written:
        """Greedy reports; the studies of a batch share its seconds equally."""
        config = self._evaluation.config
        policy = self._policy
        collate = Collate(policy.processor, policy.instruction, max_report_tokens=None)
        loader = studies.loader(
            collate, batch_size=config.eval_batch_size, num_workers=config.num_workers, images_of=images_of
        )
        writer = _Writer(policy, self._evaluation.sampling)
        _trainer(config.accelerator, config.precision, shuffled=images_of is not None).test(
            writer, dataloaders=loader, verbose=False
        )
        return Written(tuple(writer.reports), tuple(writer.seconds), counts={"cut_off_reports": writer.num_cut_off})


class _Writer(LightningModule):
    """Collects reports batch by batch."""

    def __init__(self, policy: Policy, sampling: SamplingSettings) -> None:
        super().__init__()
        self.policy = policy
        self._sampling = sampling
        self.reports: list[str] = []
        self.seconds: list[float] = []
        self.num_cut_off = 0

    def test_step(self, batch: StudyBatch, batch_index: int) -> None:
        """One report for each study."""
        watch = Stopwatch()
        with watch.phase("generate"):
            groups = self.policy.roll_out(batch, self._sampling)
        self.reports += [group.texts[0] for group in groups]
        self.seconds += [watch.seconds["generate"] / len(batch)] * len(batch)
        self.num_cut_off += sum(not group.finished[0] for group in groups)

    def transfer_batch_to_device(self, batch: StudyBatch, device: torch.device, dataloader_idx: int) -> StudyBatch:
        """Lightning can't look into a ``StudyBatch``."""
        return batch.to(device)


class _Progress(TQDMProgressBar):
    def __init__(self, description: str) -> None:
        super().__init__()
        self._description = description

    @property
    def test_description(self) -> str:
        return self._description


def _trainer(accelerator: str, precision: Any, shuffled: bool) -> Trainer:
    """One device: an evaluation's studies are not shared out."""
    try:
        return Trainer(
            accelerator=accelerator,
            devices=1,
            precision=precision,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            callbacks=[_Progress("Shuffled images" if shuffled else "Writing reports")],
        )
    except (MisconfigurationException, ValueError) as error:
        raise SettingError(
            f"accelerator={accelerator} precision={precision}: {' '.join(str(error).split())}"
        ) from error
