import itertools
import math

import pytest

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.errors import DataError, SettingError
from orapo.records import FailedJudgement, Judgement, LabelVerdict, RewardBreakdown
from orapo.reward import FactScoreReward, Judged
from orapo.reward.fact_score import fact_score
from orapo.reward.judging import ReadyJudgements

Obs = Observation
A, B, C, D = Obs.PLEURAL_EFFUSION, Obs.EDEMA, Obs.FRACTURE, Obs.PNEUMOTHORAX
ENTAILED, CONTRADICTED, SILENT = Judgement.ENTAILED, Judgement.CONTRADICTED, Judgement.NOT_MENTIONED


def verdicts(**judged: set[Observation]) -> list[LabelVerdict]:
    entailed, contradicted = judged.get("entailed", set()), judged.get("contradicted", set())
    return [
        LabelVerdict(o, ENTAILED if o in entailed else CONTRADICTED if o in contradicted else SILENT)
        for o in OBSERVATIONS
    ]


def labels(*positive: Observation, uncertain: tuple[Observation, ...] = ()) -> LabelStates:
    return {
        o: LabelState.POSITIVE if o in positive else LabelState.UNCERTAIN if o in uncertain else LabelState.UNMENTIONED
        for o in OBSERVATIONS
    }


def test_one_right_one_wrong_one_missed() -> None:
    # present {A, B}; entailed {A, C}: TP 1, FP 1, FN 1; P = R = 1/2, so F-beta = 1/2 for any beta
    score = fact_score(verdicts(entailed={A, C}), frozenset({A, B}), f_beta=2.0)
    assert (score.true_positives, score.false_positives, score.false_negatives) == ({A}, {C}, {B})
    assert (score.precision, score.recall) == (0.5, 0.5)
    assert score.total == pytest.approx(0.5)


def test_recall_weighs_more_than_precision() -> None:
    # mentions everything: TP 1, FP 3: P = 1/4, R = 1: 5 * 1/4 / (4 * 1/4 + 1) = 1.25 / 2 = 0.625
    lavish = fact_score(verdicts(entailed={A, B, C, D}), frozenset({A}), f_beta=2.0)
    # says little: TP 1, FN 3: P = 1, R = 1/4: 5 * 1/4 / (4 * 1 + 1/4) = 1.25 / 4.25 = 0.294
    sparing = fact_score(verdicts(entailed={A}), frozenset({A, B, C, D}), f_beta=2.0)
    assert lavish.total == pytest.approx(0.625)
    assert sparing.total == pytest.approx(1.25 / 4.25)


def test_contradicted_finding_is_false_positive_and_false_negative() -> None:
    # present {A, B}; A entailed, B contradicted: TP 1, FP 1, FN 1: P = R = 1/2 -> 0.5
    score = fact_score(verdicts(entailed={A}, contradicted={B}), frozenset({A, B}), f_beta=2.0)
    assert score.false_positives == score.false_negatives == {B}
    assert score.total == pytest.approx(0.5)
    # twin: B merely missed has P = 1, R = 1/2: 5 * 1/2 / (4 + 1/2) = 0.556, so a judge that forgets the FP is seen
    missed = fact_score(verdicts(entailed={A}), frozenset({A, B}), f_beta=2.0)
    assert missed.total == pytest.approx(2.5 / 4.5)
    assert missed.total > score.total + 0.05


def test_denying_what_is_absent_costs_nothing() -> None:
    assert fact_score(verdicts(entailed={A}, contradicted={B, C}), frozenset({A}), 2.0).total == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("f_beta", "expected"),
    # P = 1/4, R = 1
    [(1.0, 2 * 0.25 / 1.25), (2.0, 5 * 0.25 / 2.0), (0.5, 1.25 * 0.25 / (0.0625 + 1))],
)
def test_beta_is_on_the_side_of_recall(f_beta: float, expected: float) -> None:
    present = frozenset({A})
    assert fact_score(verdicts(entailed={A, B, C, D}), present, f_beta).total == pytest.approx(expected)
    # twin: beta^2 on R instead of P gives another number unless beta is 1
    swapped = (1 + f_beta**2) * 0.25 / (0.25 + f_beta**2)
    assert (abs(swapped - expected) < 1e-9) == (f_beta == 1.0)


def test_no_true_positive_pays_zero() -> None:
    for present in (frozenset[Observation](), frozenset({A})):
        for judged in (verdicts(), verdicts(entailed={B}), verdicts(contradicted={A})):
            assert fact_score(judged, present, 2.0).total == 0.0


def test_eps_is_negligible_but_there() -> None:
    score = fact_score(verdicts(entailed={A}), frozenset({A}), 2.0, eps=1e-3)
    assert score.total == pytest.approx(5 / (5 + 1e-3))
    assert fact_score(verdicts(entailed={A}), frozenset({A}), 2.0).total == pytest.approx(1.0, abs=1e-8)


