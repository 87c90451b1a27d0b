"""Direct preference optimisation of the oracle report over the rollouts, equations (5)-(7) and (12)."""

from dataclasses import field
from typing import ClassVar

from pydantic import PositiveFloat
from torch import Tensor
from torch.nn.functional import softplus

from orapo.objective.preference import AllRollouts, LosingRollouts, implicit_rewards, mean_over_pairs, pair_diagnostics
from orapo.objective.tensors import ScoredGroups, StudyLoss
from orapo.settings import settings


def preference_loss(margin: Tensor) -> Tensor:
    """L_DPO = -log sigmoid(margin), equation (7), with margin = beta_DPO * (h(y+) - h(y-)); ln 2 at margin 0."""
    return softplus(-margin)


@settings
class Dpo:
    """L_DPO(i): the mean over the pairs (oracle report, losing rollout) of a study; 0 when it has no pair.

    Attributes:
        dpo_beta: beta_DPO, above 0.
        length_normalised: LN-DPO, log-ratios per token, instead of their sum.
        negatives: which rollouts lose.
    """

    dpo_beta: PositiveFloat
    length_normalised: bool = True
    negatives: LosingRollouts = field(default_factory=AllRollouts)

    needs_reference: ClassVar[bool] = True
    needs_rollouts: ClassVar[bool] = True

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """Equation (7) over the pairs of (12).

        Diagnostics: ``dpo_num_pairs``; ``dpo_margin``, the mean of beta_DPO * (h(y+) - h(y-)), and ``dpo_accuracy``,
        the share of pairs with a margin above 0, both NaN for a study without a pair.

        Raises:
            DataError: the oracle report, or the reference's view of it or of the rollouts, is missing.
        """
        oracle, rollouts = implicit_rewards(scored, "Dpo", length_normalised=self.length_normalised)
        margin = self.dpo_beta * (oracle - rollouts)
        is_pair = self.negatives(scored.earned)
        return StudyLoss(mean_over_pairs(preference_loss(margin), is_pair), pair_diagnostics(margin, is_pair))
