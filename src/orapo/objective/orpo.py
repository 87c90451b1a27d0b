"""ORPO: imitation of the oracle report, and its odds over the rollouts' odds; without a reference."""

from dataclasses import field
from typing import ClassVar

import torch
from pydantic import PositiveFloat
from torch import Tensor

from orapo.objective.dpo import preference_loss
from orapo.objective.preference import AllRollouts, LosingRollouts, mean_logps, mean_over_pairs, pair_diagnostics
from orapo.objective.tensors import ScoredGroups, StudyLoss
from orapo.settings import settings


def log_odds(mean_logp: Tensor) -> Tensor:
    """The logarithm of p / (1 - p) with p = exp(mean_logp), the geometric mean of a report's token probabilities.

    A report that the policy is certain of has infinite odds; its p is taken as one rounding step below 1, without
    gradient.
    """
    below_one = mean_logp.clamp(max=-torch.finfo(mean_logp.dtype).eps)
    return below_one - torch.log(-torch.expm1(below_one))


@settings
class Orpo:
    """Equations (3), (4), (6) and (7) of "ORPO: Monolithic Preference Optimization" (arXiv 2403.07691).

        L = L_SFT + lambda L_OR,   L_OR = -log sigmoid( log( odds(y+ | x) / odds(y- | x) ) )
        odds(y | x) = P / (1 - P), log P = (1 / |y|) log pi_theta(y | x), L_SFT = -log P(y+ | x)

    Departure: the losing reports are the policy's own rollouts; L_OR is the mean over a study's pairs, 0 when it has
    none, and L_SFT acts in any case.

    Attributes:
        odds_coef: lambda, above 0.
        negatives: which rollouts lose.
    """

    odds_coef: PositiveFloat
    negatives: LosingRollouts = field(default_factory=AllRollouts)

    needs_reference: ClassVar[bool] = False
    needs_rollouts: ClassVar[bool] = True

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """The loss of each study, [B]; diagnostics of ``pair_diagnostics``, the margin being the log odds ratio.

        Raises:
            DataError: the oracle report is not scored.
        """
        oracle, rollouts = mean_logps(scored, "Orpo")
        margin = log_odds(oracle) - log_odds(rollouts)
        is_pair = self.negatives(scored.earned)
        preferred = mean_over_pairs(preference_loss(margin), is_pair)
        return StudyLoss(-oracle.squeeze(-1) + self.odds_coef * preferred, pair_diagnostics(margin, is_pair))
