"""What losses that prefer the oracle report to rollouts share: pairs, their mean, their diagnostics."""

from dataclasses import dataclass
from typing import Annotated, Protocol

import torch
from torch import Tensor

from orapo.objective.losses import part
from orapo.objective.tensors import ScoredGroups, counted, require


class Negatives(Protocol):
    """Which rollouts of a study lose against its oracle report, equation (12)."""

    def __call__(self, rewards: Tensor) -> Tensor:
        """Bool [B, K] from rewards [B, K], 0 where a rollout counts as a reward of zero."""


LosingRollouts = Annotated[Negatives, part("AllRollouts()")]


@dataclass(frozen=True)
class AllRollouts:
    """Every rollout loses against the oracle report."""

    def __call__(self, rewards: Tensor) -> Tensor:
        return torch.ones_like(rewards, dtype=torch.bool)


@dataclass(frozen=True)
class ZeroRewardRollouts:
    """Only a rollout that earned nothing loses against the oracle report."""

    def __call__(self, rewards: Tensor) -> Tensor:
        """True where the reward is exactly 0, [B, K]."""
        return rewards == 0


def implicit_reward(policy_logps: Tensor, ref_logps: Tensor, mask: Tensor, *, length_normalised: bool) -> Tensor:
    """h(y) = log pi_theta(y | x) - log pi_ref(y | x), equations (5) and (6), over the last dimension.

    Args:
        policy_logps: [..., T].
        ref_logps: [..., T]; gets no gradient.
        mask: [..., T] bool, at least one True per completion.
        length_normalised: divide by the number of tokens that count, LN-DPO.

    Returns:
        [...], in nats, or nats per token.
    """
    difference = (counted(policy_logps, mask) - counted(ref_logps.detach(), mask)).sum(dim=-1)
    return difference / mask.sum(dim=-1) if length_normalised else difference


def implicit_rewards(scored: ScoredGroups, user: str, *, length_normalised: bool) -> tuple[Tensor, Tensor]:
    """The log-ratios h of the oracle reports [B, 1] and of the rollouts [B, K].

    Raises:
        DataError: the oracle report, or the reference's view of it or of the rollouts, is missing.
    """
    oracle = implicit_reward(
        require("oracle_policy_logps", scored.oracle_policy_logps, user),
        require("oracle_ref_logps", scored.oracle_ref_logps, user),
        require("oracle_mask", scored.oracle_mask, user),
        length_normalised=length_normalised,
    )
    ref_logps = require("ref_logps", scored.ref_logps, user)
    rollouts = implicit_reward(
        scored.policy_logps, ref_logps, scored.completion_mask, length_normalised=length_normalised
    )
    return oracle.unsqueeze(-1), rollouts


def mean_logps(scored: ScoredGroups, user: str) -> tuple[Tensor, Tensor]:
    """(1 / |y|) log pi_theta(y | x), at most 0, of the oracle reports [B, 1] and of the rollouts [B, K].

    Raises:
        DataError: the oracle report is not scored.
    """
    oracle = require("oracle_policy_logps", scored.oracle_policy_logps, user)
    mask = require("oracle_mask", scored.oracle_mask, user)
    return _mean_logp(oracle, mask).unsqueeze(-1), _mean_logp(scored.policy_logps, scored.completion_mask)


def mean_over_pairs(values: Tensor, is_pair: Tensor) -> Tensor:
    """The mean of [B, K] over the pairs of each study, [B]; 0, without gradient, for a study that has none."""
    total = values.masked_fill(~is_pair, 0.0).sum(dim=-1)
    return total / is_pair.sum(dim=-1).clamp(min=1)


@torch.no_grad()
def pair_diagnostics(margin: Tensor, is_pair: Tensor) -> dict[str, Tensor]:
    """Diagnostics of each study's pairs, each [B].

    ``dpo_num_pairs``; ``dpo_margin``, the mean of what the loss puts into its sigmoid, and ``dpo_accuracy``, the share
    of pairs where that is above 0, both NaN for a study without a pair.
    """
    num_pairs = is_pair.sum(dim=-1).to(margin.dtype)
    margins = margin.masked_fill(~is_pair, 0.0)
    return {
        "dpo_num_pairs": num_pairs,
        "dpo_margin": margins.sum(dim=-1) / num_pairs,
        "dpo_accuracy": (margins > 0).sum(dim=-1) / num_pairs,
    }


def _mean_logp(logps: Tensor, mask: Tensor) -> Tensor:
    return counted(logps, mask).sum(dim=-1) / mask.sum(dim=-1)
