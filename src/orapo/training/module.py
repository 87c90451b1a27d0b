"""The Lightning module: it owns policy, reference, reward and objective, and reads as the method does.

    roll out, judge, mix, score, combine, step, log                     (Algorithm 1)

Optimisation is manual: studies are scored in micro-batches, a batch of rollouts may serve several optimiser steps, and
memory does not grow with the batch.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.distributed.tensor import DTensor

from orapo.batches import RolloutGroup, StudyBatch
from orapo.chexpert import LabelStates
from orapo.errors import NonFiniteError
from orapo.evaluation.report_pairs import ReportLabeler, ReportPair, pair_reports
from orapo.objective.orapo import OrapoObjective
from orapo.objective.tensors import ObjectiveOutput, ScoredGroups
from orapo.policy.model import Policy
from orapo.policy.reference import FrozenCopyReference, Reference
from orapo.policy.rollout_source import RolloutSource
from orapo.policy.settings import SamplingSettings
from orapo.records import RewardBreakdown, Study
from orapo.reward.protocol import PendingRewards, Reward
from orapo.training.dynamic_sampling import flat_groups, with_redrawn
from orapo.training.padding import group_mask, pad_groups
from orapo.training.ranks import Ranks, share_of, summed
from orapo.training.settings import TrainingSettings
from orapo.training.sharding import casts_not_kept, is_sharded, shard, whole
from orapo.training.step import (
    JudgedRollouts,
    MicroBatch,
    Rollouts,
    StepResult,
    Stopwatch,
    Told,
    draw_seed,
    judge_metrics,
    kept_per_rank,
    on_cpu,
    step_metrics,
    whole_groups,
    without_graph,
)
from orapo.training.strategies import DataParallel, Sharded

T = TypeVar("T")


@contextmanager
def naming_studies(studies: Sequence[Study]) -> Iterator[None]:
    """Adds the ids of ``studies`` to a ``NonFiniteError`` that does not name any yet."""
    try:
        yield
    except NonFiniteError as error:
        if error.study_ids:
            raise
        study_ids = tuple(study.study_id for study in studies)
        named = NonFiniteError(f"{error} (studies {', '.join(study_ids)})")
        named.study_ids = study_ids
        raise named from error


@dataclass(frozen=True)
class Update:
    """What all micro-batches and inner steps of a training step share.

    Attributes:
        rollouts: of this process's studies, or None for an objective without rollouts.
        judged: the kept studies of all processes with their rollouts; likewise.
        weight: the oracle's share of each of these, or of each study of the batch when nothing is judged.
        rows: from a study's place in this process's batch to its row in ``judged`` and ``weight``.
        num_studies: rows; the loss is the mean over them.
        num_passes: forward and backward passes that every process runs where the weights are shared out.
        tokens_per_study: for a policy loss that averages over the tokens of all rows, their mean number; else None.
    """

    rollouts: Rollouts | None
    judged: JudgedRollouts | None
    weight: Tensor
    rows: Mapping[int, int]
    num_studies: int
    num_passes: int
    tokens_per_study: float | None

    def rows_of(self, micro: MicroBatch) -> list[int]:
        """The rows of a micro-batch's studies."""
        return [self.rows[place] for place in micro.indices]


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
        self._labeler = labeler
        self._sampling = sampling
        self._greedy = replace(sampling, per_study=1, greedy=True)
        self._settings = settings
        self._num_steps = num_steps
        self._seed = seed
        self._ranks = ranks or Ranks()
        self.last_step: StepResult | None = None
        self.generated: list[Generated] = []
        self._evaluation = ExitStack()
        self._collected: list[list[ReportPair]] = []
        self._collected_seconds: list[float] = []

    # ---- training

    def training_step(self, batch: StudyBatch, batch_index: int) -> None:
        """One pass of Algorithm 1's inner loop over B studies, of which this process holds its share.

        Raises:
            NonFiniteError: a reward, log-probability, loss or gradient is NaN or infinite; it carries the study ids.
            RunPaused: no judge answers for any study of the batch, or no server samples; nothing has changed yet.
        """
        watch = Stopwatch()
        totals = dict(self._reward.judge.totals())
        with watch.phase("rollout"):
            # One encoding of the images serves rollouts, reference and update; of a tower that trains, rollouts and
            # first inner step, where that is one backward pass.
            is_one_pass = not self._is_sharded and len(batch) <= self._settings.studies_per_micro_batch
            batch = self.policy.with_images_encoded(batch, keeps_graph=is_one_pass)
        with self._whole_policy():
            rollouts = self._agreed(batch, lambda: self._roll_out(batch, batch_index, watch))
        # The reference is scored while a judge elsewhere reads: neither needs the other.
        with watch.phase("reference"):
            micro_batches = self._micro_batches(batch, rollouts, range(len(batch)))
            self._score_along(
                batch, self._num_passes(self._ranks.shard.sizes(self._settings.batch_size)), micro_batches
            )
        first_draw = told = self._ranks.exchange(lambda: self._tell(batch, rollouts, watch))
        num_redrawn = 0
        if rollouts is not None and self._objective.max_redraws is not None:
            rollouts, told, num_redrawn = self._draw_again(batch, batch_index, rollouts, told, watch)
        studies = [study for one in told for study in one.studies]
        judged = None if rollouts is None else self._judged(told, first_draw, studies)
        rows = self._rows(told, judged)
        if judged is not None and (judged.num_dropped or num_redrawn):
            with watch.phase("reference"):
                micro_batches = self._micro_batches(batch, rollouts, rows)
                self._score_along(batch, self._num_passes(kept_per_rank(told, judged)), micro_batches)
            studies = list(judged.studies)
        weight = self._objective.fixed_weight(len(studies)) if judged is None else judged.mixing.weight
        num_passes = self._num_passes(kept_per_rank(told, judged))
        update = Update(rollouts, judged, weight, rows, len(studies), num_passes, self._tokens_per_study(judged))
        outputs: list[ObjectiveOutput] = []
        with watch.phase("update"):
            for _ in range(self._settings.inner_steps):
                everyone = self._ranks.exchange(partial(self._backward_passes, batch, micro_batches, update))
                outputs += [output for one in everyone for output in one]
                micro_batches = [micro.after_a_step() for micro in micro_batches]
                with naming_studies(studies):
                    grad_norm, learning_rate = self._optimiser_step()
        metrics = step_metrics(judged, outputs, self._slowest(watch), grad_norm, learning_rate)
        metrics |= self._judge_metrics(totals)
        if rollouts is not None:
            metrics |= self._rollout_metrics()
        if judged is not None and self._objective.max_redraws is not None:
            metrics["redrawn_groups"] = float(num_redrawn)
            metrics["left_out_groups"] = float(len(flat_groups(judged.breakdowns)))
        self.last_step = StepResult(judged, metrics)
        shown = ("reward", "zero_reward_rate", "mixing_weight")
        self.log_dict({name: metrics[name] for name in shown}, prog_bar=True, logger=False)
        for logger in self.loggers:
            logger.log_metrics({f"train/{name}": value for name, value in metrics.items()}, step=batch_index + 1)

    def _agreed(self, batch: StudyBatch, work: Callable[[], T]) -> T:
        """The work's result once it has succeeded in all processes; see ``Ranks.agree``."""

        def named() -> T:
            with naming_studies(batch.studies):
                return work()

        return self._ranks.agree(named)

    def _roll_out(self, batch: StudyBatch, batch_index: int, watch: Stopwatch) -> Rollouts | None:
        if not self._objective.needs_rollouts:
            return None
        with watch.phase("rollout"):
            groups = self._draw(batch, batch_index, range(len(batch)))
        with watch.phase("reward"):
            return Rollouts(groups, self._start_judging(batch, groups))

    def _draw(
        self, batch: StudyBatch, batch_index: int, places: Iterable[int], attempt: int = 0
    ) -> tuple[RolloutGroup, ...]:
        """Rollouts of these studies, which stand at ``places`` of this process's batch; draws differ by attempt."""
        if not self._ranks.is_joined:
            return self._rollouts.roll_out(batch, self._sampling)
        # What a study draws depends on its place in the whole batch, not on the process that holds it.
        first = self._ranks.shard.of(self._settings.batch_size).start + attempt * self._settings.batch_size
        seeds = [draw_seed(self._seed, batch_index, first + place) for place in places]
        return self._rollouts.roll_out(batch, self._sampling, seeds)

    def _draw_again(
        self, batch: StudyBatch, batch_index: int, rollouts: Rollouts, told: list[Told], watch: Stopwatch
    ) -> tuple[Rollouts, list[Told], int]:
        """Dynamic sampling: draws groups without variance again, up to the objective's limit.

        Returns:
            The rollouts to train on, what all processes tell of theirs, and how many groups were drawn again.
        """
        groups = list(rollouts.groups)

        def redraw(attempt: int) -> Told:
            own = told[self._ranks.shard.rank]
            places = flat_groups(own.judged)
            if not places:
                return own
            part = batch.select(places)
            with watch.phase("rollout"):
                new = self._draw(part, batch_index, places, attempt)
            after = self._tell(part, Rollouts(new, self._start_judging(part, new)), watch)
            now, taken = with_redrawn(own, places, after.groups, after.judged)
            for place in taken:
                groups[place] = new[places.index(place)]
            return now

        num_redrawn = 0
        for attempt in range(1, (self._objective.max_redraws or 0) + 1):
            num_flat = sum(len(flat_groups(one.judged)) for one in told)
            if num_flat == 0:
                break
            num_redrawn += num_flat
            with self._whole_policy():
                told = self._ranks.exchange(partial(redraw, attempt))
        return Rollouts(tuple(groups), rollouts.pending), told, num_redrawn

    def _start_judging(self, batch: StudyBatch, groups: Sequence[RolloutGroup]) -> PendingRewards:
        reports = [text for group in groups for text in group.texts]
        labels: list[LabelStates] = [study.labels for study in batch.studies for _ in range(self._sampling.per_study)]
        return self._reward.start(reports, labels)

    def _tell(self, batch: StudyBatch, rollouts: Rollouts | None, watch: Stopwatch) -> Told:
        """Waits for the rewards of this process's rollouts."""
        if rollouts is None:
            return Told(batch.studies)
        per_study = self._sampling.per_study
        with watch.phase("reward"), naming_studies(batch.studies):
            flat = rollouts.pending.result()
        judged = tuple(tuple(flat[i : i + per_study]) for i in range(0, len(flat), per_study))
        return Told(batch.studies, tuple(on_cpu(group) for group in rollouts.groups), judged)

    def _judged(self, told: Sequence[Told], first_draw: Sequence[Told], studies: Sequence[Study]) -> JudgedRollouts:
        """The rollouts of all processes; each takes in the rewards of the whole batch, so that their states agree.

        The zero-reward rate is that of the first draw: it measures the policy, not what was drawn again.
        """
        groups = [group for one in told for group in one.groups]
        kept, breakdowns = whole_groups([group for one in told for group in one.judged])
        _, drawn_first = whole_groups([group for one in first_draw for group in one.judged])
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

    def _tokens_per_study(self, judged: JudgedRollouts | None) -> float | None:
        """Of all studies of the step, whichever micro-batch or process holds them."""
        if judged is None:
            return None
        num_tokens = torch.tensor([[len(ids) for ids in group.token_ids] for group in judged.groups])
        finished = torch.tensor([group.finished for group in judged.groups])
        counted = self._objective.loss_tokens(num_tokens, judged.rewards.cpu(), finished)
        return None if counted is None else counted.sum().item() / len(judged.groups)

    def _rows(self, told: Sequence[Told], judged: JudgedRollouts | None) -> dict[int, int]:
        """From the place of a study in this process's batch to its row among the kept studies of all processes."""
        rank = self._ranks.shard.rank
        first = sum(len(one.studies) for one in told[:rank])
        own = range(first, first + len(told[rank].studies))
        kept = own if judged is None else judged.kept
        return {place - first: row if judged is not None else place for row, place in enumerate(kept) if place in own}

    def _micro_batches(self, batch: StudyBatch, rollouts: Rollouts | None, places: Iterable[int]) -> list[MicroBatch]:
        size = self._settings.studies_per_micro_batch
        order = list(places)
        groups = None if rollouts is None else rollouts.groups
        if groups is not None:
            # Studies with rollouts of similar length share a micro-batch: less padding, the same sum.
            order.sort(key=lambda i: sum(len(ids) for ids in groups[i].token_ids))
        micro_batches = []
        for first in range(0, len(order), size):
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
            with self._passes():
                logps = None if reference is None else reference.score(part, completions, self._sampling.temperature)
            micro_batches.append(MicroBatch(indices, part, completions, logps))
        return micro_batches

    def _backward_passes(
        self, batch: StudyBatch, micro_batches: Sequence[MicroBatch], update: Update
    ) -> list[ObjectiveOutput]:
        outputs: list[ObjectiveOutput] = []
        failure: NonFiniteError | None = None
        with naming_studies(batch.studies), self._passes():
            for micro in micro_batches:
                try:
                    outputs.append(without_graph(self._backward(micro, update)))
                except NonFiniteError as error:
                    if not self._is_sharded:
                        raise
                    # The others need this process in their passes through the layers.
                    failure = failure or error
            for _ in range(update.num_passes - len(micro_batches)):
                self.manual_backward(0.0 * _total(self.policy(*_one_study(batch))))
            if failure is not None:
                raise failure
        return outputs

    def _backward(self, micro: MicroBatch, update: Update) -> ObjectiveOutput:
        logps = self.policy(micro.batch, micro.completions, self._sampling.temperature)
        weight = update.weight[update.rows_of(micro)]
        # Gradients are summed over micro-batches and processes: the mean over all studies of the step. Where weights
        # are shared out, torch takes the mean over processes, so that the sum needs their number.
        share = len(micro.indices) * (self._ranks.shard.size if self._is_sharded else 1) / update.num_studies
        with naming_studies(micro.batch.studies):
            try:
                output = self._objective.loss(self._scored(micro, update, logps), weight)
                if not bool(torch.isfinite(output.loss)):
                    raise NonFiniteError(f"the loss is {output.loss.item()}")
            except NonFiniteError:
                if self._is_sharded:
                    self.manual_backward(0.0 * _total(logps))
                raise
        self.manual_backward(output.loss * share)
        return output

    # ---- weights that are shared out

    def configure_model(self) -> None:
        """Shares the weights of policy and reference out among the processes, where the strategy says so."""
        strategy = self.trainer.strategy
        if isinstance(strategy, Sharded):
            shard(self.policy, strategy.shard_mesh)
            if isinstance(reference := self._reference[0], FrozenCopyReference):
                shard(reference.copy, strategy.shard_mesh)

    @property
    def _is_sharded(self) -> bool:
        return is_sharded(self.policy)

    @contextmanager
    def _whole_policy(self) -> Iterator[None]:
        """The policy with all its weights, for rollouts."""
        if not self._is_sharded:
            yield
            return
        self._ranks.agree(lambda: None)  # all are here: none has failed to read its batch
        with whole(self.policy):
            yield

    def _passes(self) -> AbstractContextManager[None]:
        """Around forward and backward passes layer by layer."""
        return casts_not_kept() if self._is_sharded else nullcontext()

    def _num_passes(self, num_studies: Iterable[int]) -> int:
        """How many micro-batches the process with most studies has; 0 where each may have its own number."""
        return math.ceil(max(num_studies) / self._settings.studies_per_micro_batch) if self._is_sharded else 0

    def _score_along(self, batch: StudyBatch, num_passes: int, micro_batches: Sequence[MicroBatch]) -> None:
        """Scores by the reference as often as the process with most studies does: they exchange weights."""
        reference = self._reference[0]
        if reference is not None and self._objective.needs_reference:
            for _ in range(num_passes - len(micro_batches)):
                with self._passes():
                    reference.score(*_one_study(batch), self._sampling.temperature)

    def _scored(self, micro: MicroBatch, update: Update, logps: tuple[tuple[Tensor, ...], ...]) -> ScoredGroups:
        rollouts, judged = update.rollouts, update.judged
        num_rollouts = 0 if rollouts is None else self._sampling.per_study
        reference = micro.reference_logps
        oracle = oracle_reference = oracle_mask = None
        if self._objective.needs_oracle:
            oracle = pad_groups([study[num_rollouts:] for study in logps])[:, 0]
            oracle_mask = group_mask([study[num_rollouts:] for study in logps])[:, 0]
            if reference is not None:
                oracle_reference = pad_groups([study[num_rollouts:] for study in reference])[:, 0]
        if rollouts is None or judged is None:
            assert oracle is not None
            assert oracle_mask is not None
            return ScoredGroups.without_rollouts(oracle, oracle_mask, oracle_reference)
        rollout_reference = None if reference is None else pad_groups([study[:num_rollouts] for study in reference])
        return ScoredGroups(
            policy_logps=pad_groups([study[:num_rollouts] for study in logps]),
            old_logps=pad_groups([rollouts.groups[i].old_logps for i in micro.indices]),
            ref_logps=rollout_reference,
            completion_mask=group_mask([study[:num_rollouts] for study in logps]),
            rewards=judged.rewards[update.rows_of(micro)],
            oracle_policy_logps=oracle,
            oracle_ref_logps=oracle_reference,
            oracle_mask=oracle_mask,
            finished=torch.tensor([rollouts.groups[i].finished for i in micro.indices], device=self.device),
            tokens_per_study=update.tokens_per_study,
        )

    def _optimiser_step(self) -> tuple[float, float]:
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        strategy = self.trainer.strategy
        if isinstance(strategy, DataParallel):
            strategy.sum_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._settings.max_grad_norm)
        grad_norm = (norm.full_tensor() if isinstance(norm, DTensor) else norm).item()
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

    def _slowest(self, watch: Stopwatch) -> dict[str, float]:
        """Seconds per phase, of the process that took longest."""
        everyone = self._ranks.exchange(lambda: watch.seconds)
        return {phase: max(seconds.get(phase, 0.0) for seconds in everyone) for phase in watch.seconds}

    def _judge_metrics(self, totals: Mapping[str, float]) -> dict[str, float]:
        """What this step added to the totals of all judges."""
        everyone = self._ranks.exchange(lambda: judge_metrics(totals, self._reward.judge.totals()))
        return {name: sum(one[name] for one in everyone) for name in everyone[0]}

    def _rollout_metrics(self) -> dict[str, float]:
        """What the source of rollouts tells of this step, as a mean over the processes."""
        everyone = self._ranks.exchange(self._rollouts.metrics)
        return {name: sum(one[name] for one in everyone) / len(everyone) for name in everyone[0]}

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
        self._evaluation = ExitStack()
        self._evaluation.enter_context(self._whole_policy())

    def validation_step(self, batch: StudyBatch, batch_index: int, dataloader_idx: int = 0) -> None:
        """Generates one report per study, greedily."""
        if dataloader_idx == len(self._collected):
            self._collected.append([])
            self._collected_seconds.append(0.0)
        watch = Stopwatch()
        with watch.phase("generate"):
            groups = self._rollouts.roll_out(batch, self._greedy)
        self._collected_seconds[dataloader_idx] += watch.seconds["generate"]
        reports = [group.texts[0] for group in groups]
        self._collected[dataloader_idx].extend(pair_reports(batch.studies, reports, self._labeler))

    def on_validation_epoch_end(self) -> None:
        """Hands over what was generated in all processes, each study once and in the order of the split."""
        self._evaluation.close()
        everyone = self._ranks.exchange(lambda: (self._collected, self._collected_seconds))
        self.generated = []
        for loader in range(len(self._collected)):
            pairs: dict[str, ReportPair] = {}
            for collected, _ in everyone:
                for pair in collected[loader]:
                    # A process without studies has generated for the first one, which another one or itself holds.
                    pairs.setdefault(pair.study_id, pair)
            self.generated.append(Generated(tuple(pairs.values()), max(seconds[loader] for _, seconds in everyone)))

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


def _one_study(batch: StudyBatch) -> tuple[StudyBatch, tuple[tuple[Tensor, ...], ...]]:
    """Something to score that is always there: the batch's first study and its oracle report."""
    return batch.select([0]), ((batch.oracle_ids[0],),)


def _total(logps: Iterable[Iterable[Tensor]]) -> Tensor:
    """The sum of all log-probabilities, for a backward pass through them."""
    return torch.stack([completion.sum() for study in logps for completion in study]).sum()
