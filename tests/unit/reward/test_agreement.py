import math

import pytest

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.errors import DataError
from orapo.reward import FactScoreReward
from orapo.reward.agreement import cohens_kappa, compare_judges, pearson_correlation

TRUTH = {o: LabelState.POSITIVE if o is Observation.PLEURAL_EFFUSION else LabelState.UNMENTIONED for o in OBSERVATIONS}


def test_cohens_kappa_by_hand():
    # 10 pairs: both a 4, both b 3, a/b 2, b/a 1. p_o = 0.7; p_e = (6 * 5 + 4 * 5) / 100 = 0.5; kappa = 0.2 / 0.5.
    pairs = [("a", "a")] * 4 + [("b", "b")] * 3 + [("a", "b")] * 2 + [("b", "a")]
    assert cohens_kappa(pairs) == pytest.approx(0.4)
    assert cohens_kappa([("a", "a"), ("b", "b")]) == 1.0
    assert cohens_kappa([("a", "b"), ("b", "a")]) == pytest.approx(-1.0)
    assert math.isnan(cohens_kappa([("a", "a")] * 5))
    assert math.isnan(cohens_kappa([]))


def test_pearson_by_hand():
    # Deviations (-1, 0, 1) and (-2, 1, 1): covariance 3, spread sqrt(2 * 6).
    assert pearson_correlation([1, 2, 3], [0, 3, 3]) == pytest.approx(3 / math.sqrt(12))
    assert math.isnan(pearson_correlation([1, 1], [0, 1]))


def test_two_judges_on_the_same_reports():
    reports = ["Small left pleural effusion.", "No pleural effusion.", "Possible pleural effusion."]
    strict, lenient = FactScoreReward(), FactScoreReward(uncertain_is_positive=True)
    labels = [TRUTH] * 3
    same = compare_judges(strict.score(reports, labels), strict.score(reports, labels))
    assert same.overall.agreement == 1.0
    assert same.reward_correlation == pytest.approx(1.0)
    assert same.mean_difference == 0.0
    other = compare_judges(strict.score(reports, labels), lenient.score(reports, labels))
    effusion = other.per_observation[Observation.PLEURAL_EFFUSION]
    assert (effusion.first_entails, effusion.second_entails) == (1, 2)
    assert effusion.agreement == pytest.approx(2 / 3)
    # First: entailed, contradicted, not mentioned; second: entailed, contradicted, entailed. p_e = (1*2 + 1*1) / 9.
    assert effusion.kappa == pytest.approx((2 / 3 - 1 / 3) / (1 - 1 / 3))
    assert other.mean_rewards == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert other.mean_difference == pytest.approx(1 / 3)
    assert other.zero_agreement == pytest.approx(2 / 3)
    assert other.overall.num_reports == 42


def test_other_reports_are_refused():
    judged = FactScoreReward().score(["Clear lungs."], [TRUTH])
    with pytest.raises(DataError, match="1 and 0 are given"):
        compare_judges(judged, [])
