"""KTO: the oracle report is desirable, rollouts are not, each judged against the policy's drift from the reference."""

from dataclasses import field
from typing import ClassVar

import torch
from pydantic import PositiveFloat
from torch import Tensor

from orapo.objective.preference import AllRollouts, LosingRollouts, implicit_rewards, mean_over_pairs, pair_diagnostics
from orapo.objective.tensors import ScoredGroups, StudyLoss
from orapo.settings import settings


def reference_point(rollout_rewards: Tensor) -> Tensor:
    """z_0 [B, 1]: the mean log-ratio of a study's rollouts [B, K], at least 0 and without gradient.

    Rollouts are drawn from the policy, so this is a sample of KL(pi_theta || pi_ref) at the study's prompt.
    """
    return rollout_rewards.detach().mean(dim=-1, keepdim=True).clamp(min=0.0)


@settings
class Kto:
    """Equation (8) of "KTO: Model Alignment as Prospect Theoretic Optimization" (arXiv 2402.01306).

        L = E[ lambda_y - v(x, y) ]
        v = lambda_D sigmoid( beta (h(y) - z_0) )   for the oracle report
        v = lambda_U sigmoid( beta (z_0 - h(y)) )   for a losing rollout
        h(y) = log( pi_theta(y | x) / pi_ref(y | x) ), z_0 = KL(pi_theta || pi_ref), without gradient

    Departures. Rollouts being the policy's own, z_0 is estimated from them, study by study, where the paper pairs
    prompts with other prompts' answers and shares one z_0 in a batch; so no micro-batch sees another z_0. The
    expectation gives a study's oracle report the weight of all its losing rollouts together: lambda_D / lambda_U is
    what the paper calls lambda_D n_D / (lambda_U n_U). A study without a losing rollout keeps the oracle's part.
    Log-ratios per token are a setting.

    Attributes:
        kto_beta: beta, above 0.
        desirable_weight: lambda_D, above 0.
        undesirable_weight: lambda_U, above 0.
        length_normalised: log-ratios per token instead of their sum, in z_0 too.
        negatives: which rollouts are undesirable; all of them count in z_0.
    """

    kto_beta: PositiveFloat
    desirable_weight: PositiveFloat = 1.0
    undesirable_weight: PositiveFloat = 1.0
    length_normalised: bool = False
    negatives: LosingRollouts = field(default_factory=AllRollouts)

    needs_reference: ClassVar[bool] = True
    needs_rollouts: ClassVar[bool] = True

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """The loss of each study, [B], in [0, (lambda_D + lambda_U) / 2].

        Diagnostics of ``pair_diagnostics``, the margin being beta (h(y+) - h(y-)).

        Raises:
            DataError: the oracle report, or the reference's view of it or of the rollouts, is missing.
        """
        oracle, rollouts = implicit_rewards(scored, "Kto", length_normalised=self.length_normalised)
        point = reference_point(rollouts)
        # lambda - lambda sigmoid(x) = lambda sigmoid(-x)
        wanted = self.desirable_weight * torch.sigmoid(self.kto_beta * (point - oracle)).squeeze(-1)
        unwanted = self.undesirable_weight * torch.sigmoid(self.kto_beta * (rollouts - point))
        is_pair = self.negatives(scored.earned)
        return StudyLoss(
            loss=(wanted + mean_over_pairs(unwanted, is_pair)) / 2,
            diagnostics=pair_diagnostics(self.kto_beta * (oracle - rollouts), is_pair),
        )
