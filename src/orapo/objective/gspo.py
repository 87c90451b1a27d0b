"""GSPO: the importance ratio, and its clip, of a whole rollout instead of each token."""

from typing import ClassVar

from pydantic import PositiveFloat
from torch import Tensor

from orapo.objective.advantages import standardised_advantages
from orapo.objective.grpo import clipped_surrogate, is_clipped, log_ratio, token_diagnostics
from orapo.objective.tensors import ScoredGroups, StudyLoss
from orapo.settings import FractionBelowOne, settings


def sequence_log_ratio(scored: ScoredGroups) -> Tensor:
    """The logarithm of s_k, (1 / |y_k|) sum_t (log pi_theta - log pi_old), [B, K]: per token, so lengths compare."""
    return log_ratio(scored).sum(dim=-1) / scored.completion_mask.sum(dim=-1)


@settings
class Gspo:
    """Equations (5) to (7) of "Group Sequence Policy Optimization" (arXiv 2507.18071).

        J = E[ 1 / K * sum_k min(s_k A_k, clip(s_k, 1 - eps_low, 1 + eps_high) A_k) ], with A of GRPO

    At ratio 1, so with one inner step, its gradient is that of ``Grpo``. No departures; the paper has no KL term.

    Attributes:
        clip_low: eps_low, in [0, 1); far below GRPO's, since the mean of a rollout's log-ratios moves little.
        clip_high: eps_high, in [0, 1).
        std_eps: added to the standard deviation of a group's rewards, above 0.
    """

    clip_low: FractionBelowOne = 3e-4
    clip_high: FractionBelowOne = 4e-4
    std_eps: PositiveFloat = 1e-4

    needs_reference: ClassVar[bool] = False

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """The mean over a study's rollouts.

        Diagnostics ``clip_fraction``, the share of tokens in clipped rollouts, and, where a reference is given, ``kl``.

        Raises:
            SettingError: K is below 2.
        """
        advantages = standardised_advantages(scored.advantage_rewards, self.std_eps).to(scored.policy_logps.dtype)
        ratio = sequence_log_ratio(scored).unsqueeze(-1)
        gain = clipped_surrogate(ratio, advantages, self.clip_low, self.clip_high)
        clipped = is_clipped(ratio, advantages, self.clip_low, self.clip_high)
        return StudyLoss(
            loss=-gain.squeeze(-1).mean(dim=-1),
            diagnostics=token_diagnostics(scored, clipped.expand_as(scored.completion_mask)),
        )
