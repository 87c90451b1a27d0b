"""The Lightning module: it owns policy, reference, reward and objective, and reads as the method does.

    roll out, judge, mix, score, combine, step, log                     (Algorithm 1)

Optimisation is manual: studies are scored in micro-batches, a batch of rollouts may serve several optimiser steps, and
memory does not grow with the batch.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from orapo.batches import StudyBatch
from orapo.evaluation.report_pairs import ReportLabeler
from orapo.objective.orapo import OrapoObjective
from orapo.objective.tensors import ObjectiveOutput
from orapo.policy.model import Policy
from orapo.policy.reference import FrozenCopyReference, Reference
from orapo.policy.rollout_source import RolloutSource
from orapo.policy.settings import SamplingSettings
from orapo.records import RewardBreakdown
from orapo.reward.protocol import Reward
from orapo.training.backward_passes import BackwardPasses
from orapo.training.drawing import Drawing, Drawn
from orapo.training.dynamic_sampling import flat_groups
from orapo.training.held_out_reports import Generated, HeldOutReports
from orapo.training.micro_batches import MicroBatches
from orapo.training.naming_studies import naming_studies
from orapo.training.optimiser import make_optimiser, optimiser_step
from orapo.training.ranks import Ranks, share_of, summed
from orapo.training.settings import TrainingSettings
from orapo.training.sharding import is_sharded, shard
from orapo.training.step import (
    JudgedRollouts,
    StepResult,
    Stopwatch,
    judge_metrics,
    kept_per_rank,
    step_metrics,
    whole_groups,
)
from orapo.training.strategies import Sharded
from orapo.training.update import make_update


class OrapoModule(LightningModule):
    """Trains a policy by an ``OrapoObjective`` and generates reports for validation and test.

    Attributes:
        policy: what trains.
        last_step: the latest training step, for callbacks.
        generated: per evaluation loader of the last evaluation (0 own images, 1 shuffled images).
    """

    def __init__(
        self,
        policy: Policy,
        rollouts: RolloutSource,
        reference: Reference | None,
        reward: Reward,
        objective: OrapoObjective,
        labeler: ReportLabeler,
        sampling: SamplingSettings,
        settings: TrainingSettings,
        num_steps: int,
        seed: int = 0,
        ranks: Ranks | None = None,
    ) -> None:
        """Joins the parts.

        Args:
            policy: on the CPU or a device, in train mode.
            rollouts: samples from the policy, in training and evaluation.
            reference: None when the objective needs none.
            reward: judges rollouts.
            objective: combines the losses; its moving average belongs to the checkpoint.
            labeler: reads generated reports in validation and test; never the reward's judge.
            sampling: how rollouts are drawn.
            settings: optimiser, schedule and update.
            num_steps: training steps of the whole run, for the schedule.
            seed: of the rollouts' draws where several processes train together.
            ranks: these processes; None: there is only this one.
        """
        super().__init__()
        self.automatic_optimization = False
        # A checkpoint holds the weights that train, nothing else.
        self.strict_loading = False
        self.policy = policy
        # In a tuple, so that a frozen copy is neither listed among the parameters nor saved.
        self._reference = (reference,)
        self._rollouts = rollouts
        self._reward = reward
        self._objective = objective
        self._settings = settings
        self._num_steps = num_steps
        self._ranks = ranks = ranks or Ranks()
        self._drawing = Drawing(policy, rollouts, reward, objective, sampling, ranks, settings.batch_size, seed)
        self._micro_batches = MicroBatches(
            policy, reference, objective, settings.studies_per_micro_batch, sampling.temperature
        )
        self._backward_passes = BackwardPasses(
            policy, objective, sampling.temperature, ranks.shard.size, self.manual_backward
        )
        self._held_out = HeldOutReports(policy, rollouts, labeler, sampling, ranks)
        self.last_step: StepResult | None = None
        self.generated: list[Generated] = []

    @property
    def reference(self) -> Reference | None:
        """The frozen reference, or None when the objective needs none."""
        return self._reference[0]

    # ---- training

    def training_step(self, batch: StudyBatch, batch_index: int) -> None:
        """One pass of Algorithm 1's inner loop over B studies, of which this process holds its share.

        Raises:
            NonFiniteError: a reward, log-probability, loss or gradient is NaN or infinite; it carries the study ids.
            RunPaused: no judge answers for any study of the batch, or no server samples; nothing has changed yet.
        """
        watch = Stopwatch()
        totals = dict(self._reward.judge.totals())
        # Where the first inner step is one backward pass, it can share its encoding of the images with the rollouts.
        is_one_pass = not is_sharded(self.policy) and len(batch) <= self._settings.studies_per_micro_batch
        with watch.phase("rollout"):
            batch = self.policy.with_images_encoded(batch, keeps_graph=is_one_pass)
        rollouts = self._drawing.start(batch, batch_index, watch)
        # The reference is scored while a judge elsewhere reads: neither needs the other.
        with watch.phase("reference"):
            num_passes = self._micro_batches.num_passes(self._ranks.shard.sizes(self._settings.batch_size))
            micro_batches = self._micro_batches.scored(batch, rollouts, range(len(batch)), num_passes)
        drawn = self._drawing.finish(batch, batch_index, rollouts, watch)
        judged = None if drawn.rollouts is None else self._mix(drawn)
        num_passes = self._micro_batches.num_passes(kept_per_rank(drawn.told, judged))
        update = make_update(self._objective, drawn, judged, self._ranks.shard.rank, num_passes)
        if judged is not None and (judged.num_dropped or drawn.num_redrawn):
            with watch.phase("reference"):
                micro_batches = self._micro_batches.scored(batch, drawn.rollouts, update.rows, num_passes)
        outputs: list[ObjectiveOutput] = []
        with watch.phase("update"):
            for _ in range(self._settings.inner_steps):
                everyone = self._ranks.exchange(partial(self._backward_passes.run, batch, micro_batches, update))
                outputs += [output for one in everyone for output in one]
                micro_batches = [micro.after_a_step() for micro in micro_batches]
                with naming_studies(drawn.studies if judged is None else judged.studies):
                    grad_norm, learning_rate = self._optimiser_step()
        metrics = step_metrics(judged, outputs, self._slowest(watch), grad_norm, learning_rate)
        metrics |= self._judge_metrics(totals) | self._drawing_metrics(drawn, judged)
        self.last_step = StepResult(judged, metrics)
        self._log_step(metrics, batch_index + 1)

    def _mix(self, drawn: Drawn) -> JudgedRollouts:
        """The oracle's share by the rewards of all processes; each takes in all of them, so that their states agree.

        The zero-reward rate is that of the first draw: it measures the policy, not what was drawn again.
        """
        studies = drawn.studies
        groups = [group for one in drawn.told for group in one.groups]
        kept, breakdowns = whole_groups([group for one in drawn.told for group in one.judged])
        _, drawn_first = whole_groups([group for one in drawn.first_told for group in one.judged])
        rewards = self._rewards(breakdowns)
        with naming_studies([studies[i] for i in kept]):
            mixing = self._objective.observe([studies[i].study_id for i in kept], self._rewards(drawn_first))
        return JudgedRollouts(
            studies=tuple(studies[i] for i in kept),
            groups=tuple(groups[i] for i in kept),
            breakdowns=breakdowns,
            rewards=rewards,
            mixing=mixing,
            kept=kept,
            num_dropped=len(studies) - len(kept),
        )

    def _rewards(self, breakdowns: Sequence[Sequence[RewardBreakdown]]) -> Tensor:
        return torch.tensor([[b.total for b in group] for group in breakdowns], device=self.device)

    def _optimiser_step(self) -> tuple[float, float]:
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer)
        assert isinstance(scheduler, LambdaLR)
        return optimiser_step(optimizer, scheduler, self.trainer.strategy, self._settings.max_grad_norm)

    def _slowest(self, watch: Stopwatch) -> dict[str, float]:
        """Seconds per phase, of the process that took longest."""
        everyone = self._ranks.exchange(lambda: watch.seconds)
        return {phase: max(seconds.get(phase, 0.0) for seconds in everyone) for phase in watch.seconds}

    def _judge_metrics(self, totals: Mapping[str, float]) -> dict[str, float]:
        """What this step added to the totals of all judges."""
        everyone = self._ranks.exchange(lambda: judge_metrics(totals, self._reward.judge.totals()))
        return {name: sum(one[name] for one in everyone) for name in everyone[0]}

    def _drawing_metrics(self, drawn: Drawn, judged: JudgedRollouts | None) -> dict[str, float]:
        """What the source of rollouts tells of this step, as a mean over the processes, and what was drawn again."""
        if judged is None:
            return {}
        everyone = self._ranks.exchange(self._rollouts.metrics)
        metrics = {name: sum(one[name] for one in everyone) / len(everyone) for name in everyone[0]}
        if self._objective.max_redraws is not None:
            metrics["redrawn_groups"] = float(drawn.num_redrawn)
            metrics["left_out_groups"] = float(len(flat_groups(judged.breakdowns)))
        return metrics

    def _log_step(self, metrics: Mapping[str, float], step: int) -> None:
        shown = ("reward", "zero_reward_rate", "mixing_weight")
        self.log_dict({name: metrics[name] for name in shown}, prog_bar=True, logger=False)
        for logger in self.loggers:
            logger.log_metrics({f"train/{name}": value for name, value in metrics.items()}, step=step)

    # ---- set-up

    def configure_model(self) -> None:
        """Shares the weights of policy and reference out among the processes, where the strategy says so."""
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
        """Forgets the last evaluation."""
        self._held_out.begin()

    def validation_step(self, batch: StudyBatch, batch_index: int, dataloader_idx: int = 0) -> None:
        """Generates one report per study, greedily."""
        self._held_out.generate(batch, dataloader_idx)

    def on_validation_epoch_end(self) -> None:
        """Hands over what was generated in all processes, each study once and in the order of the split."""
        self.generated = self._held_out.end()

    def on_test_epoch_start(self) -> None:
        """As in validation."""
        self.on_validation_epoch_start()

    def test_step(self, batch: StudyBatch, batch_index: int, dataloader_idx: int = 0) -> None:
        """As in validation."""
        self.validation_step(batch, batch_index, dataloader_idx)

    def on_test_epoch_end(self) -> None:
        """As in validation."""
        self.on_validation_epoch_end()

    # ---- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the weights that train; adds the moving average of the zero-reward rate, and what all judges spent."""
        trained = self.policy.trainable_names()
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {n: w for n, w in weights.items() if n.removeprefix("policy.") in trained}
        checkpoint["objective"] = self._objective.state_dict()
        checkpoint["judge"] = summed(self._ranks.exchange(self._reward.judge.state_dict))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the moving average of the zero-reward rate, and what the judge spent."""
        self._objective.load_state_dict(checkpoint["objective"])
        self._reward.judge.load_state_dict(share_of(checkpoint["judge"], self._ranks.shard.size))
