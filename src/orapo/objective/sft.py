"""Supervised fine-tuning on the oracle report: the paper's alternative to DPO in its ablation."""

from dataclasses import dataclass
from typing import ClassVar

from orapo.objective.tensors import ScoredGroups, StudyLoss, counted, require


@dataclass(frozen=True)
class Sft:
    """Negative log-likelihood of the oracle report, the mean over its tokens, in nats."""

    needs_reference: ClassVar[bool] = False
    needs_rollouts: ClassVar[bool] = False

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """The loss of each study, [B]; no diagnostics.

        Raises:
            DataError: the oracle report is not scored.
        """
        logps = require("oracle_policy_logps", scored.oracle_policy_logps, "Sft")
        mask = require("oracle_mask", scored.oracle_mask, "Sft")
        return StudyLoss(loss=-counted(logps, mask).sum(dim=-1) / mask.sum(dim=-1))
