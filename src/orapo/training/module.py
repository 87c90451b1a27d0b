"""The Lightning module: it owns policy, reference, reward and objective, and follows the method step by step.

    collect (sample, judge, weigh the oracle), update (score, combine, step), log                     (Algorithm 1)

Optimisation is manual: studies are scored in micro-batches, a batch of rollouts may serve several optimiser steps, and
memory does not grow with the batch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from orapo.batches import StudyBatch
from orapo.errors import CheckpointError
from orapo.evaluation.report_pairs import Written
from orapo.objective.orapo import OrapoObjective
from orapo.policy.model import Policy
from orapo.policy.reference import FrozenCopyReference, Reference
from orapo.policy.rollout_source import RolloutSource
from orapo.policy.settings import SamplingSettings
from orapo.reward.protocol import Reward
from orapo.training.ahead import RolloutsAhead
from orapo.training.collect import Collector
from orapo.training.distributed import Ranks, share_of, summed
from orapo.training.experience import Experience, naming_studies
from orapo.training.held_out_reports import HeldOutReports
from orapo.training.metrics import SHOWN, Stopwatch, step_metrics
from orapo.training.micro_batches import ReferenceScorer
from orapo.training.optimiser import make_optimiser, optimiser_step
from orapo.training.settings import TrainingSettings
from orapo.training.sharding import is_sharded, shard
from orapo.training.strategies import Sharded
from orapo.training.update import BackwardPasses, Losses


class OrapoModule(LightningModule):
    """Trains a policy by an ``OrapoObjective`` and generates reports for validation and test.

    Attributes:
        policy: what trains.
        last_experience: of the latest training step, for callbacks.
        last_metrics: of the same step, by the columns of metrics.csv.
        written: per evaluation loader of the last evaluation (0 own images, 1 shuffled images).
    """

    def __init__(
        self,
        policy: Policy,
        rollouts: RolloutSource,
        reference: Reference | None,
        reward: Reward,
        objective: OrapoObjective,
        sampling: SamplingSettings,
        settings: TrainingSettings,
        num_steps: int,
        seed: int = 0,
        ranks: Ranks | None = None,
        ahead: RolloutsAhead | None = None,
    ) -> None:
        """Joins the parts.

        Args:
            policy: on the CPU or a device, in train mode.
            rollouts: samples from the policy, in training and evaluation.
            reference: None when the objective needs none.
            reward: judges rollouts.
            objective: combines the losses; its moving average belongs to the checkpoint.
            sampling: how rollouts are sampled.
            settings: optimiser, schedule and update.
            num_steps: training steps of the whole run, for the schedule.
            seed: of the rollouts, where several processes train together.
            ranks: the processes of the run; None for a single process.
            ahead: samples the next batch during the update; None samples each batch in its own step.
        """
        super().__init__()
        self.automatic_optimization = False
        # A checkpoint holds the weights that train, nothing else.
        self.strict_loading = False
        self.policy = policy
        # In a tuple, so that a frozen copy is neither listed among the parameters nor saved.
        self._reference = (reference,)
        self._reward = reward
        self._objective = objective
        self._settings = settings
        self._num_steps = num_steps
        self._ranks = ranks = ranks or Ranks()
        size, temperature = settings.micro_batch, sampling.temperature
        scorer = None
        if reference is not None and objective.needs_reference:
            scorer = ReferenceScorer(policy, reference, size, temperature)
        self._collector = Collector(
            policy, rollouts, reward, scorer, objective, sampling, ranks, settings.batch_size, seed, ahead
        )
        self._ahead = ahead
        self._backward_passes = BackwardPasses(
            policy, objective, temperature, size, ranks.shard.size, self.manual_backward
        )
        self._held_out = HeldOutReports(policy, rollouts, replace(sampling, per_study=1, greedy=True), ranks)
        self._watch = Stopwatch()
        self.last_experience: Experience | None = None
        self.last_metrics: dict[str, float] = {}
        self.written: list[Written] = []

    @property
    def reference(self) -> Reference | None:
        """The frozen reference, or None when the objective needs none."""
        return self._reference[0]

    # ---- training

    def training_step(self, batch: StudyBatch, batch_index: int) -> None:
        """One pass of Algorithm 1's inner loop over B studies, this process's share of them.

        Raises:
            NonFiniteError: a reward, log-probability, loss or gradient is NaN or infinite; it carries the study ids.
            RunPaused: no judge answers for any study of the batch, or no server samples; nothing has changed yet.
        """
        self._watch = Stopwatch()
        experience = self.collect(batch, batch_index)
        losses = []
        for _ in range(self._settings.inner_steps):
            losses.append(self.update(experience))
            experience = experience.after_update()
        self.log_step(experience, losses, batch_index + 1)
        if self._ahead is not None:
            self._ahead.end_step()

    def collect(self, batch: StudyBatch, step: int) -> Experience:
        """Samples and judges K reports a study, and weighs the oracle: equations (8)-(10), (13)-(15)."""
        # Where an update is one backward pass, sampling and the first update can share one encoding of the images.
        is_one_pass = not is_sharded(self.policy) and len(batch) <= self._settings.micro_batch
        with self._watch.phase("rollout"):
            batch = self.policy.with_images_encoded(batch, keeps_graph=is_one_pass)
        loader = self.trainer.train_dataloader if self._ahead is not None else None
        return self._collector.collect(batch, step, self._watch, getattr(loader, "upcoming", None))

    def update(self, experience: Experience) -> Losses:
        """Takes one optimiser step on the mixed loss over all processes: equations (1)-(7), (11), (12)."""
        with self._watch.phase("update"):
            everyone = self._ranks.all_gather(partial(self._backward_passes.run, experience))
            with naming_studies(experience.studies):
                grad_norm, learning_rate = self._optimiser_step()
        return Losses(tuple(output for own in everyone for output in own), grad_norm, learning_rate)

    def log_step(self, experience: Experience, losses: Sequence[Losses], step: int) -> None:
        """Passes the step to the callbacks and its metrics to the loggers; steps count from 1."""
        seconds = self._ranks.all_gather(lambda: self._watch.seconds)
        self.last_experience, self.last_metrics = experience, step_metrics(experience, losses, seconds)
        shown = {title: value for name, title in SHOWN.items() if not math.isnan(value := self.last_metrics[name])}
        self.log_dict(shown, prog_bar=True, logger=False)
        for logger in self.loggers:
            logger.log_metrics({f"train/{name}": value for name, value in self.last_metrics.items()}, step=step)

    def _optimiser_step(self) -> tuple[float, float]:
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer)
        assert isinstance(scheduler, LambdaLR)
        return optimiser_step(optimizer, scheduler, self.trainer.strategy, self._settings.max_grad_norm)

    # ---- set-up

    def configure_model(self) -> None:
        """Shards the weights of policy and reference across the processes, where the strategy says so."""
        strategy = self.trainer.strategy
        if isinstance(strategy, Sharded):
            shard(self.policy, strategy.shard_mesh)
            if isinstance(self.reference, FrozenCopyReference):
                shard(self.reference.copy, strategy.shard_mesh)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW over the weights that train, with linear warm-up and decay per optimiser step."""
        optimizer, schedule = make_optimiser(self.policy.parameters(), self._settings, self._num_steps)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    # ---- validation and test

    def on_validation_epoch_start(self) -> None:
        self._held_out.begin(_num_studies(self.trainer.val_dataloaders))

    def validation_step(self, batch: StudyBatch, batch_index: int, dataloader_idx: int = 0) -> None:
        """Generates one report per study, greedily."""
        self._held_out.generate(batch, dataloader_idx)

    def on_validation_epoch_end(self) -> None:
        """Gathers the reports of all processes into ``written``: each study once, in the order of the split."""
        self.written = self._held_out.end()

    def on_test_epoch_start(self) -> None:
        self._held_out.begin(_num_studies(self.trainer.test_dataloaders))

    def test_step(self, batch: StudyBatch, batch_index: int, dataloader_idx: int = 0) -> None:
        self.validation_step(batch, batch_index, dataloader_idx)

    def on_test_epoch_end(self) -> None:
        self.on_validation_epoch_end()

    # ---- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the weights that train; adds the moving average of the zero-reward rate and what judges spent."""
        trained = self.policy.trainable_names()
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {n: w for n, w in weights.items() if n.removeprefix("policy.") in trained}
        checkpoint["objective"] = self._objective.state_dict()
        checkpoint["judge"] = summed(self._ranks.all_gather(self._reward.state_dict))
        if self._ahead is not None:
            checkpoint["ahead"] = self._ranks.all_gather(self._ahead.state_dict)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the moving average of the zero-reward rate and what the judge spent.

        Raises:
            CheckpointError: the checkpoint holds other weights than those that train.
        """
        # A strategy that shards has loaded the weights itself, and removed them from here.
        if "state_dict" in checkpoint:
            self._refuse_other_weights(checkpoint["state_dict"])
        self._objective.load_state_dict(checkpoint["objective"])
        self._reward.load_state_dict(share_of(checkpoint["judge"], self._ranks.shard.size))
        begun = checkpoint.get("ahead", ())
        if self._ahead is not None and len(begun) == self._ranks.shard.size:
            self._ahead.load_state_dict(begun[self._ranks.shard.rank])

    def _refuse_other_weights(self, weights: Mapping[str, Tensor]) -> None:
        trained = {f"policy.{name}" for name in self.policy.trainable_names()}
        wanted = {name: tuple(weight.shape) for name, weight in self.named_parameters() if name in trained}
        saved = {name: tuple(weight.shape) for name, weight in weights.items()}
        if other := [name for name in {**wanted, **saved} if wanted.get(name) != saved.get(name)]:
            raise CheckpointError(
                f"the checkpoint holds other weights than those that train: {len(other)} differ, the first is "
                f"{other[0]}, {saved.get(other[0], 'absent')} in place of {wanted.get(other[0], 'none')}"
            )


def _num_studies(loaders: Any) -> int:
    """The number of studies of all loaders together."""
    return sum(len(loader.dataset) for loader in (loaders if isinstance(loaders, list) else [loaders]))
