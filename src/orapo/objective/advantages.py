"""Advantages of a study's rollouts over their own group, equations (1) and (2)."""

import torch
from torch import Tensor

from orapo.errors import SettingError


def centred_advantages(rewards: Tensor) -> Tensor:
    """A_ik = r_ik - mu_i, the Dr.GRPO form of equation (2).

    Args:
        rewards: [B, K], in [0, 1], K at least 2.

    Returns:
        [B, K], in [-1, 1]; exactly 0 for a group whose rewards are all equal.

    Raises:
        SettingError: K is below 2, where a group has nothing to compare.
    """
    check_group_size(rewards.shape[1])
    deviations = rewards - rewards.mean(dim=1, keepdim=True)
    # The mean of K equal floats may be off by a rounding error, which the division by sigma would blow up.
    all_equal = rewards.amax(dim=1, keepdim=True) == rewards.amin(dim=1, keepdim=True)
    return torch.where(all_equal, torch.zeros_like(deviations), deviations)


def standardised_advantages(rewards: Tensor, std_eps: float) -> Tensor:
    """A_ik = (r_ik - mu_i) / (sigma_i + eps), the GRPO form of equation (2), sigma of the population.

    Args:
        rewards: [B, K], in [0, 1], K at least 2.
        std_eps: added to sigma, above 0.

    Returns:
        [B, K], |A| at most sqrt(K - 1); exactly 0 for a group whose rewards are all equal.

    Raises:
        SettingError: K is below 2, where a group has nothing to compare.
    """
    deviations = centred_advantages(rewards)
    sigma = deviations.square().mean(dim=1, keepdim=True).sqrt()
    return deviations / (sigma + std_eps)


def check_group_size(rollouts_per_study: int) -> None:
    """Refuses a group that is too small to have an advantage.

    Raises:
        SettingError: K is below 2.
    """
    if rollouts_per_study < 2:
        raise SettingError(f"rollouts per study (K) is {rollouts_per_study}; advantages need a group of at least 2")
