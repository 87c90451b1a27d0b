"""Advantages of a study's rollouts over their own group, equations (1) and (2)."""

import torch
from torch import Tensor

from orapo.errors import SettingError


def centred_advantages(rewards: Tensor) -> Tensor:
    """A_ik = r_ik - mu_i, the Dr.GRPO form of equation (2).

    Args:
        rewards: [B, K], in [0, 1], K at least 2; shaped ones may lie in [-1, 1].

    Returns:
        [B, K], no larger than the rewards' range; exactly 0 for a group whose rewards are all equal.

    Raises:
        SettingError: K is below 2, where a group has nothing to compare.
    """
    check_group_size(rewards.shape[1])
    deviations = rewards - rewards.mean(dim=1, keepdim=True)
    # The mean of K equal floats may be off by a rounding error, which the division by sigma would blow up.
    return deviations.masked_fill(is_flat(rewards).unsqueeze(1), 0.0)


def is_flat(rewards: Tensor) -> Tensor:
    """True for a group whose rollouts all earned the same: bool [B] from rewards [B, K], K at least 1."""
    return rewards.amax(dim=1) == rewards.amin(dim=1)


def standardised_advantages(rewards: Tensor, std_eps: float) -> Tensor:
    """A_ik = (r_ik - mu_i) / (sigma_i + eps), the GRPO form of equation (2), sigma of the population.

    Args:
        rewards: [B, K], as above.
        std_eps: added to sigma, above 0.

    Returns:
        [B, K], |A| at most sqrt(K - 1); exactly 0 for a group whose rewards are all equal.

    Raises:
        SettingError: K is below 2, where a group has nothing to compare.
    """
    deviations = centred_advantages(rewards)
    sigma = deviations.square().mean(dim=1, keepdim=True).sqrt()
    return deviations / (sigma + std_eps)


def normalised_sum(terms: Tensor, weights: Tensor, std_eps: float = 1e-4) -> Tensor:
    """Sum_t w_t (v_t - mu_t) / (sigma_t + eps): each term normalised within its group before the sum, as GDPO has it.

    A term that a study leaves undefined drops out there, and the other weights are scaled to sum to 1.

    Args:
        terms: [M, B, K], values of M terms in [0, 1], NaN for all K where undefined; at least one per study is not.
        weights: [M], above 0.
        std_eps: added to the standard deviation of a term in a group, above 0.

    Returns:
        [B, K], zero mean in every group; exactly 0 where no term varies.

    Raises:
        SettingError: K is below 2, where a group has nothing to compare.
    """
    undefined = terms.isnan()
    normalised = [standardised_advantages(values, std_eps) for values in terms.nan_to_num(0.0)]
    shares = weights[:, None, None] * ~undefined
    return (shares / shares.sum(dim=0) * torch.stack(normalised)).sum(dim=0)


def check_group_size(rollouts_per_study: int) -> None:
    """Refuses a group that is too small to have an advantage.

    Raises:
        SettingError: K is below 2.
    """
    if rollouts_per_study < 2:
        raise SettingError(f"rollouts per study (K) is {rollouts_per_study}; advantages need a group of at least 2")
