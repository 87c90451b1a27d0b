"""Direct preference optimisation of the oracle report over the rollouts, equations (5)-(7) and (12)."""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

from orapo.bounds import require_boolean, require_number
from orapo.objective.losses import require_part
from orapo.objective.tensors import ScoredGroups, StudyLoss, counted, require


class Negatives(Protocol):
    """Which rollouts of a study lose against its oracle report, equation (12)."""

    def __call__(self, rewards: Tensor) -> Tensor:
        """Bool [B, K] from rewards [B, K]."""


@dataclass(frozen=True)
class AllRollouts:
    """Every rollout loses against the oracle report."""

    def __call__(self, rewards: Tensor) -> Tensor:
        """True everywhere, [B, K]."""
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


def preference_loss(margin: Tensor) -> Tensor:
    """L_DPO = -log sigmoid(margin), equation (7), with margin = beta_DPO * (h(y+) - h(y-)); ln 2 at margin 0."""
    return softplus(-margin)


@dataclass(frozen=True)
class Dpo:
    """L_DPO(i): the mean over the pairs (oracle report, losing rollout) of a study; 0 when it has no pair.

    Attributes:
        dpo_beta: beta_DPO, above 0.
        length_normalised: LN-DPO, log-ratios per token, instead of their sum.
        negatives: which rollouts lose.
    """

    dpo_beta: float
    length_normalised: bool = True
    negatives: Negatives = field(default_factory=AllRollouts)

    def __post_init__(self) -> None:
        require_number("dpo_beta", self.dpo_beta, above=0)
        require_boolean("length_normalised", self.length_normalised)
        require_part("negatives", self.negatives, example="AllRollouts()")

    @property
    def needs_reference(self) -> bool:
        """Always."""
        return True

    @property
    def needs_rollouts(self) -> bool:
        """Always."""
        return True

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """Equation (7) over the pairs of (12).

        Diagnostics: ``dpo_num_pairs``; ``dpo_margin``, the mean of beta_DPO * (h(y+) - h(y-)), and ``dpo_accuracy``,
        the share of pairs with a margin above 0, both NaN for a study without a pair.

        Raises:
            DataError: the oracle report, or the reference's view of it or of the rollouts, is missing.
        """
        margin = self.dpo_beta * (self._oracle_reward(scored).unsqueeze(-1) - self._rollout_rewards(scored))
        is_pair = self.negatives(scored.rewards)
        num_pairs = is_pair.sum(dim=-1).to(margin.dtype)
        total = preference_loss(margin).masked_fill(~is_pair, 0.0).sum(dim=-1)
        margins = margin.detach().masked_fill(~is_pair, 0.0)
        return StudyLoss(
            loss=total / num_pairs.clamp(min=1),
            diagnostics={
                "dpo_num_pairs": num_pairs,
                "dpo_margin": margins.sum(dim=-1) / num_pairs,
                "dpo_accuracy": (margins > 0).sum(dim=-1) / num_pairs,
            },
        )

    def _oracle_reward(self, scored: ScoredGroups) -> Tensor:
        return implicit_reward(
            require("oracle_policy_logps", scored.oracle_policy_logps, "Dpo"),
            require("oracle_ref_logps", scored.oracle_ref_logps, "Dpo"),
            require("oracle_mask", scored.oracle_mask, "Dpo"),
            length_normalised=self.length_normalised,
        )

    def _rollout_rewards(self, scored: ScoredGroups) -> Tensor:
        return implicit_reward(
            scored.policy_logps,
            require("ref_logps", scored.ref_logps, "Dpo"),
            scored.completion_mask,
            length_normalised=self.length_normalised,
        )
