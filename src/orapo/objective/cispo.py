"""CISPO: the policy gradient of every token, with an importance weight that is clipped and carries no gradient."""

from typing import ClassVar

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from orapo.objective.advantages import standardised_advantages
from orapo.objective.grpo import log_ratio, token_diagnostics
from orapo.objective.tensors import ScoredGroups, StudyLoss, counted
from orapo.settings import Fraction, settings


def clipped_weight(log_ratio: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """sg(clip(rho, 1 - clip_low, 1 + clip_high)) with rho = exp(log_ratio), of any shape; without gradient."""
    return log_ratio.detach().exp().clamp(1.0 - clip_low, 1.0 + clip_high)


@settings
class Cispo:
    """Equations (4) and (5) of "MiniMax-M1" (arXiv 2506.13585).

        J = E[ 1 / (sum_k |y_k|) * sum_kt sg(clip(rho_kt, 1 - eps_low, 1 + eps_high)) A_k log pi_theta(y_kt) ]
        with A of GRPO, and the sum of lengths of the group

    A token whose ratio is out of range keeps its gradient, only its weight is bounded. The value is not comparable
    with that of the other policy losses: at ratio 1 it is -A log pi_theta, averaged. No departures.

    Attributes:
        clip_low: eps_low, in [0, 1]; 1 leaves the weight without a lower bound, as the paper does.
        clip_high: eps_high, at least 0; it may exceed 1.
        std_eps: added to the standard deviation of a group's rewards, above 0.
    """

    clip_low: Fraction = 1.0
    clip_high: NonNegativeFloat = 4.0
    std_eps: PositiveFloat = 1e-4

    needs_reference: ClassVar[bool] = False  # the paper has no KL term

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """The mean over the tokens of a study's rollouts.

        Diagnostics ``clip_fraction``, the share of tokens with a clipped weight, and, where a reference is given,
        ``kl``.

        Raises:
            SettingError: K is below 2.
        """
        mask = scored.completion_mask
        advantages = standardised_advantages(scored.advantage_rewards, self.std_eps).to(scored.policy_logps.dtype)
        ratio = log_ratio(scored)
        weight = clipped_weight(ratio, self.clip_low, self.clip_high)
        gain = weight * advantages.unsqueeze(-1) * counted(scored.policy_logps, mask)
        return StudyLoss(
            loss=-gain.sum(dim=(-2, -1)) / mask.sum(dim=(-2, -1)),
            diagnostics=token_diagnostics(scored, weight != ratio.detach().exp()),
        )
