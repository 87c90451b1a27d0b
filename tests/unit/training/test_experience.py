"""Which groups are sampled again, which count as judged, and what an update leaves of the image features."""

from dataclasses import replace

import torch
from tests.conftest import make_study

from orapo.batches import StudyBatch
from orapo.records import FailedJudgement, RewardBreakdown
from orapo.training.experience import Experience, JudgedGroup

STUDY, FAILED = make_study("a", "x"), FailedJudgement("refused")


def judged(*totals: float) -> tuple[RewardBreakdown, ...]:
    nothing = frozenset()
    return tuple(RewardBreakdown(total, 0.0, 0.0, nothing, nothing, nothing, (), (), {}) for total in totals)


def test_groups_with_zero_variance():
    groups = [judged(0.0, 0.0), judged(0.0, 0.5), judged(0.3, 0.3), (*judged(0.0), FAILED), (FAILED, FAILED)]
    assert [JudgedGroup(STUDY, None, one).has_zero_variance() for one in groups] == [True, False, True, False, False]
    assert [JudgedGroup(STUDY, None, one).is_judged for one in groups] == [True, True, True, False, False]


def test_variance_is_that_of_the_float32_rewards_that_the_loss_sees():
    # 0.1 + 0.2 is not 0.3, but the nearest float32 is the same
    assert JudgedGroup(STUDY, None, judged(0.1 + 0.2, 0.3)).has_zero_variance()
    assert not JudgedGroup(STUDY, None, judged(0.3, 0.3001)).has_zero_variance()


def test_an_update_uses_up_features_with_a_graph_and_no_others():
    frozen = StudyBatch((STUDY,), (), (), (), (), ((torch.zeros(2, 4),),))
    graph = replace(frozen, image_features=((torch.zeros(2, 4, requires_grad=True),),))
    experience = Experience((STUDY,), (), torch.zeros(1, 0), (), None, {0: 0}, frozen, {}, 1, {})
    assert experience.after_update() is experience
    assert replace(experience, batch=graph).after_update().batch.image_features is None
