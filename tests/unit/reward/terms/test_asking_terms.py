"""Terms that ask the judge's model, by the judge's client, against a server that fails: rubric and attributes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks.judge_server import ATTRIBUTE_FAULTS, CALL_FAULTS, RUBRIC_FAULTS, TEXT_FAULTS, JudgeServer
from benchmarks.phantom_reader import GrammarReader
from tests.conftest import make_study

from orapo.data.phantoms import PhantomSource
from orapo.errors import RunPaused, SettingError
from orapo.measures.attributes import attribute_agreement
from orapo.records import FailedJudgement, RewardBreakdown, Split
from orapo.remote.cache import AnswerCache
from orapo.remote.retry import RetryPolicy
from orapo.reward import WeightedReward
from orapo.reward.llm.client import LlmClient
from orapo.reward.llm.endpoint import Endpoint
from orapo.reward.llm.judge import LlmJudge
from orapo.reward.llm.limits import Budget, BudgetSpent, LimitSettings
from orapo.reward.llm.reward import FactScoreLlm

QUICK = RetryPolicy(max_tries=12, first_delay_seconds=0.01, max_delay_seconds=0.05, deadline_seconds=60.0)
SOURCE = PhantomSource(num_train=60)
STUDIES = list(SOURCE.studies(Split.TRAIN))[:8]
RUBRIC = """
sees_reference: true
criteria:
  - {name: effusion, asks: 'Does the report say "effusion"?', weight: 3}
  - {name: heart, asks: 'Does the report say "heart"?', weight: 1}
  - {name: fracture, asks: 'Does the report say "fracture"?', weight: -2}
"""


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer(retry_after="0.05", slow_seconds=2.0, attributes=GrammarReader(SOURCE, 60)) as running:
        yield running


@pytest.fixture
def rubric(tmp_path: Path) -> str:
    path = tmp_path / "rubric.yaml"
    path.write_text(RUBRIC)
    return str(path)


def reward(server: JudgeServer, folder: Path, name: str, settings: dict[str, Any], **client: Any) -> WeightedReward:
    endpoint = Endpoint("openai/judge", server.api_base, timeout_seconds=1.0, prices=(1.0, 1.0))
    cache = AnswerCache(folder / "answers.sqlite")
    judge = LlmJudge(LlmClient(endpoint, cache, **{"retry": QUICK, **client}), stages="offline")
    return WeightedReward({"facts": 1, name: 1}, judge=judge, term_settings={name: settings})


def values(paid: WeightedReward, reports: list[str], oracles: list[str], name: str) -> list[float | None]:
    studies = [make_study(f"s{place}", oracle) for place, oracle in enumerate(oracles)]
    return [breakdown.terms[name] for breakdown in paid.score(reports, studies)]


def in_words(report: str) -> float:
    """What the server's answers earn by the rubric above."""
    words = report.lower()
    return max(0.0, (3 * ("effusion" in words) + ("heart" in words) - 2 * ("fracture" in words)) / 4)


# ---- rubric


def test_a_rubric_pays_the_weights_of_what_is_met(server: JudgeServer, tmp_path: Path, rubric: str) -> None:
    paid = reward(server, tmp_path, "rubric", {"file": rubric})
    reports = [
        "Left effusion. Normal heart.",
        "Rib fracture. Left effusion.",
        "Rib fracture.",
        "",
        "Left effusion. Normal heart.",
    ]
    oracles = ["Left effusion."] * 4 + ["N/A"]
    assert values(paid, reports, oracles, "rubric") == [1.0, 0.25, 0.0, 0.0, None]
    assert [call.stage for call in server.calls] == ["rubric"] * 3, (
        "facts are read offline, nothing is asked of nothing"
    )
    assert paid.totals()["calls"] == 3
    again = reward(server, tmp_path, "rubric", {"file": rubric})
    assert values(again, reports, oracles, "rubric") == [1.0, 0.25, 0.0, 0.0, None]
    assert (len(server.calls), again.totals()["cache_hits"]) == (3, 3)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*CALL_FAULTS, *TEXT_FAULTS, *RUBRIC_FAULTS])
def test_every_fault_of_a_rubrics_answer_is_overcome(
    server: JudgeServer, tmp_path: Path, rubric: str, fault: str
) -> None:
    server.fault_rate, server.faults = 0.6, (fault,)
    reports = [study.oracle_report for study in STUDIES]
    paid = reward(server, tmp_path, "rubric", {"file": rubric})
    assert values(paid, reports, reports, "rubric") == pytest.approx([in_words(report) for report in reports])
    assert any(call.fault == fault for call in server.calls)
    assert len({(call.stage, call.subject) for call in server.good_calls()}) == len(server.good_calls())


def test_a_report_that_no_model_grades_is_no_reward(server: JudgeServer, tmp_path: Path, rubric: str) -> None:
    server.always = "missing_criterion"
    for policy in ("drop_study", "offline_judge"):
        client = {"retry": RetryPolicy(2, 0.01, 0.02, 5.0), "on_failure": policy}
        paid = reward(server, tmp_path, "rubric", {"file": rubric}, **client)
        (failed,) = paid.start(["Left effusion."], [make_study("a", "Clear.")]).result()
        assert isinstance(failed, FailedJudgement)
        assert "criteria.effusion is missing" in failed.reason
        assert paid.totals()["dropped_reports"] == 1


