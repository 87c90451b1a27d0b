"""Where rollouts come from, the training process or a server: training does not depend on which."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol

from orapo.batches import RolloutGroup, StudyBatch
from orapo.policy.model import Policy
from orapo.policy.settings import SamplingSettings

Groups = tuple[RolloutGroup, ...]


class RolloutSource(Protocol):
    """Samples reports from the policy with its present weights."""

    def roll_out(
        self, batch: StudyBatch, settings: SamplingSettings, seeds: Sequence[int] | None = None
    ) -> tuple[RolloutGroup, ...]:
        """K = ``settings.per_study`` reports for each of B studies, in order.

        Args:
            batch: B studies.
            settings: how they are sampled.
            seeds: of each study, so that its samples don't depend on the other studies; None takes torch's state.

        Raises:
            RunPaused: the source is unavailable for now; nothing has changed.
        """
        ...

    def metrics(self) -> Mapping[str, float]:
        """The latest rollouts' columns of metrics.csv."""
        ...

    def stop(self) -> None:
        """Abandons what is being sampled, since the run has failed."""
        ...

    def close(self) -> None:
        """Releases what is held elsewhere; it is acquired again when needed."""
        ...


class BackgroundSource(RolloutSource, Protocol):
    """A source that samples elsewhere while this process does something else."""

    def begin(self, batch: StudyBatch, settings: SamplingSettings, seeds: Sequence[int]) -> Future[Groups]:
        """Begins to sample with the present weights; ``finish`` makes groups of the result.

        Raises:
            RunPaused: it can't be begun for now; so does the result where sampling fails later.
        """
        ...

    def finish(self, batch: StudyBatch, groups: Groups, settings: SamplingSettings) -> Groups:
        """The groups that ``roll_out`` would return, scored with the weights of that moment.

        Raises:
            RunPaused: they are not what was asked for.
        """
        ...


class LocalRollouts:
    """Samples from the policy in this process."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def roll_out(
        self, batch: StudyBatch, settings: SamplingSettings, seeds: Sequence[int] | None = None
    ) -> tuple[RolloutGroup, ...]:
        return self._policy.roll_out(batch, settings, seeds)

    def metrics(self) -> Mapping[str, float]:
        """Empty: the model that samples is the one that scores."""
        return {}

    def stop(self) -> None:
        """Nothing to stop."""

    def close(self) -> None:
        """Nothing to release."""
