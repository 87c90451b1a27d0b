"""What one training step knows: rollouts, their judgement, the mixture, the seconds, the metrics."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor

from orapo.batches import RolloutGroup
from orapo.errors import RunPaused
from orapo.objective.orapo import Mixing
from orapo.objective.tensors import ObjectiveOutput
from orapo.records import FailedJudgement, RewardBreakdown, Study
from orapo.reward.protocol import PendingRewards


@dataclass
class Stopwatch:
    """Seconds spent per phase of one step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time of the block to ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class Rollouts:
    """K rollouts of each of B studies, being judged.

    Attributes:
        groups: length B.
        pending: the rewards of all B x K rollouts, study by study.
    """

    groups: tuple[RolloutGroup, ...]
    pending: PendingRewards


@dataclass(frozen=True)
class Told:
    """What a process tells the others of its share of a batch, once its rollouts have been judged.

    Attributes:
        studies: of this process.
        groups: their rollouts, on the CPU; none for an objective without rollouts.
        judged: per study, its K judgements; likewise.
    """

    studies: tuple[Study, ...]
    groups: tuple[RolloutGroup, ...] = ()
    judged: tuple[tuple[RewardBreakdown | FailedJudgement, ...], ...] = ()


@dataclass(frozen=True)
class JudgedRollouts:
    """K rollouts of each of B studies, those of all processes, with what they earned.

    A study one of whose rollouts could not be judged is not among them: the rest of its group would be compared with
    an invented reward.

    Attributes:
        studies: length B.
        groups: length B, on the CPU.
        breakdowns: per study, K breakdowns.
        rewards: [B, K], float32, in [0, 1].
        mixing: the oracle's share per study.
        kept: places of these studies in the batch that was rolled out.
        num_dropped: studies of that batch that are missing here.
    """

    studies: tuple[Study, ...]
    groups: tuple[RolloutGroup, ...]
    breakdowns: tuple[tuple[RewardBreakdown, ...], ...]
    rewards: Tensor
    mixing: Mixing
    kept: tuple[int, ...]
    num_dropped: int


@dataclass(frozen=True)
class StepResult:
    """Everything that a callback may want to write down after a step.

    Attributes:
        judged: the studies with their rollouts, or None for an objective without rollouts.
        metrics: name -> value; the row of metrics.csv without the step.
    """

    judged: JudgedRollouts | None
    metrics: Mapping[str, float]


JUDGE_METRICS = {
    "calls": "judge_calls",
    "cache_hits": "judge_cache_hits",
    "retries": "judge_retries",
    "prompt_tokens": "judge_prompt_tokens",
    "completion_tokens": "judge_completion_tokens",
    "cost_usd": "judge_cost_usd",
    "offline_reports": "judge_offline_reports",
}
"""From a judge's totals to the column that holds what one step added."""

METRIC_NAMES = (
    "reward",
    "reward_precision",
    "reward_recall",
    "zero_reward_rate",
    "all_zero_group_fraction",
    "mixing_weight",
    "loss",
    "policy_loss",
    "oracle_loss",
    "kl",
    "clip_fraction",
    "dpo_margin",
    "dpo_accuracy",
    "completion_tokens",
    "finished_fraction",
    "grad_norm",
    "learning_rate",
    "seconds_rollout",
    "seconds_reward",
    "seconds_reference",
    "seconds_update",
    "dropped_studies",
    "redrawn_groups",
    "left_out_groups",
    "rollout_logp_gap",
    *JUDGE_METRICS.values(),
)
"""The columns of metrics.csv behind the step; docs/metrics.md says what each means."""


