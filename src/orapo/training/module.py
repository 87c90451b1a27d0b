"""The Lightning module: it owns policy, reference, reward and objective, and reads as the method does.

    roll out, judge, mix, score, combine, step, log                     (Algorithm 1)

Optimisation is manual: studies are scored in micro-batches, a batch of rollouts may serve several optimiser steps, and
memory does not grow with the batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from orapo.batches import RolloutGroup, StudyBatch
from orapo.chexpert import LabelStates
from orapo.errors import NonFiniteError
from orapo.evaluation.report_pairs import ReportLabeler, ReportPair, pair_reports
from orapo.objective.orapo import OrapoObjective
from orapo.objective.tensors import ObjectiveOutput, ScoredGroups
from orapo.policy.model import Policy
from orapo.policy.reference import Reference
from orapo.policy.settings import SamplingSettings
from orapo.reward.protocol import Reward
from orapo.training.padding import group_mask, pad_groups
from orapo.training.settings import TrainingSettings
from orapo.training.step import (
    JudgedRollouts,
    MicroBatch,
    Rollouts,
    StepResult,
    Stopwatch,
    judge_metrics,
    step_metrics,
    whole_groups,
)


@contextmanager
def naming_studies(batch: StudyBatch) -> Iterator[None]:
    """Adds the study ids of ``batch`` to a ``NonFiniteError`` that does not name any yet."""
    try:
        yield
    except NonFiniteError as error:
        if error.study_ids:
            raise
        study_ids = tuple(study.study_id for study in batch.studies)
        named = NonFiniteError(f"{error} (studies {', '.join(study_ids)})")
        named.study_ids = study_ids
        raise named from error


@dataclass(frozen=True)
class Generated:
    """Reports generated for one evaluation loader.

    Attributes:
        pairs: one per study, in order.
        seconds: spent generating.
    """

    pairs: tuple[ReportPair, ...]
    seconds: float

    @property
    def seconds_per_study(self) -> float:
        """Seconds of generation per study."""
        return self.seconds / len(self.pairs)


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
        reference: Reference | None,
        reward: Reward,
        objective: OrapoObjective,
        labeler: ReportLabeler,
        sampling: SamplingSettings,
        settings: TrainingSettings,
        num_steps: int,
    ) -> None:
        """Joins the parts.

        Args:
            policy: on the CPU or a device, in train mode.
            reference: None when the objective needs none.
            reward: judges rollouts.
            objective: combines the losses; its moving average belongs to the checkpoint.
            labeler: reads generated reports in validation and test; never the reward's judge.
            sampling: how rollouts are drawn.
            settings: optimiser, schedule and update.
            num_steps: training steps of the whole run, for the schedule.
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
        self._labeler = labeler
        self._sampling = sampling
        self._greedy = replace(sampling, per_study=1, greedy=True)
        self._settings = settings
        self._num_steps = num_steps
        self.last_step: StepResult | None = None
        self.generated: list[Generated] = []
        self._collected: list[list[ReportPair]] = []
        self._collected_seconds: list[float] = []

    # ---- training

    def training_step(self, batch: StudyBatch, batch_index: int) -> None:
        """One pass of Algorithm 1's inner loop over B studies.

        Raises:
            NonFiniteError: a reward, log-probability, loss or gradient is NaN or infinite; it carries the study ids.
            RunPaused: no judge answers for any study of the batch; nothing has changed yet.
        """
        with naming_studies(batch):
            self._step(batch, batch_index)

    def _step(self, batch: StudyBatch, batch_index: int) -> None:
        watch = Stopwatch()
        totals = dict(self._reward.judge.totals())
        rollouts = self._roll_out(batch, watch) if self._objective.needs_rollouts else None
        # The reference is scored while a judge elsewhere reads: neither needs the other.
        with watch.phase("reference"):
            micro_batches = self._micro_batches(batch, None if rollouts is None else rollouts.groups)
        judged = None if rollouts is None else self._await_rewards(batch, rollouts, watch)
        if judged is not None and judged.num_dropped:
            batch = batch.select(judged.kept)
            with watch.phase("reference"):
                micro_batches = self._micro_batches(batch, judged.groups)
        weight = self._objective.fixed_weight(len(batch)) if judged is None else judged.mixing.weight
        outputs: list[ObjectiveOutput] = []
        with watch.phase("update"):
            for _ in range(self._settings.inner_steps):
                for micro in micro_batches:
                    outputs.append(self._backward(micro, judged, weight, len(batch)))
                grad_norm, learning_rate = self._optimiser_step()
        metrics = step_metrics(judged, outputs, watch.seconds, grad_norm, learning_rate)
        metrics |= judge_metrics(totals, self._reward.judge.totals())
        self.last_step = StepResult(batch, judged, metrics)
        shown = ("reward", "zero_reward_rate", "mixing_weight")
        self.log_dict({name: metrics[name] for name in shown}, prog_bar=True, logger=False)
        for logger in self.loggers:
            logger.log_metrics({f"train/{name}": value for name, value in metrics.items()}, step=batch_index + 1)

    def _roll_out(self, batch: StudyBatch, watch: Stopwatch) -> Rollouts:
        per_study = self._sampling.per_study
        with watch.phase("rollout"):
            groups = self.policy.roll_out(batch, self._sampling)
        with watch.phase("reward"):
            reports = [text for group in groups for text in group.texts]
            labels: list[LabelStates] = [study.labels for study in batch.studies for _ in range(per_study)]
            return Rollouts(groups, self._reward.start(reports, labels))

    def _await_rewards(self, batch: StudyBatch, rollouts: Rollouts, watch: Stopwatch) -> JudgedRollouts:
        per_study = self._sampling.per_study
        with watch.phase("reward"):
            flat = rollouts.pending.result()
        groups = [flat[i : i + per_study] for i in range(0, len(flat), per_study)]
        kept, breakdowns = whole_groups(groups)
        rewards = torch.tensor([[b.total for b in group] for group in breakdowns], device=self.device)
        mixing = self._objective.observe([batch.studies[i].study_id for i in kept], rewards)
        return JudgedRollouts(
            groups=tuple(rollouts.groups[i] for i in kept),
            breakdowns=breakdowns,
            rewards=rewards,
            mixing=mixing,
            kept=kept,
            num_dropped=len(batch) - len(kept),
        )

    def _micro_batches(self, batch: StudyBatch, groups: Sequence[RolloutGroup] | None) -> list[MicroBatch]:
        size = self._settings.studies_per_micro_batch
        order = list(range(len(batch)))
        if groups is not None:
            # Studies with rollouts of similar length share a micro-batch: less padding, the same sum.
            order.sort(key=lambda i: sum(len(ids) for ids in groups[i].token_ids))
        micro_batches = []
        for first in range(0, len(batch), size):
            indices = tuple(order[first : first + size])
            part = batch.select(indices)
            completions = tuple(
                (
                    *(groups[i].token_ids if groups is not None else ()),
                    *((batch.oracle_ids[i],) if self._objective.needs_oracle else ()),
                )
                for i in indices
            )
            reference = self._reference[0] if self._objective.needs_reference else None
            logps = None if reference is None else reference.score(part, completions, self._sampling.temperature)
            micro_batches.append(MicroBatch(indices, part, completions, logps))
        return micro_batches

    def _backward(
        self, micro: MicroBatch, judged: JudgedRollouts | None, weight: Tensor, num_studies: int
    ) -> ObjectiveOutput:
        logps = self.policy(micro.batch, micro.completions, self._sampling.temperature)
        with naming_studies(micro.batch):
            output = self._objective.loss(self._scored(micro, judged, logps), weight[list(micro.indices)])
            if not bool(torch.isfinite(output.loss)):
                raise NonFiniteError(f"the loss is {output.loss.item()}")
        self.manual_backward(output.loss * (len(micro.indices) / num_studies))
        return output

    def _scored(
        self, micro: MicroBatch, judged: JudgedRollouts | None, logps: tuple[tuple[Tensor, ...], ...]
    ) -> ScoredGroups:
        num_rollouts = 0 if judged is None else self._sampling.per_study
        reference = micro.reference_logps
        oracle = oracle_reference = oracle_mask = None
        if self._objective.needs_oracle:
            oracle = pad_groups([study[num_rollouts:] for study in logps])[:, 0]
            oracle_mask = group_mask([study[num_rollouts:] for study in logps])[:, 0]
            if reference is not None:
                oracle_reference = pad_groups([study[num_rollouts:] for study in reference])[:, 0]
        if judged is None:
            assert oracle is not None
            assert oracle_mask is not None
            return ScoredGroups.without_rollouts(oracle, oracle_mask, oracle_reference)
        rollout_reference = None if reference is None else pad_groups([study[:num_rollouts] for study in reference])
        return ScoredGroups(
            policy_logps=pad_groups([study[:num_rollouts] for study in logps]),
            old_logps=pad_groups([judged.groups[i].old_logps for i in micro.indices]),
            ref_logps=rollout_reference,
            completion_mask=group_mask([study[:num_rollouts] for study in logps]),
            rewards=judged.rewards[list(micro.indices)],
            oracle_policy_logps=oracle,
            oracle_ref_logps=oracle_reference,
            oracle_mask=oracle_mask,
        )

    def _optimiser_step(self) -> tuple[float, float]:
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        grad_norm = torch.nn.utils.clip_grad_norm_(parameters, self._settings.max_grad_norm).item()
        if not torch.isfinite(torch.tensor(grad_norm)):
            raise NonFiniteError(f"the gradient's norm is {grad_norm}")
        learning_rate = float(optimizer.param_groups[0]["lr"])
        optimizer.step()
        optimizer.zero_grad()
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR)
        scheduler.step()
        # Autocast's low-precision copies are of the weights before the step.
        torch.clear_autocast_cache()
        return grad_norm, learning_rate

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW over the weights that train, with linear warm-up and decay per optimiser step."""
        settings = self._settings
        optimizer = torch.optim.AdamW(
            [parameter for parameter in self.policy.parameters() if parameter.requires_grad],
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            weight_decay=settings.weight_decay,
        )
        num_updates = self._num_steps * settings.inner_steps
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: settings.learning_rate_factor(step, num_updates)
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    # ---- validation and test

    def on_validation_epoch_start(self) -> None:
        """Forgets the last evaluation."""
        self._collected, self._collected_seconds = [], []

    def validation_step(self, batch: StudyBatch, batch_index: int, dataloader_idx: int = 0) -> None:
        """Generates one report per study, greedily."""
        if dataloader_idx == len(self._collected):
            self._collected.append([])
            self._collected_seconds.append(0.0)
        watch = Stopwatch()
        with watch.phase("generate"):
            groups = self.policy.roll_out(batch, self._greedy)
        self._collected_seconds[dataloader_idx] += watch.seconds["generate"]
        reports = [group.texts[0] for group in groups]
        self._collected[dataloader_idx].extend(pair_reports(batch.studies, reports, self._labeler))

    def on_validation_epoch_end(self) -> None:
        """Hands over what was generated."""
        rows = zip(self._collected, self._collected_seconds, strict=True)
        self.generated = [Generated(tuple(pairs), seconds) for pairs, seconds in rows]

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
        """Keeps the weights that train; adds the moving average of the zero-reward rate, and what the judge spent."""
        trained = self.policy.trainable_names()
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {n: w for n, w in weights.items() if n.removeprefix("policy.") in trained}
        checkpoint["objective"] = self._objective.state_dict()
        checkpoint["judge"] = self._reward.judge.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the moving average of the zero-reward rate, and what the judge spent."""
        self._objective.load_state_dict(checkpoint["objective"])
        self._reward.judge.load_state_dict(checkpoint["judge"])
