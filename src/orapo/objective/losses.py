"""What a policy loss and an oracle loss have in common, whichever of them the objective is built from."""

from typing import Protocol

from orapo.objective.tensors import ScoredGroups, StudyLoss


class PolicyLoss(Protocol):
    """Learns from the rewards of a study's own rollouts."""

    @property
    def needs_reference(self) -> bool:
        """True when the rollouts' log-probabilities under the frozen reference are read."""

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """The loss of each study, [B]."""


class OracleLoss(Protocol):
    """Learns from the radiologist's report."""

    @property
    def needs_reference(self) -> bool:
        """True when log-probabilities under the frozen reference are read."""

    @property
    def needs_rollouts(self) -> bool:
        """True when the study's rollouts are read."""

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """The loss of each study, [B]."""
