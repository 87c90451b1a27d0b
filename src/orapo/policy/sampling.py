"""How one token is drawn from the policy's distribution."""

from dataclasses import dataclass

import torch
from torch import Tensor

from orapo.bounds import require_boolean, require_number, require_whole
from orapo.errors import SettingError


@dataclass(frozen=True)
class SamplingSettings:
    """How completions are drawn.

    Attributes:
        temperature: > 0; also the temperature at which log-probabilities are kept and scored.
        top_p: in (0, 1]; tokens are drawn from the smallest set that holds this probability; 1 keeps all.
        max_new_tokens: > 0; a completion is cut there.
        min_new_tokens: in [0, max_new_tokens]; no stop token before it.
        greedy: take the likeliest token instead of drawing one.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256
    min_new_tokens: int = 0
    greedy: bool = False

    def __post_init__(self) -> None:
        require_number("rollout.temperature", self.temperature, above=0)
        require_number("rollout.top_p", self.top_p, above=0, at_most=1)
        require_whole("rollout.max_new_tokens", self.max_new_tokens, 1)
        require_whole("rollout.min_new_tokens", self.min_new_tokens, 0)
        require_boolean("rollout.greedy", self.greedy)
        if self.min_new_tokens > self.max_new_tokens:
            raise SettingError(
                f"rollout.min_new_tokens is {self.min_new_tokens}; it must be at most "
                f"rollout.max_new_tokens, which is {self.max_new_tokens}"
            )


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
