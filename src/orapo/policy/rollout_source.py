"""Where rollouts come from: the training process itself, or a server. Training does not ask which."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from orapo.batches import RolloutGroup, StudyBatch
from orapo.policy.model import Policy
from orapo.policy.settings import SamplingSettings


class RolloutSource(Protocol):
    """Samples reports from the policy as it is now."""

    def roll_out(
        self, batch: StudyBatch, settings: SamplingSettings, seeds: Sequence[int] | None = None
    ) -> tuple[RolloutGroup, ...]:
        """K = ``settings.per_study`` reports for each of B studies, in order.

        Args:
            batch: B studies.
            settings: how they are drawn.
            seeds: of each study's draws, so that they don't depend on the studies beside it; None takes torch's state.

        Raises:
            RunPaused: they can't be had for now; nothing has changed.
        """
        ...

    def metrics(self) -> Mapping[str, float]:
        """What the latest rollouts add to the row of metrics.csv."""
        ...

    def close(self) -> None:
        """Gives back what is held elsewhere; it is taken again when needed."""
        ...


class LocalRollouts:
    """The policy samples by itself."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def roll_out(
        self, batch: StudyBatch, settings: SamplingSettings, seeds: Sequence[int] | None = None
    ) -> tuple[RolloutGroup, ...]:
        """See ``Policy.roll_out``."""
        return self._policy.roll_out(batch, settings, seeds)

    def metrics(self) -> Mapping[str, float]:
        """Nothing: what is sampled here is what is scored here."""
        return {}

    def close(self) -> None:
        """Holds nothing."""
