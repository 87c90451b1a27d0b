"""Collect: sample K reports a study, judge them, gather them from all processes, weigh the oracle."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from orapo.batches import RolloutGroup, StudyBatch
from orapo.errors import RunPaused
from orapo.objective.orapo import OrapoObjective
from orapo.policy.model import Policy
from orapo.policy.rollout_source import RolloutSource
from orapo.policy.settings import SamplingSettings
from orapo.records import FailedJudgement, RewardBreakdown
from orapo.reward.protocol import PendingRewards, Reward
from orapo.training.ahead import RolloutsAhead
from orapo.training.distributed import Ranks, sampling_seed
from orapo.training.experience import Experience, JudgedGroup, compared_rewards, naming_studies, term_values
from orapo.training.metrics import Stopwatch, judge_metrics
from orapo.training.micro_batches import ByPlace, ReferenceScorer, study_completions
from orapo.training.sharding import unsharded

Groups = list[list[JudgedGroup]]
"""Of each process, in order of rank, those of its studies."""


class Collector:
    """Makes the ``Experience`` of a step, in all processes at once."""

    def __init__(
        self,
        policy: Policy,
        source: RolloutSource,
        reward: Reward,
        reference: ReferenceScorer | None,
        objective: OrapoObjective,
        sampling: SamplingSettings,
        ranks: Ranks,
        batch_size: int,
        seed: int,
        ahead: RolloutsAhead | None = None,
    ) -> None:
        """Joins the parts.

        Args:
            policy: what the source samples from; its weights may be sharded across the processes.
            source: of rollouts.
            reward: judges them.
            reference: None when the objective needs none.
            objective: says whether rollouts are needed and how often they are resampled; weighs the oracle.
            sampling: how rollouts are sampled.
            ranks: the processes.
            batch_size: B, studies of all processes.
            seed: of the samples where several processes train together.
            ahead: samples the next batch during the update; None samples each batch in its own step.
        """
        self._ahead = ahead
        self._policy = policy
        self._source = source
        self._reward = reward
        self._reference = reference
        self._objective = objective
        self._sampling = sampling
        self._ranks = ranks
        self._batch_size = batch_size
        self._seed = seed

    def collect(self, batch: StudyBatch, step: int, watch: Stopwatch, upcoming: StudyBatch | None = None) -> Experience:
        """Collects the experience of one step: equations (8)-(10) and (13)-(15).

        Args:
            batch: of this process.
            step: number of the training step, from 0.
            watch: receives the seconds of each phase.
            upcoming: this process's batch of the next step, to sample ahead; None after the last step.

        Raises:
            NonFiniteError: a reward or log-probability is NaN or infinite.
            RunPaused: no judge answers for any study, or no server samples; nothing has changed.
        """
        totals = dict(self._reward.totals())
        rollouts, pending = self._start(batch, step, watch, upcoming)
        # The reference scores while a judge elsewhere reads: neither needs the other.
        shares = self._ranks.shard.sizes(self._batch_size)
        ref_logps = self._score(batch, range(len(batch)), rollouts, max(shares), watch)
        first = self._ranks.all_gather(partial(self._judged, batch, rollouts, pending, watch))
        groups, num_resampled = self._resample(batch, step, first, watch)
        if num_resampled:
            ref_logps = {**ref_logps, **self._score_new(batch, first, groups, watch)}
        metrics = self._metrics(totals, groups, num_resampled)
        return self._experience(batch, first, groups, ref_logps, metrics)

    def _start(
        self, batch: StudyBatch, step: int, watch: Stopwatch, upcoming: StudyBatch | None
    ) -> tuple[Sequence[RolloutGroup], PendingRewards | None]:
        """Samples K rollouts of each study; starts to judge them once sampling has succeeded in all processes."""
        if not self._objective.needs_rollouts:
            return (), None
        with unsharded(self._policy, self._ranks):
            started = self._ranks.all_or_raise(partial(self._sample, batch, step, range(len(batch)), 0, watch))
        if self._ahead is not None and upcoming is not None:
            with watch.phase("rollout"):
                seeds = self._seeds(step + 1, range(len(upcoming)), 0)
                self._ranks.all_or_raise(partial(self._ahead.begin, upcoming, step + 1, seeds))
        return started

    def _sample(
        self, batch: StudyBatch, step: int, places: Sequence[int], attempt: int, watch: Stopwatch
    ) -> tuple[Sequence[RolloutGroup], PendingRewards]:
        """Rollouts of the studies at ``places`` of this process's batch; each attempt samples others."""
        seeds = self._seeds(step, places, attempt)
        with naming_studies(batch.studies):
            with watch.phase("rollout"):
                if self._ahead is not None and attempt == 0:
                    groups = self._ahead.take(batch, step, seeds)
                else:
                    groups = self._source.roll_out(batch, self._sampling, seeds)
            reports = [text for group in groups for text in group.texts]
            studies = [study for study in batch.studies for _ in range(self._sampling.per_study)]
            with watch.phase("reward"):
                return groups, self._reward.start(reports, studies)

    def _seeds(self, step: int, places: Sequence[int], attempt: int) -> list[int] | None:
        """Seeds by a study's place in the whole batch, whichever process holds it; None for a single process."""
        if not self._ranks.is_joined:
            return None
        first = self._ranks.shard.of(self._batch_size).start + attempt * self._batch_size
        return [sampling_seed(self._seed, step, first + place) for place in places]

    def _judged(
        self,
        batch: StudyBatch,
        rollouts: Sequence[RolloutGroup],
        pending: PendingRewards | None,
        watch: Stopwatch,
    ) -> list[JudgedGroup]:
        """Waits for the rewards of this process's rollouts."""
        if pending is None:
            return [JudgedGroup(study) for study in batch.studies]
        with watch.phase("reward"), naming_studies(batch.studies):
            flat = pending.result()
        per_study = self._sampling.per_study
        judged = [tuple(flat[i : i + per_study]) for i in range(0, len(flat), per_study)]
        return [
            JudgedGroup(study, group.to("cpu"), own)
            for study, group, own in zip(batch.studies, rollouts, judged, strict=True)
        ]

    def _resample(self, batch: StudyBatch, step: int, first: Groups, watch: Stopwatch) -> tuple[Groups, int]:
        """Dynamic sampling (DAPO): samples groups without variance again, up to a limit, since they teach nothing.

        A new group that could not be judged completely is dropped, and the group before it stays.
        """
        groups, num_resampled, weights = [list(own) for own in first], 0, self._normalised_weights
        for attempt in range(1, (self._objective.max_redraws or 0) + 1):
            places = [[i for i, group in enumerate(own) if group.has_zero_variance(weights)] for own in groups]
            if not any(places):
                break
            num_resampled += sum(map(len, places))
            again = partial(self._sample_again, batch, step, places[self._ranks.shard.rank], attempt, watch)
            with unsharded(self._policy, self._ranks):
                sampled = self._ranks.all_gather(again)
            for own, new in zip(groups, sampled, strict=True):
                for place, group in new.items():
                    own[place] = group
        return groups, num_resampled

    def _sample_again(
        self, batch: StudyBatch, step: int, places: Sequence[int], attempt: int, watch: Stopwatch
    ) -> dict[int, JudgedGroup]:
        if not places:
            return {}
        part = batch.select(places)
        rollouts, pending = self._sample(part, step, places, attempt, watch)
        judged = self._judged(part, rollouts, pending, watch)
        return {place: group for place, group in zip(places, judged, strict=True) if group.is_judged}

    def _score_new(self, batch: StudyBatch, first: Groups, groups: Groups, watch: Stopwatch) -> ByPlace:
        """The reference's scores of the groups that were sampled again."""
        rank = self._ranks.shard.rank
        new = [[i for i in range(len(own)) if own[i] is not old[i]] for own, old in zip(groups, first, strict=True)]
        rollouts = [groups[rank][place].rollouts for place in new[rank]]
        return self._score(batch, new[rank], [one for one in rollouts if one is not None], max(map(len, new)), watch)

    def _score(
        self,
        batch: StudyBatch,
        places: Sequence[int],
        rollouts: Sequence[RolloutGroup],
        most_studies: int,
        watch: Stopwatch,
    ) -> ByPlace:
        """The reference's scores; empty where the objective needs none."""
        if self._reference is None:
            return {}
        with watch.phase("reference"):
            completions = study_completions(batch, places, rollouts, self._objective.needs_oracle)
            return self._reference.score(batch, completions, most_studies)

    def _experience(
        self,
        batch: StudyBatch,
        first: Groups,
        groups: Groups,
        ref_logps: ByPlace,
        metrics: Mapping[str, float],
    ) -> Experience:
        """The experience of all groups that were judged completely.

        The zero-reward rate is that of the first sample: it measures the policy, not what was sampled again.
        """
        kept = [(rank, i) for rank, own in enumerate(groups) for i, group in enumerate(own) if group.is_judged]
        if not kept:
            failed = next(one for one in groups[0][0].judged if isinstance(one, FailedJudgement))
            raise RunPaused(f"no study of this step could be judged: {failed.reason}")
        rows = [groups[rank][i] for rank, i in kept]
        studies = tuple(group.study for group in rows)
        device, mixing = batch.device, None
        if self._objective.needs_rollouts:
            with naming_studies(studies):
                sampled_first = [first[rank][i].breakdowns for rank, i in kept]
                earned, is_zero = _rewards(sampled_first, device), _is_zero(sampled_first, device)
                mixing = self._objective.observe([study.study_id for study in studies], earned, is_zero)
        breakdowns = [group.breakdowns for group in rows]
        told = breakdowns[0][0].terms if mixing else {}
        counts = [sum(1 for owner, _ in kept if owner == rank) for rank in range(len(groups))]
        return Experience(
            studies=studies,
            rollouts=tuple(group.rollouts for group in rows if group.rollouts is not None),
            rewards=_rewards(breakdowns, device),
            breakdowns=tuple(breakdowns) if mixing else (),
            mixing=mixing,
            own_rows={i: row for row, (rank, i) in enumerate(kept) if rank == self._ranks.shard.rank},
            batch=batch,
            ref_logps=ref_logps,
            most_own_rows=max(counts),
            metrics={**metrics, "dropped_studies": float(sum(map(len, groups)) - len(kept))} if mixing else metrics,
            terms={name: values.to(device) for name, values in term_values(breakdowns, list(told)).items()},
            compared=compared_rewards(breakdowns, self._normalised_weights).to(device) if mixing else None,
            is_zero=_is_zero(breakdowns, device) if mixing else None,
        )

    @property
    def _normalised_weights(self) -> Mapping[str, float] | None:
        """The weights of the terms, where advantages normalise each term; None where they use the reward."""
        return self._reward.weights if self._reward.combine == "normalised" else None

    def _metrics(self, totals: Mapping[str, float], groups: Groups, num_resampled: int) -> dict[str, float]:
        """The step's metrics from judges (summed over processes) and rollout sources (mean or largest)."""
        everyone = self._ranks.all_gather(
            lambda: (judge_metrics(totals, self._reward.totals()), dict(self._source.metrics()))
        )
        metrics = {name: sum(judge[name] for judge, _ in everyone) for name in everyone[0][0]}
        if self._objective.needs_rollouts:
            for name in everyone[0][1]:
                values = [source[name] for _, source in everyone]
                metrics[name] = max(values) if name.endswith("_max") else sum(values) / len(values)
        if self._objective.max_redraws is not None:
            metrics["redrawn_groups"] = float(num_resampled)
            weights = self._normalised_weights
            metrics["left_out_groups"] = float(sum(one.has_zero_variance(weights) for own in groups for one in own))
        return metrics


def _rewards(groups: Sequence[Sequence[RewardBreakdown]], device: torch.device) -> Tensor:
    """[B, K], float32."""
    return compared_rewards(groups, None).to(device)


def _is_zero(groups: Sequence[Sequence[RewardBreakdown]], device: torch.device) -> Tensor:
    """[B, K], bool."""
    return torch.tensor([[one.is_zero for one in group] for group in groups], device=device)
