"""Terms and their weighted mean: today's rewards exactly, worked sums, what is undefined, what counts as zero."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import make_study

from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.errors import DataError, NonFiniteError, RunPaused, SettingError
from orapo.records import FailedJudgement, Split, Study
from orapo.reward import OfflineJudge, WeightedReward
from orapo.reward.terms import registry
from orapo.reward.terms.registry import PerReport, Written

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "rewards.json").read_text())
"""Rollouts of a run on phantoms with what they earned before rewards had terms."""

ORACLE = "Small left pleural effusion. No pneumothorax."
STUDY = make_study("a", ORACLE)


def study_of(row: Mapping[str, Any]) -> Study:
    states = {o: LabelState(row["oracle_labels"].get(o.value, "unmentioned")) for o in OBSERVATIONS}
    return Study(row["study_id"], "p", Split.TRAIN, ("a.png",), ("PA",), "", states)


REPORTS, STUDIES = [row["generated_report"] for row in GOLDEN], [study_of(row) for row in GOLDEN]


@pytest.mark.parametrize("weight", [1.0, 0.3, 7])
def test_alone_facts_and_accuracy_pay_what_they_paid_before_there_were_terms(weight: float) -> None:
    facts = WeightedReward({"facts": weight, "rouge_l": 0}).score(REPORTS, STUDIES)
    assert [b.total for b in facts] == [row["facts"] for row in GOLDEN]
    assert [(b.precision, b.recall) for b in facts] == [(row["precision"], row["recall"]) for row in GOLDEN]
    assert [b.is_zero for b in facts] == [row["facts"] == 0 for row in GOLDEN]
    accuracy = WeightedReward({"accuracy": weight}).score(REPORTS, STUDIES)
    assert [b.total for b in accuracy] == [row["accuracy"] for row in GOLDEN]
    assert {0.0, 1.0} == {b.total for b in accuracy}
    other = WeightedReward({"facts": weight}, f_beta=1.0, uncertain_is_positive=True).score(REPORTS, STUDIES)
    assert [b.total for b in other] == [row["f1_uncertain_is_positive"] for row in GOLDEN]


def fixed(monkeypatch: pytest.MonkeyPatch, **terms: Sequence[Any]) -> None:
    """Registers terms that give these values; ``said`` says that at most 0.1 is zero."""
    registry.load_terms()
    for name, values in terms.items():
        limit = 0.1 if name == "said" else None

        class Fixed:
            zero_at_most, needs_judge, given = limit, False, values

            def start(self, written: Written) -> "Fixed":
                return self

            def result(self) -> Sequence[Any]:
                return self.given

        monkeypatch.setitem(registry._FACTORIES, name, Fixed)


def test_the_weighted_mean_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed(monkeypatch, one=[0.5, 1.0], two=[0.25, 1.0])
    reward = WeightedReward({"one": 1, "two": 3})
    assert reward.weights == {"one": 0.25, "two": 0.75}
    first, second = reward.score(["x", "y"], [STUDY, STUDY])
    assert first.total == pytest.approx((0.5 + 3 * 0.25) / 4)
    assert first.terms == {"one": 0.5, "two": 0.25}
    assert second.total == 1.0


def test_an_undefined_term_drops_out_and_the_other_weights_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed(monkeypatch, one=[0.5], two=[None], three=[1.0])
    (found,) = WeightedReward({"one": 1, "two": 8, "three": 1}).score(["x"], [STUDY])
    assert (found.total, found.terms["two"]) == (0.75, None)
    (nothing,) = WeightedReward({"two": 1}).start(["x"], [STUDY]).result()
    assert nothing == FailedJudgement("study a leaves every term undefined: two; pay another one beside")


def test_an_all_zero_report_is_one_whose_zero_term_is_low(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed(monkeypatch, one=[1.0, 0.0, 0.3], said=[0.1, 0.11, 0.0])
    studies = [STUDY] * 3
    paid = {"one": 1.0, "said": 1.0}
    assert [b.is_zero for b in WeightedReward(paid).score("xyz", studies)] == [True, False, True]
    assert [b.is_zero for b in WeightedReward(paid, zero_at_most=0).score("xyz", studies)] == [False, False, True]
    other = WeightedReward(paid, zero_term="one", zero_at_most=0.4)
    assert [b.is_zero for b in other.score("xyz", studies)] == [False, True, True]
    unpaid = WeightedReward({"one": 1.0}, zero_term="said")
    assert [(b.total, b.is_zero) for b in unpaid.score("xyz", studies)] == [(1.0, True), (0.0, False), (0.3, True)]
    assert unpaid.weights == {"one": 1.0}


def test_the_zero_term_is_facts_else_the_first_that_says_so() -> None:
    assert WeightedReward({"accuracy": 1, "facts": 1}).zero_term == "facts"
    assert WeightedReward({"rouge_l": 1, "attributes": 1, "accuracy": 1}).zero_term == "attributes"
    assert WeightedReward({"rouge_l": 1, "facts": 0}).zero_term is None


def test_where_the_zero_term_is_undefined_only_a_reward_of_zero_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed(monkeypatch, one=[0.0, 0.5], said=[None, None])
    assert [b.is_zero for b in WeightedReward({"one": 1, "said": 1}).score("xy", [STUDY] * 2)] == [True, False]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"terms": {"fact": 1}},
            "reward.terms.fact is not a setting (did you mean facts?); allowed: accuracy, answer, ",
        ),
        ({"terms": {"facts": 1, "rouge": 0}}, "reward.terms.rouge is not a setting (did you mean rouge_l?)"),
        ({"terms": {"facts": -1}}, "terms.facts is -1; it must be a number, at least 0"),
        ({"terms": {"facts": "much"}}, "terms.facts is 'much'; it must be a number"),
        ({"terms": {"facts": 0}}, "reward.terms is {'facts': 0.0}; at least one weight must be above 0"),
        ({"terms": {}}, "reward.terms is {}; at least one weight must be above 0"),
        ({"combine": "product"}, "combine is 'product'; it must be one of sum, normalised"),
        (
            {"zero_term": "rouge_l"},
            "reward.zero_term is 'rouge_l', which has no zero of its own; set",
        ),
        ({"zero_term": "fact"}, "reward.zero_term.fact is not a setting (did you mean facts?)"),
        ({"zero_at_most": 1}, "zero_at_most is 1; it must be a number, at least 0 and less than 1"),
        (
            {"terms": {"chrf": 1}, "zero_at_most": 0.2},
            "reward.zero_at_most is 0.2; reward.zero_term must name",
        ),
        (
            {"term_settings": {"lenght": {}}},
            "reward.term_settings.lenght is not a setting (did you mean length?)",
        ),
        (
            {"terms": {"no_repetition": 1}, "term_settings": {"no_repetition": {"words": 3}}},
            "reward.term_settings.no_repetition.words is not a setting (did you mean ",
        ),
        (
            {"terms": {"no_repetition": 1}, "term_settings": {"no_repetition": {"num_words": 0}}},
            "reward.term_settings.no_repetition.num_words is 0; it must be a whole number, at least 1",
        ),
        ({"modules": ["no_such_module"]}, "reward.modules names 'no_such_module', which can't be imported: No module"),
        ({"terms": {"chrf": 1}, "judge": OfflineJudge()}, "reward.terms pays chrf, which need no language model"),
    ],
)
def test_wrong_settings_are_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=re.escape(message)) as raised:
        WeightedReward(**{"terms": {"facts": 1}, **settings})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ([1.5, 0], DataError, "reward term bad is 1.5 for study a; allowed is [0, 1] or None"),
        ([-0.1, 0], DataError, "reward term bad is -0.1 for study a"),
        ([0, math.nan], NonFiniteError, "reward term bad is nan for study a"),
        ([0], DataError, "reward term bad gave 1 values for 2 reports"),
        ([None, 0.2], DataError, "reward term bad is defined for some reports of study a only"),
    ],
)
def test_what_a_term_may_not_give(
    values: list[Any], error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed(monkeypatch, bad=values)
    with pytest.raises(error, match=re.escape(message)):
        WeightedReward({"bad": 1}).start(["x", "y"], [STUDY, STUDY]).result()


def test_a_report_that_one_term_could_not_read_has_no_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed(monkeypatch, one=[0.5, 0.5], slow=[FailedJudgement("refused"), 0.5])
    first, second = WeightedReward({"one": 1, "slow": 1}).start(["x", "y"], [STUDY, STUDY]).result()
    assert first == FailedJudgement("refused")
    assert not isinstance(second, FailedJudgement)


def test_all_terms_have_begun_before_any_is_computed_and_each_judgement_is_waited_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[str] = []

    class Slow:
        zero_at_most, needs_judge = None, False

        def start(self, written: Written) -> "Slow":
            happened.append("slow begins")
            return self

        def result(self) -> list[float]:
            happened.append("slow ends")
            return [1.0]

    class Quick(PerReport):
        def value(self, report: str, study: Study) -> float:
            happened.append("quick")
            return 1.0

    class Judge(OfflineJudge):
        def start(self, reports: Sequence[str]) -> Any:
            happened.append("judge begins")
            return super().start(reports)

    registry.load_terms()
    monkeypatch.setitem(registry._FACTORIES, "quick", Quick)
    monkeypatch.setitem(registry._FACTORIES, "slow", Slow)
    pending = WeightedReward({"facts": 1, "quick": 1, "slow": 1, "accuracy": 1}, judge=Judge()).start(["x"], [STUDY])
    assert happened == ["judge begins", "slow begins"]
    pending.result()
    assert happened == ["judge begins", "slow begins", "quick", "slow ends"]


class Spending:
    """A term that asks somebody, and counts it."""

    zero_at_most, needs_judge = 0.0, False

    def __init__(self) -> None:
        self.spent = 0.0

    def start(self, written: Written) -> "Spending":
        self.spent += 2.0
        if self.spent > 4:
            raise RunPaused("nobody answers")
        return self

    def result(self) -> list[float]:
        return [1.0]

    def totals(self) -> dict[str, float]:
        return {"calls": self.spent, "cost_usd": self.spent / 2}

    def state_dict(self) -> dict[str, float]:
        return {"spent": self.spent}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.spent = state["spent"]


class CountingJudge(OfflineJudge):
    spent = 3.0

    def totals(self) -> dict[str, float]:
        return {"calls": 5.0}

    def state_dict(self) -> dict[str, float]:
        return {"spent": self.spent}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.spent = state["spent"]


def test_what_judge_and_terms_spend_adds_up_and_is_remembered_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.load_terms()
    monkeypatch.setitem(registry._FACTORIES, "rubric", Spending)
    reward = WeightedReward({"facts": 1, "rubric": 1}, judge=CountingJudge())
    reward.score(["x"], [STUDY])
    assert reward.totals() == {"calls": 7.0, "cost_usd": 1.0}
    assert reward.state_dict() == {"spent": 3.0, "rubric.spent": 2.0}
    other = WeightedReward({"facts": 1, "rubric": 1}, judge=CountingJudge())
    other.load_state_dict({"spent": 1.0, "rubric.spent": 4.0})
    assert other.state_dict() == {"spent": 1.0, "rubric.spent": 4.0}
    with pytest.raises(RunPaused, match="nobody answers"):
        other.start(["x"], [STUDY])


def test_a_term_that_needs_a_setting_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Needy(PerReport):
        address: str

        def value(self, report: str, study: Study) -> float:
            return float(self.address == "here")

    registry.load_terms()
    monkeypatch.setitem(registry._FACTORIES, "needy", Needy)
    with pytest.raises(SettingError, match=r"reward.term_settings.needy.address is missing; the term needy needs it"):
        WeightedReward({"needy": 1})
    assert WeightedReward({"facts": 1, "needy": 0}).weights == {"facts": 1.0}
    (found,) = WeightedReward({"needy": 1}, term_settings={"needy": {"address": "here"}}).score(["x"], [STUDY])
    assert found.total == 1.0


def test_one_study_per_report() -> None:
    with pytest.raises(DataError, match="1 reports and 0 "):
        WeightedReward({"facts": 1}).start(["a."], [])
