"""How one token is drawn from the policy's distribution."""

import torch
from torch import Tensor

from orapo.policy.settings import SamplingSettings


def draw_tokens(logits: Tensor, banned: Tensor, settings: SamplingSettings) -> Tensor:
    """Draws one token per row.

    A row needs one uniform number and an inverse cumulative distribution, not a random number per vocabulary entry.

    Args:
        logits: [N, V], float32.
        banned: [V], bool: True where a token must not be drawn.
        settings: temperature, top-p, greedy.

    Returns:
        [N], int64.
    """
    allowed = logits.masked_fill(banned, -torch.inf)
    if settings.greedy:
        return allowed.argmax(dim=-1)
    probabilities = torch.softmax(allowed / settings.temperature, dim=-1)
    if settings.top_p < 1:
        probabilities = _nucleus(probabilities, settings.top_p)
    cumulative = probabilities.cumsum(dim=-1)
    # Scaled by the row's own total, so that rounding can neither run past the last token nor land on a banned one.
    uniform = torch.rand(len(logits), 1, device=logits.device) * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, uniform, right=True).clamp_max(logits.shape[-1] - 1).squeeze(1)
    likeliest = probabilities.argmax(dim=-1)
    return torch.where(probabilities.gather(1, drawn.unsqueeze(1)).squeeze(1) > 0, drawn, likeliest)


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    ordered, order = probabilities.sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = ordered.masked_fill(before >= top_p, 0.0)
    return torch.zeros_like(probabilities).scatter(1, order, kept)
