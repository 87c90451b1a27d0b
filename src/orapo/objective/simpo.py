"""SimPO: the oracle report preferred by its mean log-probability, with a margin and without a reference."""

from dataclasses import field
from typing import ClassVar

from pydantic import NonNegativeFloat, PositiveFloat

from orapo.objective.dpo import preference_loss
from orapo.objective.preference import AllRollouts, LosingRollouts, mean_logps, mean_over_pairs, pair_diagnostics
from orapo.objective.tensors import ScoredGroups, StudyLoss
from orapo.settings import settings


@settings
class SimPo:
    """Equation (6) of "SimPO: Simple Preference Optimization with a Reference-Free Reward" (arXiv 2405.14734).

        L = -log sigmoid( beta / |y+| log pi_theta(y+ | x) - beta / |y-| log pi_theta(y- | x) - gamma )

    Departure: the losing reports are the policy's own rollouts, sampled at every step, not a fixed data set; the
    loss of a study is the mean over its pairs, 0 when it has none.

    Attributes:
        simpo_beta: beta, above 0.
        margin_ratio: gamma / beta, at least 0, in nats per token, as the paper's code has it: by how much the oracle
            report's mean log-probability should exceed the rollout's.
        negatives: which rollouts lose.
    """

    simpo_beta: PositiveFloat
    margin_ratio: NonNegativeFloat
    negatives: LosingRollouts = field(default_factory=AllRollouts)

    needs_reference: ClassVar[bool] = False
    needs_rollouts: ClassVar[bool] = True

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """The mean over the pairs of each study; diagnostics of ``pair_diagnostics``.

        Raises:
            DataError: the oracle report is not scored.
        """
        oracle, rollouts = mean_logps(scored, "SimPo")
        margin = self.simpo_beta * (oracle - rollouts - self.margin_ratio)
        is_pair = self.negatives(scored.earned)
        return StudyLoss(mean_over_pairs(preference_loss(margin), is_pair), pair_diagnostics(margin, is_pair))
