"""What a policy loss and an oracle loss have in common, whichever of them the objective is built from."""

from typing import Protocol

from orapo.errors import SettingError
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


def require_part(key: str, value: object, *, example: str) -> None:
    """Refuses anything but a callable part such as a loss: a name, a mapping, or a class that isn't yet an object.

    Raises:
        SettingError: the value can't be called, or is a class.
    """
    if isinstance(value, type) or not callable(value):
        raise SettingError(f"{key} is {value!r}; it must be an object such as {example}")