def step_metrics(
    judged: JudgedRollouts | None,
    outputs: Sequence[ObjectiveOutput],
    seconds: Mapping[str, float],
    grad_norm: float,
    learning_rate: float,
) -> dict[str, float]:
    """One row of metrics.csv; NaN where a quantity does not exist for this objective or batch.

    Args:
        judged: the rollouts, or None.
        outputs: of every micro-batch and inner step.
        seconds: per phase.
        grad_norm: before clipping, of the last inner step.
        learning_rate: that the last optimiser step used.
    """
    row = dict.fromkeys(METRIC_NAMES, float("nan"))
    if judged is not None:
        flat = [breakdown for group in judged.breakdowns for breakdown in group]
        lengths = torch.tensor([float(len(ids)) for group in judged.groups for ids in group.token_ids])
        row["reward"] = judged.rewards.mean().item()
        row["reward_precision"] = sum(b.precision for b in flat) / len(flat)
        row["reward_recall"] = sum(b.recall for b in flat) / len(flat)
        row["zero_reward_rate"] = judged.mixing.zero_reward_rate.mean().item()
        row["all_zero_group_fraction"] = judged.mixing.all_zero_group.float().mean().item()
        row["completion_tokens"] = lengths.mean().item()
        row["dropped_studies"] = float(judged.num_dropped)
        row["finished_fraction"] = sum(sum(g.finished) for g in judged.groups) / len(flat)
    studies = torch.cat([output.weight for output in outputs])
    row["mixing_weight"] = studies.mean().item()
    row["loss"] = sum(o.loss.item() * len(o.weight) for o in outputs) / len(studies)
    row["policy_loss"] = _mean([o.policy_loss for o in outputs])
    row["oracle_loss"] = _mean([o.oracle_loss for o in outputs])
    for name in ("kl", "clip_fraction", "dpo_margin", "dpo_accuracy"):
        row[name] = _mean([o.diagnostics.get(name) for o in outputs])
    row["grad_norm"] = grad_norm
    row["learning_rate"] = learning_rate
    row.update({f"seconds_{phase}": value for phase, value in seconds.items()})
    return row


def judge_metrics(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What one step added to a judge's totals; nothing for a judge that counts nothing."""
    return {column: after[name] - before.get(name, 0.0) for name, column in JUDGE_METRICS.items() if name in after}


def draw_seed(seed: int, step: int, place: int) -> int:
    """The seed of one study's draws, in [0, 2**63): of the run, the step and the study's place in the whole batch."""
    words = np.random.SeedSequence((seed, step, place)).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def kept_per_rank(told: Sequence[Told], judged: JudgedRollouts | None) -> list[int]:
    """How many studies each process trains on."""
    ends = list(accumulate((len(one.studies) for one in told), initial=0))
    places = range(ends[-1]) if judged is None else judged.kept
    return [sum(first <= place < end for place in places) for first, end in pairwise(ends)]


def on_cpu(group: RolloutGroup) -> RolloutGroup:
    """The same rollouts with their tensors on the CPU."""
    token_ids = tuple(ids.cpu() for ids in group.token_ids)
    old_logps = tuple(logps.cpu() for logps in group.old_logps)
    return replace(group, token_ids=token_ids, old_logps=old_logps)


def without_graph(output: ObjectiveOutput) -> ObjectiveOutput:
    """The same values on the CPU, without what a backward pass needs."""

    def plain(values: Tensor) -> Tensor:
        return values.detach().cpu()

    return ObjectiveOutput(
        loss=plain(output.loss),
        policy_loss=None if output.policy_loss is None else plain(output.policy_loss),
        oracle_loss=None if output.oracle_loss is None else plain(output.oracle_loss),
        weight=plain(output.weight),
        diagnostics={name: plain(values) for name, values in output.diagnostics.items()},
    )


def whole_groups(
    groups: Sequence[Sequence[RewardBreakdown | FailedJudgement]],
) -> tuple[tuple[int, ...], tuple[tuple[RewardBreakdown, ...], ...]]:
    """The groups in which every rollout was judged: their places, and their breakdowns.

    Raises:
        RunPaused: there is none.
    """
    judged = [tuple(rollout for rollout in group if isinstance(rollout, RewardBreakdown)) for group in groups]
    kept = tuple(i for i, group in enumerate(groups) if len(judged[i]) == len(group))
    if not kept:
        reason = next(rollout.reason for rollout in groups[0] if isinstance(rollout, FailedJudgement))
        raise RunPaused(f"no study of this step could be judged: {reason}")
    return kept, tuple(judged[i] for i in kept)


def _mean(parts: Sequence[Tensor | None]) -> float:
    """The mean over studies, leaving out those for which the quantity is undefined."""
    present = [part.detach().float() for part in parts if part is not None]
    return torch.cat(present).nanmean().item() if present else float("nan")
