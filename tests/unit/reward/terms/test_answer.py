"""The term ``answer``: what it pays, what counts as zero, and what it can't be paid beside."""

import math

import pytest
from tests.conftest import make_study

from orapo.data.arithmetic import Arithmetic
from orapo.errors import SettingError
from orapo.records import FailedJudgement, RewardBreakdown, Split
from orapo.reward.weighted import WeightedReward
from orapo.training.run_files import breakdown_row

STUDY = Arithmetic().study(Split.TRAIN, 0)
REPORT = make_study("s", "No pneumothorax.")


def earned(reward: WeightedReward, *texts: str) -> list[RewardBreakdown]:
    return reward.score(texts, [STUDY] * len(texts))


def test_a_right_answer_earns_one_and_the_rest_nothing() -> None:
    assert STUDY.question is not None
    right = STUDY.question.answer
    texts = (STUDY.oracle_report, f"Answer: {right}", f"Answer: {int(right) + 1}", right, "", f"Answer: {right}\nmore")
    found = earned(WeightedReward({"answer": 1.0}), *texts)
    assert [one.total for one in found] == [1, 1, 0, 0, 0, 0]
    assert [one.is_zero for one in found] == [False, False, True, True, True, True]
    assert all(math.isnan(one.precision) and not one.verdicts for one in found)


def test_other_terms_are_paid_beside_it() -> None:
    reward = WeightedReward({"answer": 3.0, "no_repetition": 1.0})
    right, wrong = earned(reward, STUDY.oracle_report, "Answer: 0")
    assert (right.total, wrong.total) == (1.0, 0.25)
    assert wrong.is_zero, "the answer says what is zero"


def test_a_row_of_rollouts_tells_of_no_observation() -> None:
    (found,) = earned(WeightedReward({"answer": 1.0}), STUDY.oracle_report)
    assert breakdown_row(found) == {"reward": 1.0, "terms": {"answer": 1.0}, "is_zero": False}


def test_what_the_data_leave_undefined_is_refused_before_a_model_is_loaded() -> None:
    with pytest.raises(SettingError, match=r"pays facts, and these data ask questions.*take reward=answer"):
        WeightedReward({"facts": 1.0}).check_studies([STUDY])
    with pytest.raises(SettingError, match="these data ask for reports; take reward=fact_score"):
        WeightedReward({"answer": 1.0}).check_studies([REPORT])
    WeightedReward({"answer": 1.0}).check_studies([STUDY])
    WeightedReward({"facts": 1.0}).check_studies([REPORT])
    (undefined,) = WeightedReward({"answer": 1.0}).start(["x"], [REPORT]).result()
    assert isinstance(undefined, FailedJudgement)
