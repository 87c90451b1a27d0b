"""DAPO: clip-higher, a mean over the batch's tokens, overlong filtering and punishment, dynamic sampling."""

from typing import ClassVar

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from orapo.errors import DataError
from orapo.objective.advantages import is_flat, standardised_advantages
from orapo.objective.grpo import clipped_surrogate, is_clipped, log_ratio, token_diagnostics
from orapo.objective.tensors import ScoredGroups, StudyLoss, require
from orapo.settings import FractionBelowOne, settings


def overlong_punishment(num_tokens: Tensor, max_new_tokens: int, overlong_fraction: float) -> Tensor:
    """R_length of DAPO's equation (13): 0 up to L_max - L_cache tokens, from there linearly down to -1 at L_max.

    Args:
        num_tokens: [B, K], of each rollout.
        max_new_tokens: L_max.
        overlong_fraction: L_cache / L_max, in [0, 1); 0 punishes nothing.

    Returns:
        [B, K], in [-1, 0].
    """
    if overlong_fraction == 0:
        return torch.zeros_like(num_tokens)
    cache = overlong_fraction * max_new_tokens
    return ((max_new_tokens - cache - num_tokens) / cache).clamp(-1.0, 0.0)


@settings
class Dapo:
    """Equation (8) of "DAPO: An Open-Source LLM Reinforcement Learning System at Scale" (arXiv 2503.14476).

        J = E[ 1 / (sum_i |o_i|) * sum_it min(rho_it A_i, clip(rho_it, 1 - eps_low, 1 + eps_high) A_i) ]
        with A of GRPO, and only groups whose rollouts did not all earn the same

    Departures. The sum of lengths is the batch's, as in the paper's code; its equation has one group's. Groups with
    the same graded reward take the place of those all right or all wrong; they are drawn again for the same study,
    not replaced by another one, and a study that stays without variance still teaches by its oracle report. The
    punishment of up to 1 is added to rewards in [0, 1], the paper's are -1 and 1.

    Attributes:
        max_new_tokens: L_max, at least 1; the same number that sampling uses.
        clip_low: eps_low, in [0, 1).
        clip_high: eps_high, in [0, 1); above ``clip_low`` unlikely tokens may rise faster than they may fall.
        std_eps: added to the standard deviation of a group's rewards, above 0.
        overlong_filtering: leave out the tokens of a rollout that was cut at the limit; its reward still counts in
            its group's mean.
        overlong_fraction: L_cache / L_max, in [0, 1): the last part of the limit in which length is punished.
        max_redraws: dynamic sampling: how often a group without variance is drawn again before it is left out, at
            least 0; None keeps such groups.
    """

    max_new_tokens: PositiveInt
    clip_low: FractionBelowOne = 0.2
    clip_high: FractionBelowOne = 0.28
    std_eps: PositiveFloat = 1e-4
    overlong_filtering: bool = False
    overlong_fraction: FractionBelowOne = 0.0
    max_redraws: NonNegativeInt | None = None

    needs_reference: ClassVar[bool] = False  # DAPO has no KL term

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """The studies' shares of the loss: their mean over the whole batch is minus the mean over its tokens.

        Diagnostics ``clip_fraction`` and, where a reference is given, ``kl``.

        Raises:
            DataError: a rollout has more tokens than ``max_new_tokens``, or ``finished`` is None although
                ``overlong_filtering`` needs it.
            SettingError: K is below 2.
        """
        advantages = self._advantages(scored)
        finished = self._finished(scored)
        ratio = log_ratio(scored)
        gain = clipped_surrogate(ratio, advantages, self.clip_low, self.clip_high)
        taken = scored.completion_mask & self._is_taken(scored.advantage_rewards, finished).unsqueeze(-1)
        tokens = scored.tokens_per_study
        if tokens is None:
            tokens = taken.sum().item() / scored.num_studies
        # Without any token left every sum is 0, and so is the loss.
        total = gain.masked_fill(~taken, 0.0).sum(dim=(-2, -1))
        return StudyLoss(
            loss=-total / (tokens if tokens > 0 else 1.0),
            diagnostics=token_diagnostics(scored, is_clipped(ratio, advantages, self.clip_low, self.clip_high)),
        )

    def loss_tokens(self, num_tokens: Tensor, rewards: Tensor, finished: Tensor) -> Tensor:
        """The tokens of each study that the mean is over, [B]; 0 for one that is left out."""
        return (num_tokens * self._is_taken(rewards, finished)).sum(dim=1)

    def _is_taken(self, rewards: Tensor, finished: Tensor) -> Tensor:
        """Bool [B, K]: the rollouts whose tokens count."""
        taken = finished if self.overlong_filtering else torch.ones_like(finished)
        return taken if self.max_redraws is None else taken & ~is_flat(rewards).unsqueeze(1)

    def _finished(self, scored: ScoredGroups) -> Tensor:
        if self.overlong_filtering:
            return require("finished", scored.finished, "overlong_filtering")
        return scored.completion_mask.any(dim=-1)

    def _advantages(self, scored: ScoredGroups) -> Tensor:
        num_tokens = scored.completion_mask.sum(dim=-1).to(scored.policy_logps.dtype)
        if num_tokens.max() > self.max_new_tokens:
            longest = int(num_tokens.max())
            raise DataError(f"a rollout has {longest} tokens; the objective's max_new_tokens is {self.max_new_tokens}")
        rewards = scored.advantage_rewards.to(scored.policy_logps.dtype)
        shaped = rewards + overlong_punishment(num_tokens, self.max_new_tokens, self.overlong_fraction)
        return standardised_advantages(shaped, self.std_eps)
