"""Samples one token from the policy's distribution."""

from collections.abc import Sequence

import torch
from torch import Tensor

from orapo.policy.settings import SamplingSettings

_BLOCK = 64
"""Tokens whose probabilities are summed before one of them is looked for."""


def sample_tokens(logits: Tensor, banned: Tensor, uniform: Tensor, settings: SamplingSettings) -> tuple[Tensor, Tensor]:
    """Samples one token per row.

    A row needs one uniform number and an inverse cumulative distribution, not a random number per vocabulary entry.

    Args:
        logits: [N, V], float32.
        banned: [V], bool: True where a token must not be drawn.
        uniform: [N], float32 in [0, 1): what decides each row; not read when greedy.
        settings: temperature, top-p, top-k, min-p, greedy.

    Returns:
        tokens [N], int64, and their log-probabilities [N], float32, at the temperature over the whole vocabulary.
    """
    scaled = logits if settings.temperature == 1 else logits / settings.temperature
    probabilities = torch.softmax(scaled, dim=-1)
    if settings.greedy:
        tokens = scaled.masked_fill(banned, -torch.inf).argmax(dim=-1)
    else:
        tokens = _invert(_likely(probabilities * ~banned, settings), uniform)
    return tokens, probabilities.gather(1, tokens.unsqueeze(1)).squeeze(1).log()


def uniform_numbers(
    num_steps: int, num_studies: int, per_study: int, seeds: Sequence[int] | None, device: torch.device
) -> Tensor:
    """[steps, studies * rollouts of each], float32 in [0, 1): the randomness of a whole rollout.

    Args:
        num_steps: tokens at most.
        num_studies: B.
        per_study: K.
        seeds: per study, so that its samples don't depend on the other studies of the batch; None: torch's generator.
        device: where the numbers are used.
    """
    if seeds is None:
        numbers = torch.rand(num_steps, num_studies * per_study)
    else:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        numbers = torch.cat([torch.rand(num_steps, per_study, generator=generator) for generator in generators], dim=1)
    return numbers.to(device)


def _invert(weights: Tensor, uniform: Tensor) -> Tensor:
    """Finds the block of tokens, then the token within it: a cumulative sum over the whole vocabulary takes longer."""
    num_rows, vocabulary_size = weights.shape
    num_blocks = -(-vocabulary_size // _BLOCK)
    padded = torch.nn.functional.pad(weights, (0, num_blocks * _BLOCK - vocabulary_size))
    blocks = padded.view(num_rows, num_blocks, _BLOCK)
    block_ends = blocks.sum(dim=-1).cumsum(dim=-1)
    # Scaled by the row's own total, so that rounding can not run past the last token.
    level = uniform.unsqueeze(1) * block_ends[:, -1:]
    block = torch.searchsorted(block_ends, level, right=True).clamp_max_(num_blocks - 1)
    ends = blocks.gather(1, block.unsqueeze(2).expand(-1, -1, _BLOCK)).squeeze(1).cumsum(dim=-1)
    before = block_ends.gather(1, block) - ends[:, -1:]
    within = torch.searchsorted(ends, level - before, right=True).clamp_max_(_BLOCK - 1)
    drawn = (block * _BLOCK + within).clamp_max_(vocabulary_size - 1)
    is_possible = weights.gather(1, drawn) > 0
    if not bool(is_possible.all()):
        # Rounding between two sums has landed on a token that must not be drawn.
        drawn = torch.where(is_possible, drawn, weights.argmax(dim=-1, keepdim=True))
    return drawn.squeeze(1)


def _likely(probabilities: Tensor, settings: SamplingSettings) -> Tensor:
    """Sets to 0 what min-p, then top-k, then top-p rule out: vLLM's order."""
    kept = probabilities
    if settings.min_p > 0:
        kept = kept.masked_fill(kept < settings.min_p * kept.amax(dim=-1, keepdim=True), 0.0)
    if settings.top_k == 0 and settings.top_p == 1:
        return kept
    ordered, order = kept.sort(dim=-1, descending=True)
    if settings.top_k > 0:
        ordered[:, settings.top_k :] = 0.0
    before = ordered.cumsum(dim=-1) - ordered
    ordered = ordered.masked_fill(before >= settings.top_p * ordered.sum(dim=-1, keepdim=True), 0.0)
    return torch.zeros_like(probabilities).scatter(1, order, ordered)
