"""Dynamic sampling (DAPO): groups whose rollouts all earned the same teach nothing and are drawn again."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from orapo.batches import RolloutGroup
from orapo.objective.advantages import is_flat
from orapo.records import FailedJudgement, RewardBreakdown
from orapo.training.step import Told

Judgement = RewardBreakdown | FailedJudgement


def flat_groups(judged: Sequence[Sequence[Judgement]]) -> list[int]:
    """The places of groups in which every rollout was judged and all earned the same."""
    return [place for place, group in enumerate(judged) if _is_judged(group) and _is_flat(group)]


def with_redrawn(
    told: Told, places: Sequence[int], groups: Sequence[RolloutGroup], judged: Sequence[Sequence[Judgement]]
) -> tuple[Told, list[int]]:
    """What a process tells of its share once some of its groups have been drawn again.

    A new group that could not be judged whole is dropped: the one before it stays, whose rewards are known.

    Args:
        told: before.
        places: of the groups that were drawn again.
        groups: the new rollouts of each place, on the CPU.
        judged: their K judgements.

    Returns:
        What to tell now, and the places whose group is a new one.
    """
    all_groups, all_judged = list(told.groups), list(told.judged)
    taken = [i for i, group in enumerate(judged) if _is_judged(group)]
    for i in taken:
        all_groups[places[i]], all_judged[places[i]] = groups[i], tuple(judged[i])
    return replace(told, groups=tuple(all_groups), judged=tuple(all_judged)), [places[i] for i in taken]


def _is_judged(group: Sequence[Judgement]) -> bool:
    return all(isinstance(rollout, RewardBreakdown) for rollout in group)


def _is_flat(group: Sequence[Judgement]) -> bool:
    # in the precision of the rewards that the objective sees
    totals = [rollout.total for rollout in group if isinstance(rollout, RewardBreakdown)]
    return bool(is_flat(torch.tensor([totals], dtype=torch.float32)).item())