def test_a_rubric_waits_and_stays_within_the_budget_as_the_judge_does(
    server: JudgeServer, tmp_path: Path, rubric: str
) -> None:
    paid = reward(server, tmp_path, "rubric", {"file": rubric}, budget=Budget(0.001))
    with pytest.raises(BudgetSpent, match=r"max_cost is 0\.001"):
        values(paid, ["Left effusion."], ["Clear."], "rubric")
    assert not server.calls
    server.status = 503
    client = {"retry": RetryPolicy(1, 0.01, 0.02, 5.0), "pause_seconds": 0.1, "pause_limit_seconds": 0.3}
    paid = reward(server, tmp_path, "rubric", {"file": rubric}, limits=LimitSettings(outages_to_open=1000), **client)
    with pytest.raises(RunPaused, match=r"no judgement after 0.3 s for 1 of 1 reports"):
        values(paid, ["Left effusion."], ["Clear."], "rubric")


# ---- attributes


def test_attributes_by_the_model_are_the_grammars(server: JudgeServer, tmp_path: Path) -> None:
    paid = reward(server, tmp_path, "attributes", {"read_by": "model"})
    oracles = [study.oracle_report for study in STUDIES for _ in range(2)]
    reports = [
        text for place, study in enumerate(STUDIES) for text in (study.oracle_report, STUDIES[place - 1].oracle_report)
    ]
    studies = [study for study in STUDIES for _ in range(2)]
    found = [breakdown.terms["attributes"] for breakdown in paid.score(reports, studies)]
    assert found == [attribute_agreement(*pair).f1 for pair in zip(reports, oracles, strict=True)]
    assert None in found
    assert 1.0 in found
    asked = [call.subject for call in server.calls]
    assert len(asked) == len(set(asked)) <= len(STUDIES), "an oracle report is read once, a report of nothing never"


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*CALL_FAULTS, *TEXT_FAULTS, *ATTRIBUTE_FAULTS])
def test_every_fault_of_the_attributes_is_overcome(server: JudgeServer, tmp_path: Path, fault: str) -> None:
    server.fault_rate, server.faults = 0.5, (fault,)
    paid = reward(server, tmp_path, "attributes", {"read_by": "model"})
    reports = [study.oracle_report for study in STUDIES]
    expected = [attribute_agreement(report, report).f1 for report in reports]
    assert values(paid, reports, reports, "attributes") == expected
    assert any(call.fault == fault for call in server.calls)


def test_a_study_that_the_model_does_not_read_is_read_by_the_labeler_whole(server: JudgeServer, tmp_path: Path) -> None:
    client = {"retry": RetryPolicy(2, 0.01, 0.02, 5.0), "on_failure": "offline_judge"}
    paid = reward(server, tmp_path, "attributes", {"read_by": "model"}, **client)
    server.attributes = lambda sentences: []  # a model that sees no attribute ...
    server.always = "refusal"  # ... and then answers nothing
    study = make_study("a", "Small left effusion.")
    found = paid.score(["Small left effusion.", "Large left effusion."], [study, study])
    assert [breakdown.terms["attributes"] for breakdown in found] == [1.0, 0.5]
    assert paid.totals()["offline_reports"] == 1


def test_the_labeler_reads_unless_a_model_is_named(server: JudgeServer, tmp_path: Path) -> None:
    paid = WeightedReward({"attributes": 1})
    (one,) = paid.score(["Small left effusion."], [make_study("a", "Large left effusion.")])
    assert isinstance(one, RewardBreakdown)
    assert one.terms["attributes"] == 0.5
    assert not server.calls


# ---- who needs a model, and who does not


def test_a_term_that_asks_a_model_needs_one() -> None:
    with pytest.raises(
        SettingError, match=r"^reward.terms.rubric asks a language model, and this reward has none; take"
    ):
        WeightedReward({"facts": 1, "rubric": 1})
    with pytest.raises(SettingError, match=r"^reward.terms.attributes asks a language model"):
        WeightedReward({"attributes": 1}, term_settings={"attributes": {"read_by": "model"}})


def test_a_model_reads_facts_only_where_they_are_paid() -> None:
    def build(stages: str, **terms: float) -> WeightedReward:
        return FactScoreLlm("openai/judge", "http://127.0.0.1:9/v1", cache="off", stages=stages, terms=terms).open()

    assert build("two", facts=1, rubric=1).weights == {"facts": 0.5, "rubric": 0.5}
    assert build("offline", rubric=1).zero_term == "rubric"
    assert build("offline", facts=1, rubric=1).zero_term == "facts"
    with pytest.raises(SettingError, match=r"pays rubric, for which no model has to read facts; set reward.stages=off"):
        build("two", rubric=1)
    with pytest.raises(SettingError, match=r"pays facts, which need no language model; take reward=fact_score"):
        build("offline", facts=1)


def test_what_is_asked_is_known_beforehand() -> None:
    terms = {"facts": 1, "rubric": 1, "attributes": 1}
    settings = {"attributes": {"read_by": "model"}}
    given = {"cache": "off", "terms": terms, "term_settings": settings}
    paid = FactScoreLlm("openai/judge", "http://127.0.0.1:9/v1", **given).open()
    assert [request.stage for request in paid.questions("Left effusion.")] == [
        "extract",
        "entail",
        "rubric",
        "attributes",
    ]
    assert WeightedReward({"facts": 1}).questions("Left effusion.") == []
