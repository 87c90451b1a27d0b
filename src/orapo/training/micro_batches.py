"""The studies that are scored together, and their completions' log-probabilities under the reference."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import Tensor

from orapo.batches import StudyBatch
from orapo.objective.orapo import OrapoObjective
from orapo.policy.model import Policy
from orapo.policy.reference import Reference
from orapo.training.sharding import is_sharded, layer_by_layer
from orapo.training.step import Rollouts


@dataclass(frozen=True)
class MicroBatch:
    """The studies that are scored together, with what does not change over the inner steps.

    Attributes:
        indices: places of these studies in this process's batch.
        batch: the studies.
        completions: per study, its rollouts and then its oracle report, as far as the objective needs them.
        reference_logps: per study and completion, [T], or None where no loss needs the reference.
    """

    indices: tuple[int, ...]
    batch: StudyBatch
    completions: tuple[tuple[Tensor, ...], ...]
    reference_logps: tuple[tuple[Tensor, ...], ...] | None

    def after_a_step(self) -> "MicroBatch":
        """Without what was computed by weights that have changed since."""
        features = self.batch.image_features
        is_stale = features is not None and any(image.requires_grad for image in features)
        return replace(self, batch=replace(self.batch, image_features=None)) if is_stale else self


class MicroBatches:
    """Cuts this process's batch into micro-batches and has the reference score them."""

    def __init__(
        self,
        policy: Policy,
        reference: Reference | None,
        objective: OrapoObjective,
        num_studies: int,
        temperature: float,
    ) -> None:
        """Joins the parts.

        Args:
            policy: what trains; its weights, and the reference's, may be shared out among the processes.
            reference: None when the objective needs none.
            objective: says what is scored.
            num_studies: at a time, at least 1.
            temperature: of all log-probabilities, > 0.
        """
        self._policy = policy
        self._reference = reference if objective.needs_reference else None
        self._objective = objective
        self._num_studies = num_studies
        self._temperature = temperature

    def num_passes(self, studies_per_rank: Iterable[int]) -> int:
        """How many micro-batches the process with most studies has; 0 where each may have its own number."""
        return math.ceil(max(studies_per_rank) / self._num_studies) if is_sharded(self._policy) else 0

    def scored(
        self, batch: StudyBatch, rollouts: Rollouts | None, places: Iterable[int], num_passes: int
    ) -> list[MicroBatch]:
        """The studies at these places, a few at a time.

        Args:
            batch: of this process.
            rollouts: of all its studies, or None for an objective without rollouts.
            places: of the studies that are trained on.
            num_passes: how often every process scores at least, since they exchange weights; 0: as often as it likes.
        """
        order = list(places)
        if rollouts is not None:
            groups = rollouts.groups
            # Studies with rollouts of similar length share a micro-batch: less padding, the same sum.
            order.sort(key=lambda i: sum(len(ids) for ids in groups[i].token_ids))
        parts = [tuple(order[i : i + self._num_studies]) for i in range(0, len(order), self._num_studies)]
        micro_batches = []
        for indices in parts:
            completions = tuple(self._completions(batch, rollouts, i) for i in indices)
            part = batch.select(indices)
            reference_logps = self._reference_logps(part, completions)
            micro_batches.append(MicroBatch(indices, part, completions, reference_logps))
        for _ in range(num_passes - len(micro_batches)):
            self._reference_logps(*one_study(batch))
        return micro_batches

    def _completions(self, batch: StudyBatch, rollouts: Rollouts | None, place: int) -> tuple[Tensor, ...]:
        drawn = () if rollouts is None else rollouts.groups[place].token_ids
        return (*drawn, batch.oracle_ids[place]) if self._objective.needs_oracle else tuple(drawn)

    def _reference_logps(
        self, batch: StudyBatch, completions: tuple[tuple[Tensor, ...], ...]
    ) -> tuple[tuple[Tensor, ...], ...] | None:
        if self._reference is None:
            return None
        with layer_by_layer(self._policy):
            return self._reference.score(batch, completions, self._temperature)


def one_study(batch: StudyBatch) -> tuple[StudyBatch, tuple[tuple[Tensor, ...], ...]]:
    """Something to score that is always there: the batch's first study and its oracle report."""
    return batch.select([0]), ((batch.oracle_ids[0],),)
