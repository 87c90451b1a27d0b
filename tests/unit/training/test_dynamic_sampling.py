"""Which groups are drawn again, and what becomes of a new group that no judge could read."""

import torch

from orapo.batches import RolloutGroup
from orapo.records import FailedJudgement, RewardBreakdown
from orapo.training.dynamic_sampling import flat_groups, with_redrawn
from orapo.training.step import Told

FAILED = FailedJudgement("refused")


def judged(*totals: float) -> tuple[RewardBreakdown, ...]:
    nothing = frozenset()
    return tuple(RewardBreakdown(total, 0.0, 0.0, nothing, nothing, nothing, (), (), {}) for total in totals)


def group(name: str) -> RolloutGroup:
    ids = torch.zeros(1, dtype=torch.int64)
    return RolloutGroup((name, name), (ids, ids), (ids.float(), ids.float()), (True, True))


def test_flat_groups():
    groups = [judged(0.0, 0.0), judged(0.0, 0.5), judged(0.3, 0.3), (*judged(0.0), FAILED), (FAILED, FAILED)]
    assert flat_groups(groups) == [0, 2]


def test_flatness_is_that_of_the_float32_rewards_that_the_loss_sees():
    # 0.1 + 0.2 is not 0.3, but the nearest float32 is the same
    assert flat_groups([judged(0.1 + 0.2, 0.3), judged(0.3, 0.3001)]) == [0]


def test_new_groups_take_their_places_and_unjudged_ones_do_not():
    told = Told((), (group("a"), group("b"), group("c")), (judged(0, 0), judged(0, 1), judged(0.5, 0.5)))
    new = (judged(0.0, 1.0), (*judged(1.0), FAILED))
    after, taken = with_redrawn(told, [0, 2], [group("A"), group("C")], new)
    assert taken == [0]
    assert [one.texts[0] for one in after.groups] == ["A", "b", "c"]
    assert after.judged == (new[0], *told.judged[1:])
    assert flat_groups(after.judged) == [2]
    assert told.groups[0].texts[0] == "a", "what was told before is unchanged"
