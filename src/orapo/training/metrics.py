"""The metrics of a training step: seconds per phase, and one row of metrics.csv."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from orapo.measures.words import repetition
from orapo.objective.orapo import Mixing
from orapo.training.experience import Experience
from orapo.training.update import Losses


@dataclass
class Stopwatch:
    """Seconds spent per phase of one step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the block's time to ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


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
    "repetition",
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
    "rollout_logp_gap_max",
    "effective_sample_size",
    "corrected_fraction",
    *JUDGE_METRICS.values(),
)
"""The columns of metrics.csv after the step; docs/metrics.md says what each means."""

DIAGNOSTICS = ("kl", "clip_fraction", "dpo_margin", "dpo_accuracy", "effective_sample_size", "corrected_fraction")
"""Of the losses, per study: a step's value is the mean over its studies."""

TERM_PREFIX = "term_"
"""Before the name of a term of the reward: the columns after those above."""

SHOWN = {
    "reward": "reward",
    "reward_precision": "precision",
    "zero_reward_rate": "zero_reward_rate",
    "mixing_weight": "mixing_weight",
    "completion_tokens": "tokens",
    "repetition": "repetition",
}
"""What the progress line shows, and by which name: a policy that is paid for more words is seen."""


def step_metrics(
    experience: Experience, losses: Sequence[Losses], seconds: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """One row of metrics.csv; NaN where a quantity does not exist for this objective or batch.

    Args:
        experience: of the step.
        losses: of every inner step.
        seconds: of each process, per phase; the slowest counts.
    """
    row = dict.fromkeys(METRIC_NAMES, float("nan"))
    if experience.mixing is not None:
        row |= _rollout_metrics(experience, experience.mixing)
    outputs = [output for one in losses for output in one.outputs]
    weights = torch.cat([output.weight for output in outputs])
    row["mixing_weight"] = weights.mean().item()
    row["loss"] = sum(o.loss.item() * len(o.weight) for o in outputs) / len(weights)
    row["policy_loss"] = _mean([o.policy_loss for o in outputs])
    row["oracle_loss"] = _mean([o.oracle_loss for o in outputs])
    for name in DIAGNOSTICS:
        row[name] = _mean([o.diagnostics.get(name) for o in outputs])
    row["grad_norm"], row["learning_rate"] = losses[-1].grad_norm, losses[-1].learning_rate
    row |= {f"seconds_{phase}": max(one.get(phase, 0.0) for one in seconds) for phase in seconds[0]}
    return row | dict(experience.metrics)


def _rollout_metrics(experience: Experience, mixing: Mixing) -> dict[str, float]:
    flat = [breakdown for group in experience.breakdowns for breakdown in group]
    lengths = torch.tensor([float(len(ids)) for group in experience.rollouts for ids in group.token_ids])
    return {
        "reward": experience.rewards.mean().item(),
        "reward_precision": sum(b.precision for b in flat) / len(flat),
        "reward_recall": sum(b.recall for b in flat) / len(flat),
        "zero_reward_rate": mixing.zero_reward_rate.mean().item(),
        "all_zero_group_fraction": mixing.all_zero_group.float().mean().item(),
        "completion_tokens": lengths.mean().item(),
        "finished_fraction": sum(sum(group.finished) for group in experience.rollouts) / len(flat),
        "repetition": sum(repetition(text) for group in experience.rollouts for text in group.texts) / len(flat),
        **{f"{TERM_PREFIX}{name}": values.nanmean().item() for name, values in experience.terms.items()},
    }


def judge_metrics(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What one step added to a judge's totals; empty for a judge that has none."""
    return {column: after[name] - before.get(name, 0.0) for name, column in JUDGE_METRICS.items() if name in after}


def _mean(parts: Sequence[Tensor | None]) -> float:
    """The mean over the studies for which the quantity is defined."""
    present = [part.float() for part in parts if part is not None]
    return torch.cat(present).nanmean().item() if present else float("nan")
