"""Cal-DPO: DPO whose log-ratios are also drawn to fixed values, so that the oracle report's does not fall."""

from dataclasses import field
from typing import ClassVar

from pydantic import PositiveFloat

from orapo.objective.dpo import preference_loss
from orapo.objective.preference import AllRollouts, LosingRollouts, implicit_rewards, mean_over_pairs, pair_diagnostics
from orapo.objective.tensors import ScoredGroups, StudyLoss
from orapo.settings import settings


@settings
class CalDpo:
    """The loss of "Cal-DPO: Calibrated Direct Preference Optimization" (arXiv 2412.14516), as in its Algorithm 1.

        L = -log sigmoid( h(y+) - h(y-) ) + ( h(y+) - 1 / (2 beta) )^2 + ( h(y-) + 1 / (2 beta) )^2
        h(y) = log( pi_theta(y | x) / pi_ref(y | x) )

    Departures: the losing reports are the policy's own rollouts, and the loss of a study is the mean over its pairs,
    0 when it has none; log-ratios per token are a setting.

    Attributes:
        cal_beta: beta, above 0; it sets the targets 1 / (2 beta) and -1 / (2 beta), and does not scale the margin.
        length_normalised: log-ratios per token instead of their sum; the targets are then per token too.
        negatives: which rollouts lose.
    """

    cal_beta: PositiveFloat
    length_normalised: bool = False
    negatives: LosingRollouts = field(default_factory=AllRollouts)

    needs_reference: ClassVar[bool] = True
    needs_rollouts: ClassVar[bool] = True

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """The mean over the pairs of each study; diagnostics of ``pair_diagnostics``.

        Raises:
            DataError: the oracle report, or the reference's view of it or of the rollouts, is missing.
        """
        oracle, rollouts = implicit_rewards(scored, "CalDpo", length_normalised=self.length_normalised)
        target = 1.0 / (2.0 * self.cal_beta)
        margin = oracle - rollouts
        calibration = (oracle - target).square() + (rollouts + target).square()
        is_pair = self.negatives(scored.earned)
        return StudyLoss(
            mean_over_pairs(preference_loss(margin) + calibration, is_pair), pair_diagnostics(margin, is_pair)
        )
