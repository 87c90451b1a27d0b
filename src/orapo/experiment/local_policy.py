"""A model on this machine writes the reports, in Lightning's test loop as a training run's test does."""

from collections.abc import Sequence
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer

from orapo.batches import StudyBatch
from orapo.data.collate import Collate
from orapo.data.evaluation_studies import EvaluationStudies
from orapo.errors import SettingError
from orapo.evaluation.report_pairs import Written
from orapo.experiment.evaluate_config import Evaluation
from orapo.experiment.progress import progress
from orapo.policy.checkpoints import load_checkpoint
from orapo.policy.model import Policy
from orapo.policy.rollout_source import LocalRollouts
from orapo.training.distributed import Ranks
from orapo.training.held_out_reports import HeldOutReports


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
        collate = Collate(policy.processor, policy.prompt, max_report_tokens=None)
        loader = studies.loader(
            collate, batch_size=config.eval_batch_size, num_workers=config.num_workers, images_of=images_of
        )
        held_out = HeldOutReports(policy, LocalRollouts(policy), self._evaluation.sampling, Ranks())
        held_out.begin(len(studies.studies))
        _trainer(config.accelerator, config.precision, shuffled=images_of is not None).test(
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