def test_range_and_monotony_over_all_small_cases() -> None:
    few = (A, B, C)
    for truth in itertools.product((False, True), repeat=3):
        present = frozenset(o for o, is_present in zip(few, truth, strict=True) if is_present)
        for judged in itertools.product(Judgement, repeat=3):
            entailed = {o for o, j in zip(few, judged, strict=True) if j is ENTAILED}
            contradicted = {o for o, j in zip(few, judged, strict=True) if j is CONTRADICTED}
            total = fact_score(verdicts(entailed=entailed, contradicted=contradicted), present, 2.0).total
            assert 0.0 <= total <= 1.0
            for wrong in set(few) - present - entailed:  # a false statement more never raises
                worse = verdicts(entailed=entailed | {wrong}, contradicted=contradicted - {wrong})
                assert fact_score(worse, present, 2.0).total <= total
            for found in present - entailed:  # a true statement more never lowers
                better = verdicts(entailed=entailed | {found}, contradicted=contradicted - {found})
                assert fact_score(better, present, 2.0).total >= total


def test_order_of_verdicts_is_irrelevant() -> None:
    judged = verdicts(entailed={A, C}, contradicted={B})
    assert fact_score(judged[::-1], frozenset({A, B}), 2.0) == fact_score(judged, frozenset({A, B}), 2.0)


class FixedJudge:
    def start(self, reports: list[str]) -> ReadyJudgements:
        return ReadyJudgements(tuple(Judged((), {"?": r}, tuple(verdicts(entailed={A})), "me") for r in reports))


def test_a_failed_judgement_is_no_reward() -> None:
    class FailingJudge(FixedJudge):
        def start(self, reports: list[str]) -> ReadyJudgements:
            judged = super().start(reports).judgements
            return ReadyJudgements((FailedJudgement("no answer"), *judged[1:]))

    reward = FactScoreReward(FailingJudge())  # type: ignore[arg-type]
    first, second = reward.start(["one", "two"], [labels(A), labels(A)]).result()
    assert first == FailedJudgement("no answer")
    assert isinstance(second, RewardBreakdown)
    assert second.total == pytest.approx(1.0)
    with pytest.raises(DataError, match="a report could not be judged: no answer"):
        reward.score(["one", "two"], [labels(A), labels(A)])


def test_any_judge_can_be_plugged_in_and_its_reading_travels_on() -> None:
    first, second = FactScoreReward(FixedJudge()).score(["one", "two"], [labels(A), labels(B)])  # type: ignore[arg-type]
    assert (first.total, second.total) == (pytest.approx(1.0), 0.0)
    assert first.judge == "me"
    assert (first.rejected, second.rejected) == ({"?": "one"}, {"?": "two"})
    assert tuple(v.observation for v in first.verdicts) == OBSERVATIONS


def test_uncertain_labels_follow_the_setting() -> None:
    truth = labels(A, uncertain=(B,))
    strict, lenient = FactScoreReward(), FactScoreReward(uncertain_is_positive=True)
    report = "Pleural effusion. Possible pulmonary edema."
    assert strict.score([report], [truth])[0].total == pytest.approx(1.0)
    assert lenient.score([report], [truth])[0].true_positives == {A, B}
    # a finding asserted where the truth is uncertain is false in the one setting and true in the other
    firm = "Pleural effusion. Pulmonary edema."
    assert strict.score([firm], [truth])[0].false_positives == {B}
    assert lenient.score([firm], [truth])[0].false_positives == frozenset()


def test_sentence_order_is_irrelevant() -> None:
    sentences = ["Small left pleural effusion.", "No pneumothorax.", "The heart is enlarged.", "Possible edema."]
    truth = labels(A, D, Obs.CARDIOMEGALY)
    totals = {
        breakdown.total
        for order in itertools.permutations(sentences)
        for breakdown in FactScoreReward().score([" ".join(order)], [truth])
    }
    assert len(totals) == 1


@pytest.mark.parametrize("f_beta", [0.0, -1.0, math.nan, math.inf])
def test_f_beta_out_of_range(f_beta: float) -> None:
    with pytest.raises(SettingError, match="f_beta"):
        FactScoreReward(f_beta=f_beta)


@pytest.mark.parametrize("eps", [0.0, -1e-8, 0.1, math.nan])
def test_eps_out_of_range(eps: float) -> None:
    with pytest.raises(SettingError, match="eps"):
        FactScoreReward(eps=eps)


def test_one_set_of_labels_per_report() -> None:
    with pytest.raises(DataError, match="2 reports and 1 "):
        FactScoreReward().score(["a.", "b."], [labels(A)])
