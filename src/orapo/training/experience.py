"""What a training step learns from, in one record, gathered from all processes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from orapo.batches import RolloutGroup, StudyBatch
from orapo.errors import NonFiniteError
from orapo.objective.advantages import is_flat, normalised_sum
from orapo.objective.orapo import Mixing
from orapo.records import FailedJudgement, RewardBreakdown, Study


@dataclass(frozen=True)
class Experience:
    """B studies of all processes, with the K rollouts of each and their rewards.

    A study is left out if one of its rollouts could not be judged: the rest of its group would be compared with an
    invented reward. A sampler's own log-probabilities belong to ``rollouts``.

    Attributes:
        studies: length B.
        rollouts: length B, on the CPU; empty for an objective without rollouts.
        rewards: [B, K], float32, in [0, 1]; [B, 0] without rollouts.
        breakdowns: per study, K breakdowns; empty without rollouts.
        mixing: the oracle's share per study, equations (8)-(10); None without rollouts.
        own_rows: from the places of this process's own studies in ``batch`` to their rows above.
        batch: this process's share, including its studies that are left out above.
        ref_logps: by place, per completion [T], under the reference; empty where no loss needs it.
        most_own_rows: the largest number of ``own_rows`` of any process.
        metrics: what collecting adds to the row of metrics.csv, over all processes.
        terms: values [B, K] of each term of the reward by name, float32, NaN where the study leaves it undefined.
        compared: [B, K], what advantages compare within a group; None: the rewards.
        is_zero: [B, K] bool, True where a rollout counts as a reward of zero; None without rollouts.
    """

    studies: tuple[Study, ...]
    rollouts: tuple[RolloutGroup, ...]
    rewards: Tensor
    breakdowns: tuple[tuple[RewardBreakdown, ...], ...]
    mixing: Mixing | None
    own_rows: Mapping[int, int]
    batch: StudyBatch
    ref_logps: Mapping[int, tuple[Tensor, ...]]
    most_own_rows: int
    metrics: Mapping[str, float]
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    compared: Tensor | None = None
    is_zero: Tensor | None = None

    def after_update(self) -> "Experience":
        """The experience without image features that an update has made stale, graph and all."""
        features = self.batch.image_features
        if features is None or not any(one.requires_grad for study in features for one in study):
            return self
        return replace(self, batch=replace(self.batch, image_features=None))


class JudgedGroup(NamedTuple):
    """One study's group, as its process sends it to the others.

    Attributes:
        study: of the batch.
        rollouts: on the CPU; None for an objective without rollouts.
        judged: per rollout, its reward or why it has none; empty without rollouts.
    """

    study: Study
    rollouts: RolloutGroup | None = None
    judged: tuple[RewardBreakdown | FailedJudgement, ...] = ()

    @property
    def breakdowns(self) -> tuple[RewardBreakdown, ...]:
        """The breakdowns of the rollouts that could be judged."""
        return tuple(one for one in self.judged if isinstance(one, RewardBreakdown))

    @property
    def is_judged(self) -> bool:
        """Whether every rollout was judged."""
        return len(self.breakdowns) == len(self.judged)

    def has_zero_variance(self, normalised_weights: Mapping[str, float] | None = None) -> bool:
        """Whether every rollout was judged and all have the same advantage, in the objective's precision.

        Args:
            normalised_weights: as for ``compared_rewards``.
        """
        compared = compared_rewards([self.breakdowns], normalised_weights) if self.is_judged else None
        return compared is not None and bool(is_flat(compared).item())


def compared_rewards(
    groups: Sequence[Sequence[RewardBreakdown]], normalised_weights: Mapping[str, float] | None
) -> Tensor:
    """What advantages compare within each group of K: [B, K], float32.

    Args:
        groups: B studies' breakdowns.
        normalised_weights: of the terms, by name, where each is normalised within its group; None: the rewards.
    """
    if normalised_weights is None:
        return torch.tensor([[one.total for one in group] for group in groups], dtype=torch.float32)
    terms = term_values(groups, list(normalised_weights))
    return normalised_sum(torch.stack([*terms.values()]), torch.tensor([*normalised_weights.values()]))


def term_values(groups: Sequence[Sequence[RewardBreakdown]], names: Sequence[str]) -> dict[str, Tensor]:
    """Values [B, K] of each term, float32, NaN where undefined."""
    return {
        name: torch.tensor(
            [[math.nan if (value := one.terms[name]) is None else value for one in group] for group in groups],
            dtype=torch.float32,
        )
        for name in names
    }


@contextmanager
def naming_studies(studies: Sequence[Study]) -> Iterator[None]:
    """Adds the ids of ``studies`` to a ``NonFiniteError`` that names none yet."""
    try:
        yield
    except NonFiniteError as error:
        if error.study_ids:
            raise
        study_ids = tuple(study.study_id for study in studies)
        named = NonFiniteError(f"{error} (studies {', '.join(study_ids)})")
        named.study_ids = study_ids
        raise named from error
