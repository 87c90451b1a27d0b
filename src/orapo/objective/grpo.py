"""Group relative policy optimisation, equations (3) and (4), with GRPO's and Dr.GRPO's advantages and averages."""

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from orapo.errors import DataError
from orapo.objective.advantages import centred_advantages, standardised_advantages
from orapo.objective.tensors import ScoredGroups, StudyLoss, counted, require
from orapo.settings import FractionBelowOne, settings


def clipped_surrogate(log_ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A) of equation (4), with rho = exp(log_ratio) of (3).

    Args:
        log_ratio: [B, K, T], log pi_theta - log pi_old; 0 at padding.
        advantages: [B, K], without gradient.
        clip_low: in [0, 1).
        clip_high: in [0, 1).

    Returns:
        [B, K, T]; larger is better.
    """
    ratio = log_ratio.exp()
    advantages = advantages.unsqueeze(-1)
    return torch.minimum(ratio * advantages, ratio.clamp(1.0 - clip_low, 1.0 + clip_high) * advantages)


def is_clipped(log_ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """Where the clipped branch of equation (4) wins and stops the gradient: bool [B, K, T]."""
    ratio = log_ratio.exp()
    advantages = advantages.unsqueeze(-1)
    return ((ratio > 1.0 + clip_high) & (advantages > 0)) | ((ratio < 1.0 - clip_low) & (advantages < 0))


def k3_kl(policy_logps: Tensor, ref_logps: Tensor) -> Tensor:
    """exp(d) - d - 1 with d = log pi_ref - log pi_theta, per token: never negative, 0 when the two agree."""
    difference = ref_logps - policy_logps
    return torch.expm1(difference) - difference


@settings
class Grpo:
    """L_GRPO(i) with standardised advantages; mean over a rollout's tokens, then over the K rollouts.

    Attributes:
        clip_low: eps_low, in [0, 1).
        clip_high: eps_high, in [0, 1).
        kl_coef: beta_KL, at least 0; at 0 the reference is not needed.
        std_eps: added to the standard deviation of a group's rewards, above 0.
    """

    clip_low: FractionBelowOne = 0.2
    clip_high: FractionBelowOne = 0.2
    kl_coef: NonNegativeFloat = 0.0
    std_eps: PositiveFloat = 1e-4

    @property
    def needs_reference(self) -> bool:
        """True when there is a KL term."""
        return self.kl_coef > 0

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """Equation (4); diagnostics ``clip_fraction`` and, where a reference is given, ``kl``.

        Raises:
            DataError: ``ref_logps`` is None although ``kl_coef`` is above 0.
            SettingError: K is below 2.
        """
        advantages = standardised_advantages(scored.advantage_rewards, self.std_eps).to(scored.policy_logps.dtype)
        gain = _token_gain(scored, advantages, self.clip_low, self.clip_high, self.kl_coef)
        per_rollout = gain.sum(dim=-1) / scored.completion_mask.sum(dim=-1)
        return StudyLoss(
            loss=-per_rollout.mean(dim=-1),
            diagnostics=token_diagnostics(
                scored, is_clipped(log_ratio(scored), advantages, self.clip_low, self.clip_high)
            ),
        )


@settings
class DrGrpo:
    """L_GRPO(i) with centred advantages; sum over tokens divided by the constant K * max_new_tokens.

    Attributes:
        max_new_tokens: the token limit of a rollout, at least 1; the same number that sampling uses.
        clip_low: eps_low, in [0, 1).
        clip_high: eps_high, in [0, 1).
        kl_coef: beta_KL, at least 0; at 0 the reference is not needed.
    """

    max_new_tokens: PositiveInt
    clip_low: FractionBelowOne = 0.2
    clip_high: FractionBelowOne = 0.2
    kl_coef: NonNegativeFloat = 0.0

    @property
    def needs_reference(self) -> bool:
        """True when there is a KL term."""
        return self.kl_coef > 0

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """Equation (4); diagnostics ``clip_fraction`` and, where a reference is given, ``kl``.

        Raises:
            DataError: ``ref_logps`` is None although ``kl_coef`` is above 0, or a rollout has more tokens than
                ``max_new_tokens``.
            SettingError: K is below 2.
        """
        advantages = centred_advantages(scored.advantage_rewards).to(scored.policy_logps.dtype)
        longest = int(scored.completion_mask.sum(dim=-1).max())
        if longest > self.max_new_tokens:
            raise DataError(f"a rollout has {longest} tokens; the objective's max_new_tokens is {self.max_new_tokens}")
        gain = _token_gain(scored, advantages, self.clip_low, self.clip_high, self.kl_coef)
        return StudyLoss(
            loss=-gain.sum(dim=(-2, -1)) / (scored.rollouts_per_study * self.max_new_tokens),
            diagnostics=token_diagnostics(
                scored, is_clipped(log_ratio(scored), advantages, self.clip_low, self.clip_high)
            ),
        )


def log_ratio(scored: ScoredGroups) -> Tensor:
    """The difference log pi_theta - log pi_old of the rollouts' tokens, [B, K, T], 0 at padding."""
    mask = scored.completion_mask
    return counted(scored.policy_logps, mask) - counted(scored.old_logps.detach(), mask)


def _token_gain(scored: ScoredGroups, advantages: Tensor, clip_low: float, clip_high: float, kl_coef: float) -> Tensor:
    """The bracket of equation (4), [B, K, T], 0 at padding."""
    mask = scored.completion_mask
    gain = clipped_surrogate(log_ratio(scored), advantages, clip_low, clip_high)
    if kl_coef > 0:
        ref_logps = require("ref_logps", scored.ref_logps, "a kl_coef above 0").detach()
        gain = gain - kl_coef * k3_kl(counted(scored.policy_logps, mask), counted(ref_logps, mask))
    # At padding rho is exp(0) = 1, so the surrogate there is A and not 0.
    return gain.masked_fill(~mask, 0.0)


@torch.no_grad()
def token_diagnostics(scored: ScoredGroups, clipped: Tensor) -> dict[str, Tensor]:
    """``clip_fraction`` and, where a reference is given, ``kl``: means over all tokens of a study that count, each [B].

    Args:
        scored: the rollouts.
        clipped: bool [B, K, T], True where a token's ratio was clipped; what stands at padding is not read.
    """
    mask = scored.completion_mask
    num_tokens = mask.sum(dim=(-2, -1)).to(scored.policy_logps.dtype)
    diagnostics = {"clip_fraction": (clipped & mask).sum(dim=(-2, -1)) / num_tokens}
    if scored.ref_logps is not None:
        kl = k3_kl(counted(scored.policy_logps, mask), counted(scored.ref_logps, mask))
        diagnostics["kl"] = kl.sum(dim=(-2, -1)) / num_tokens
    return diagnostics
