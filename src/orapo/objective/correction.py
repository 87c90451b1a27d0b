"""Correction for rollouts sampled by another policy than the scored one: a server's kernels, older weights.

    w = pi_old / pi_sampler, of a token or of a whole rollout, kept within bounds and without gradient
    (truncated importance sampling, TIS; masked, MIS)

Both are probabilities over the whole vocabulary. A sampler's that is renormalised after top-p would lower every weight
by the probability that top-p keeps, although the policies don't differ.
"""

from dataclasses import replace
from typing import Literal

from torch import Tensor

from orapo.objective.tensors import ScoredGroups, counted

Correction = Literal["none", "truncate", "mask"]
Level = Literal["token", "sequence"]


def importance_weights(old_logps: Tensor, sampler_logps: Tensor, mask: Tensor, level: Level) -> Tensor:
    """The weights w before any bound, [B, K, T], 0 at padding; the same for all tokens of a rollout by sequence.

    Args:
        old_logps: [B, K, T], under the policy that the update starts from.
        sampler_logps: [B, K, T], under the one that sampled.
        mask: [B, K, T] bool, True where a token counts.
        level: a weight for each token, or the product of a rollout's.
    """
    log_weights = (counted(old_logps, mask) - counted(sampler_logps, mask)).detach()
    if level == "sequence":
        log_weights = log_weights.sum(dim=-1, keepdim=True).expand_as(mask)
    return log_weights.exp().masked_fill(~mask, 0.0)


def truncated(weights: Tensor, limit: float) -> Tensor:
    """min(w, limit): a token that the sampler drew too seldom counts at most ``limit`` times."""
    return weights.clamp(max=limit)


def masked(weights: Tensor, limit: float) -> Tensor:
    """The weights where 1 / limit <= w <= limit, else 0: tokens on which the policies disagree teach nothing."""
    return weights.masked_fill((weights > limit) | (weights < 1.0 / limit), 0.0)


def effective_sample_size(weights: Tensor, mask: Tensor) -> Tensor:
    """(sum w)^2 / (n sum w^2) of each study's n tokens, [B], in (0, 1]: 1 where all weights are equal."""
    # As parts of the largest one: the square of a whole rollout's weight can be more, or less, than a float32 holds.
    weights = weights / weights.amax(dim=(-2, -1), keepdim=True)
    total, squares = weights.sum(dim=(-2, -1)), weights.square().sum(dim=(-2, -1))
    return total.square() / (mask.sum(dim=(-2, -1)) * squares)


def corrected(
    scored: ScoredGroups, correction: Correction, level: Level, limit: float
) -> tuple[ScoredGroups, dict[str, Tensor]]:
    """The groups with the gradient of each token's log-probability multiplied by its weight; values stay as they are.

    So the correction is the same for every loss that is built from log-probabilities of tokens.

    Args:
        scored: with ``sampler_logps``; without them, nothing is corrected and no diagnostics are returned.
        correction: the treatment of weights out of bounds; "none" uses no weights at all.
        level: of the weights.
        limit: > 1.

    Returns:
        The groups, and [B] each: ``effective_sample_size`` of the weights before any bound, ``corrected_fraction``, the
        share of tokens whose weight was out of bounds.
    """
    if scored.sampler_logps is None:
        return scored, {}
    mask = scored.completion_mask
    weights = importance_weights(scored.old_logps, scored.sampler_logps, mask, level)
    told = {"effective_sample_size": effective_sample_size(weights, mask)}
    if correction == "none":
        return scored, told
    bounded = truncated(weights, limit) if correction == "truncate" else masked(weights, limit)
    told["corrected_fraction"] = (bounded != weights).sum(dim=(-2, -1)) / mask.sum(dim=(-2, -1)).to(weights.dtype)
    return replace(scored, policy_logps=gradient_scaled(scored.policy_logps, bounded)), told


def gradient_scaled(values: Tensor, factors: Tensor) -> Tensor:
    """The same values; what flows back through them is multiplied by ``factors``, of the same shape."""
    fixed = values.detach()
    return fixed + factors * (values - fixed)
