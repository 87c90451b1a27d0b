"""Scoring in micro-batches: memory grows with their size, the result does not change."""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from orapo.batches import RolloutGroup, StudyBatch
from orapo.policy.model import Policy
from orapo.policy.reference import Reference
from orapo.policy.scoring import Completions
from orapo.training.sharding import is_sharded

ByPlace = Mapping[int, tuple[Tensor, ...]]
"""From a study's place in this process's batch to one tensor [T] for each of its completions."""


def study_completions(
    batch: StudyBatch, places: Sequence[int], rollouts: Sequence[RolloutGroup], has_oracle: bool
) -> ByPlace:
    """The completions to score, on the batch's device: a study's rollouts, then its oracle report.

    Args:
        batch: of this process.
        places: of the studies that are scored.
        rollouts: of each of these; none for an objective without rollouts.
        has_oracle: whether the oracle report is scored.
    """
    device = batch.device
    groups = [tuple(ids.to(device) for ids in group.token_ids) for group in rollouts] or [()] * len(places)
    return {
        place: (*group, batch.oracle_ids[place]) if has_oracle else group
        for place, group in zip(places, groups, strict=True)
    }


def micro_batches(completions: ByPlace, size: int) -> list[tuple[int, ...]]:
    """All places in parts of at most ``size``; studies with completions of similar length share a part."""
    order = sorted(completions, key=lambda place: sum(len(ids) for ids in completions[place]))
    return [tuple(order[first : first + size]) for first in range(0, len(order), size)]


def num_passes(policy: Policy, most_studies: int, size: int) -> int:
    """The passes of the process with most studies, which all must run; 0 where each may run its own number."""
    return math.ceil(most_studies / size) if is_sharded(policy) else 0


def filler(batch: StudyBatch) -> tuple[StudyBatch, Completions]:
    """A completion that is always there, for a pass whose result is not used: the first study's oracle report."""
    return batch.select([0]), ((batch.oracle_ids[0],),)


class ReferenceScorer:
    """Scores studies by the reference, in micro-batches."""

    def __init__(self, policy: Policy, reference: Reference, size: int, temperature: float) -> None:
        """Joins the parts.

        Args:
            policy: what trains; its weights, and the reference's, may be sharded across the processes.
            reference: of the policy.
            size: studies at a time, at least 1.
            temperature: of all log-probabilities, > 0.
        """
        self._policy = policy
        self._reference = reference
        self._size = size
        self._temperature = temperature

    def score(self, batch: StudyBatch, completions: ByPlace, most_studies: int) -> ByPlace:
        """Log-probabilities of these completions, without gradient.

        Args:
            batch: of this process.
            completions: by place, of the studies to score.
            most_studies: the largest number of studies to score in any process.
        """
        parts = micro_batches(completions, self._size)
        scored: dict[int, tuple[Tensor, ...]] = {}
        for part in parts:
            chosen = [completions[place] for place in part]
            logps = self._reference.score(batch.select(part), chosen, self._temperature)
            scored.update(zip(part, logps, strict=True))
        for _ in range(num_passes(self._policy, most_studies, self._size) - len(parts)):
            self._reference.score(*filler(batch), self._temperature)
        return scored
