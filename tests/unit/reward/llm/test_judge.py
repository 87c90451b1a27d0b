import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.judge_server import ANSWERED_FAULTS, FAULTS, JudgeServer, made_up_reports

from orapo.chexpert import OBSERVATIONS
from orapo.errors import RunPaused, SettingError
from orapo.records import FailedJudgement, Judgement
from orapo.remote.cache import AnswerCache, CacheMiss
from orapo.remote.retry import RetryPolicy
from orapo.reward import OfflineJudge
from orapo.reward.llm.client import JudgeRejected, JudgeRevoked, JudgeUnavailable, LlmClient
from orapo.reward.llm.endpoint import Endpoint
from orapo.reward.llm.judge import LlmJudge
from orapo.reward.llm.limits import Budget, BudgetSpent, LimitSettings
from orapo.reward.protocol import Judged

KEY = "sk-made-up-0123456789abcdef"
QUICK = RetryPolicy(max_tries=12, first_delay_seconds=0.01, max_delay_seconds=0.1, deadline_seconds=60.0)
REPORTS = made_up_reports(6, seed=1)
ROOT = Path(__file__).parents[4]


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer() as running:
        yield running


def make_judge(server: JudgeServer, folder: Path, **settings: object) -> LlmJudge:
    endpoint = settings.pop("endpoint", None) or Endpoint("openai/judge", server.api_base, timeout_seconds=10.0)
    cache = settings.pop("cache", None) or AnswerCache(folder / "answers.sqlite")
    stages = settings.pop("stages", "two")
    client = LlmClient(endpoint, cache, **{"retry": QUICK, **settings})  # type: ignore[arg-type]
    return LlmJudge(client, stages=stages)  # type: ignore[arg-type]


def offline(reports: list[str]) -> list[object]:
    return read([*OfflineJudge().judge(reports)])


def read(judgements: list[Judged | FailedJudgement]) -> list[object]:
    """Facts and verdicts in words: only the offline judge tells what a fact says where in its sentence."""
    assert all(isinstance(each, Judged) for each in judgements)
    return [
        (
            [(fact.text, fact.sentence_index) for fact in judged.facts],
            [
                (each.observation, each.judgement, [fact.text for fact in each.supporting_facts])
                for each in judged.verdicts
            ],
        )
        for judged in judgements
        if isinstance(judged, Judged)
    ]


# ---- what comes out, and what it takes


@pytest.mark.parametrize(("stages", "calls"), [("two", 12), ("combined", 6)])
def test_judgements_and_their_price(server: JudgeServer, tmp_path: Path, stages: str, calls: int) -> None:
    endpoint = Endpoint("openai/judge", server.api_base, prices=(1.0, 10.0))
    judge = make_judge(server, tmp_path, endpoint=endpoint, stages=stages)
    judged = judge.judge(REPORTS * 2)
    assert read(judged) == offline(REPORTS * 2)
    assert {each.judge for each in judged if isinstance(each, Judged)} == {"judge-1"}
    usage = judge.client.usage
    assert (usage.calls, usage.paid_calls, usage.duplicates, usage.cache_hits) == (calls, calls, 6, 0)
    assert (usage.prompt_tokens, usage.completion_tokens) == (1000 * calls, 100 * calls)
    assert usage.cost_usd == pytest.approx(0.002 * calls)
    assert judge.state_dict() == {"spent_usd": pytest.approx(0.002 * calls)}
    again = make_judge(server, tmp_path, endpoint=endpoint, stages=stages)  # another run
    assert again.judge(REPORTS) == judged[:6]
    assert (again.client.usage.calls, again.client.usage.cache_hits) == (0, calls)
    assert again.totals()["cache_hits"] == calls
    assert again.client.usage.seconds_waited > 0


def test_nothing_is_asked_about_nothing(server: JudgeServer, tmp_path: Path) -> None:
    empty, salad = make_judge(server, tmp_path).judge(["  \n", "effusion effusion nodule edema."])
    assert isinstance(empty, Judged)
    assert isinstance(salad, Judged)
    assert empty.facts == salad.facts == ()
    assert [verdict.observation for verdict in empty.verdicts] == list(OBSERVATIONS)
    assert {verdict.judgement for verdict in (*empty.verdicts, *salad.verdicts)} == {Judgement.NOT_MENTIONED}
    assert [call.stage for call in server.calls] == ["extract"]  # without facts there is nothing to entail


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_alone_is_overcome(server: JudgeServer, tmp_path: Path, fault: str) -> None:
    server.fault_rate, server.faults, server.retry_after, server.slow_seconds = 0.5, (fault,), "0.05", 2.0
    # A busy machine may take seconds for an answer without a fault.
    endpoint = Endpoint("openai/judge", server.api_base, timeout_seconds=1.0 if fault == "slow" else 30.0)
    judge = make_judge(server, tmp_path, endpoint=endpoint)
    assert read(judge.judge(REPORTS)) == offline(REPORTS)
    usage = judge.client.usage
    failed = [call for call in server.calls if call.fault]
    assert failed
    assert sum(usage.retries.values()) == len(failed) == usage.calls - 12
    kind = "rate limited" if fault == "429" else "invalid answer" if fault in ANSWERED_FAULTS else "unavailable"
    assert set(usage.retries) == {kind}
    if kind == "invalid answer":  # the model is told what was wrong
        assert {call.messages for call in server.calls} == {2, 3}


@pytest.mark.slow
def test_a_third_of_all_calls_fails_and_nothing_changes(server: JudgeServer, tmp_path: Path) -> None:
    server.fault_rate, server.retry_after, server.slow_seconds = 0.3, "0.05", 3.0
    distinct = made_up_reports(60, seed=0)
    draw = random.Random(0)
    reports = distinct + draw.choices(distinct, k=140)
    draw.shuffle(reports)
    endpoint = Endpoint("openai/judge", server.api_base, timeout_seconds=1.5)
    judge = make_judge(server, tmp_path, endpoint=endpoint)
    assert read(judge.judge(reports)) == offline(reports)
    usage = judge.client.usage
    assert usage.paid_calls == len({(call.stage, call.subject) for call in server.calls}) == 120
    assert usage.duplicates == 140
    # No right answer was thrown away: each call that the server did not spoil was the last one to its question.
    assert usage.calls - usage.paid_calls == sum(usage.retries.values())
    assert 0.2 < sum(call.fault is not None for call in server.calls) / len(server.calls) < 0.4
    assert server.most_under_way <= 16 + sum(call.fault == "slow" for call in server.calls)


def test_no_more_calls_at_once_than_allowed(server: JudgeServer, tmp_path: Path) -> None:
    server.latency_seconds = 0.05
    make_judge(server, tmp_path, limits=LimitSettings(max_concurrent=3)).judge(made_up_reports(12, 2))
    assert server.most_under_way == 3


# ---- in the background


@pytest.mark.slow
def test_start_returns_at_once_and_gives_the_same(server: JudgeServer, tmp_path: Path) -> None:
    expected = make_judge(server, tmp_path).judge(REPORTS)
    server.latency_seconds = 0.5
    judge = make_judge(server, tmp_path / "other")
    start = time.monotonic()
    pending = judge.start(REPORTS)
    assert time.monotonic() - start < 0.2
    assert pending.result() == expected
    assert pending.result() == expected
    assert time.monotonic() - start >= 1.0  # two stages


def test_batches_under_way_at_once_share_answers(server: JudgeServer, tmp_path: Path) -> None:
    server.latency_seconds = 0.2
    judge = make_judge(server, tmp_path)
    first, second = judge.start(REPORTS), judge.start(REPORTS)
    assert first.result() == second.result()
    assert (judge.client.usage.paid_calls, judge.client.usage.cache_hits) == (12, 12)


def generator_states() -> tuple[object, ...]:
    _, keys, place, *_ = np.random.get_state()  # noqa: NPY002
    return random.getstate(), keys.tolist(), place, torch.get_rng_state().tolist()


def test_global_generators_are_left_alone(server: JudgeServer, tmp_path: Path) -> None:
    server.fault_rate, server.retry_after = 0.3, "0.05"
    server.faults = tuple(fault for fault in FAULTS if fault != "slow")
    before = generator_states()
    make_judge(server, tmp_path).judge(REPORTS)
    assert generator_states() == before


SCRIPT = """
    import random, sys
    from orapo.remote.cache import AnswerCache
    from orapo.reward.llm.client import LlmClient
    from orapo.reward.llm.endpoint import Endpoint
    from orapo.reward.llm.judge import LlmJudge
    judge = LlmJudge(LlmClient(Endpoint("openai/judge", sys.argv[1]), AnswerCache(sys.argv[2])))
    assert "litellm" not in sys.modules
    state = random.getstate()
    pending = judge.start(["The heart is enlarged.", "No pneumothorax."])
    print("started", flush=True)
    {body}
"""


def run_script(server: JudgeServer, tmp_path: Path, body: str) -> subprocess.Popen[str]:
    script = textwrap.dedent(SCRIPT).replace("{body}", textwrap.dedent(body))
    command = [sys.executable, "-c", script, server.api_base, str(tmp_path / "answers.sqlite")]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_importing_litellm_draws_no_random_number(server: JudgeServer, tmp_path: Path) -> None:
    body = "pending.result()\nassert 'litellm' in sys.modules\nassert random.getstate() == state"
    process = run_script(server, tmp_path, body)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output, errors) == (0, "started\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("body", ["pending.result()", "import time; time.sleep(1)  # never asked for"])
def test_an_interrupted_program_ends_promptly(server: JudgeServer, tmp_path: Path, body: str) -> None:
    server.latency_seconds = 300.0
    process = run_script(server, tmp_path, body)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    if "result" in body:
        deadline = time.monotonic() + 100
        while not server.calls and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
    start = time.monotonic()
    _, errors = process.communicate(timeout=60)
    if "result" in body:
        assert time.monotonic() - start < 5
        assert process.returncode in (-signal.SIGINT, 130, 1)
        assert errors.rstrip().endswith("KeyboardInterrupt")
        assert "Task was destroyed" not in errors
    else:
        assert process.returncode == 0


def test_ctrl_c_in_result_ends_the_calls(server: JudgeServer, tmp_path: Path) -> None:
    server.latency_seconds = 30.0
    judge = make_judge(server, tmp_path, endpoint=Endpoint("openai/judge", server.api_base, timeout_seconds=60.0))
    pending = judge.start(REPORTS)
    interrupted: list[float] = []

    def interrupt_when_all_are_asked() -> None:
        while len(server.calls) < len(REPORTS):
            time.sleep(0.05)
        time.sleep(0.2)
        interrupted.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt_when_all_are_asked, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        pending.result()
    assert time.monotonic() - interrupted[0] < 2
    server.latency_seconds = 0.0
    assert read(judge.judge(REPORTS)) == offline(REPORTS)  # neither slots nor claims were lost
    assert time.monotonic() - interrupted[0] < 15  # and the calls of 30 s were not waited for


# ---- limits, budget, failures


@pytest.mark.slow
def test_the_time_that_a_provider_names_is_kept(server: JudgeServer, tmp_path: Path) -> None:
    server.fault_rate, server.faults, server.retry_after = 0.5, ("429",), "1"
    make_judge(server, tmp_path).judge(REPORTS)
    gaps = [
        later.seconds - earlier.seconds
        for question in {(call.stage, call.subject) for call in server.calls}
        for earlier, later in pairwise(call for call in server.calls if (call.stage, call.subject) == question)
    ]
    assert len(gaps) > 2
    assert min(gaps) >= 1.0


@pytest.mark.slow
def test_a_request_rate_holds(server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orapo.reward.llm.limits.TokenBucket.__init__.__defaults__", (1.0, time.monotonic))
    make_judge(server, tmp_path, limits=LimitSettings(requests_per_minute=20)).judge(made_up_reports(20, 3))
    # A busy machine may deliver calls of two windows closer to each other than they were sent.
    times = sorted(call.seconds for call in server.calls)
    assert len(times) == 40
    assert max(sum(start <= other < start + 0.5 for other in times) for start in times) <= 20


@pytest.mark.slow
def test_a_token_rate_holds(server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orapo.reward.llm.limits.TokenBucket.__init__.__defaults__", (1.0, time.monotonic))
    limits = LimitSettings(tokens_per_minute=20_000, max_concurrent=4)
    make_judge(server, tmp_path, limits=limits).judge(made_up_reports(20, 3))
    times = sorted(call.seconds for call in server.calls)
    assert len(times) == 40
    assert max(1100 * sum(start <= other < start + 0.5 for other in times) for start in times) <= 20_000
    assert times[-1] - times[0] < 6  # what the estimates held back is used


def test_the_budget_stops_before_the_call_that_could_exceed_it(server: JudgeServer, tmp_path: Path) -> None:
    server.prompt_tokens = 500
    endpoint = Endpoint("openai/judge", server.api_base, prices=(20.0, 0.0))  # 0.01 a call
    budget = Budget(0.055)
    judge = make_judge(server, tmp_path, endpoint=endpoint, budget=budget, on_failure="drop_study")
    with pytest.raises(BudgetSpent, match=r"^judge: spent 0\.0\d+ US dollars.*with a higher reward\.max_cost$"):
        judge.judge(REPORTS)
    answered, cut_off = judge.client.usage.paid_calls, judge.client.usage.calls - judge.client.usage.paid_calls
    assert 0 < answered <= len(server.calls) <= answered + cut_off <= 5
    # A smaller call may have begun between the stop and the end of all calls: it is charged at its estimate.
    assert 0.01 * answered - 1e-9 <= budget.spent_usd <= 0.055
    assert budget.spent_usd == pytest.approx(judge.client.usage.cost_usd)
    assert (budget.spent_usd == pytest.approx(0.01 * answered)) == (cut_off == 0)
    resumed = make_judge(server, tmp_path, endpoint=endpoint, budget=Budget(1.0))
    resumed.load_state_dict(judge.state_dict())
    assert read(resumed.judge(REPORTS)) == offline(REPORTS)
    # What was answered is not paid for again.
    assert (resumed.client.usage.cache_hits, resumed.client.usage.calls) == (answered, 12 - answered)
    assert resumed.client.budget.spent_usd == pytest.approx(budget.spent_usd + 0.01 * resumed.client.usage.calls)


def test_a_budget_needs_a_price(tmp_path: Path) -> None:
    endpoint = Endpoint("openai/nobody-knows-it", "http://192.0.2.1/v1")
    judge = LlmJudge(LlmClient(endpoint, AnswerCache(None, "off"), budget=Budget(1.0)))
    with pytest.raises(SettingError, match="max_cost_usd is 1 but the price of openai/nobody-knows-it is unknown"):
        judge.judge(REPORTS)


@pytest.mark.parametrize("on_failure", ["pause", "offline_judge", "drop_study"])
def test_a_wrong_key_stops_at_once(
    server: JudgeServer,
    tmp_path: Path,
    on_failure: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.key = "another"
    monkeypatch.setenv("MADE_UP_KEY", KEY)
    endpoint = Endpoint("openai/judge", server.api_base, api_key_variable="MADE_UP_KEY")
    fallback = Endpoint("openai/other", server.api_base)
    judge = make_judge(server, tmp_path, endpoint=endpoint, fallbacks=[fallback], on_failure=on_failure)
    with caplog.at_level(logging.DEBUG), pytest.raises(JudgeRejected) as raised:
        judge.judge(REPORTS)
    assert str(raised.value) == (
        "judge: openai/judge: status 401; correct the key, the model or its settings and resume the run"
    )
    assert not isinstance(raised.value, RunPaused)
    assert len(server.calls) <= len(REPORTS)
    assert {call.key for call in server.calls} == {KEY}  # the fallback isn't asked
    written = [record.getMessage() for record in caplog.records]
    written += [path.read_bytes().decode("latin-1") for path in tmp_path.iterdir()]
    written += [repr(judge), repr(endpoint), repr(raised.value), repr(vars(judge)), repr(vars(judge.client))]
    assert not any(KEY in text or "0123456789abcdef" in text for text in written)


def test_a_key_that_stops_working_pauses_the_run(
    server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = KEY
    monkeypatch.setenv("MADE_UP_KEY", KEY)
    endpoint = Endpoint("openai/judge", server.api_base, api_key_variable="MADE_UP_KEY")
    judge = make_judge(server, tmp_path, endpoint=endpoint)
    judge.judge(REPORTS[:1])
    server.key = "another"
    with pytest.raises(JudgeRevoked) as raised:
        judge.judge(REPORTS)
    assert isinstance(raised.value, RunPaused)


@pytest.mark.slow
def test_pausing_asks_again_until_the_provider_answers(
    server: JudgeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.status = 503
    settings = {"retry": RetryPolicy(2, 0.01, 0.02, 5.0), "pause_seconds": 0.3, "pause_limit_seconds": 60.0}
    limits = LimitSettings(outages_to_open=1000)
    judge = make_judge(server, tmp_path, limits=limits, **settings)
    with caplog.at_level(logging.WARNING):
        pending = judge.start(REPORTS)
        deadline = time.monotonic() + 60
        while "pausing" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.05)
        server.status = 0
        assert read(pending.result()) == offline(REPORTS)
    assert "pausing 0 s (60 s left) for 6 of 6 reports" in caplog.text


@pytest.mark.slow
def test_pausing_ends_at_the_limit(server: JudgeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server.status = 503
    settings = {"retry": RetryPolicy(2, 0.01, 0.02, 5.0), "pause_seconds": 0.2, "pause_limit_seconds": 1.0}
    limits = LimitSettings(outages_to_open=1000)
    judge = make_judge(server, tmp_path, limits=limits, **settings)
    with caplog.at_level(logging.WARNING), pytest.raises(JudgeUnavailable) as raised:
        judge.judge(REPORTS)
    assert isinstance(raised.value, RunPaused)
    assert str(raised.value) == (
        "judge: no judgement after 1 s for 6 of 6 reports (openai/judge: not available (status 503), at try 2); "
        "resume the run when the provider answers, or set on_failure to offline_judge or drop_study"
    )
    pauses = [record.getMessage() for record in caplog.records if "pausing" in record.getMessage()]
    assert 1 <= len(pauses) <= 4  # the limit is a time: a busy machine asks less often
    assert "for 6 of 6 reports (openai/judge: not available (status 503), at try 2)" in pauses[0]


def test_the_offline_judge_steps_in(server: JudgeServer, tmp_path: Path) -> None:
    judge = make_judge(server, tmp_path, retry=RetryPolicy(2, 0.01, 0.02, 5.0), on_failure="offline_judge")
    judge.judge(REPORTS[:2])
    server.status = 500
    judged = judge.judge(REPORTS)
    assert read(judged) == offline(REPORTS)
    signed = [each.judge for each in judged if isinstance(each, Judged)]
    assert signed == ["judge-1"] * 2 + ["offline"] * 4
    assert judge.client.usage.offline_reports == 4


def test_a_report_without_a_judgement_is_no_reward(server: JudgeServer, tmp_path: Path) -> None:
    judge = make_judge(server, tmp_path, retry=RetryPolicy(3, 0.01, 0.02, 5.0), on_failure="drop_study")
    judge.judge(REPORTS[:2])
    server.always = "refusal"
    judged = judge.judge(REPORTS)
    assert read(judged[:2]) == offline(REPORTS[:2])
    assert all(isinstance(each, FailedJudgement) for each in judged[2:])
    failed = judged[2]
    assert isinstance(failed, FailedJudgement)
    assert failed.reason.startswith("openai/judge: invalid answer: the answer holds no complete JSON object")
    assert judge.client.usage.dropped_reports == 4
    server.always = ""
    assert read(judge.judge(REPORTS)) == offline(REPORTS)  # a failure is not kept


@pytest.mark.slow
def test_the_fallback_is_asked_while_the_breaker_is_open(server: JudgeServer, tmp_path: Path) -> None:
    with JudgeServer(model="judge-2") as other:
        server.status = 503
        judge = make_judge(
            server,
            tmp_path,
            fallbacks=[Endpoint("openai/judge", other.api_base)],
            limits=LimitSettings(max_concurrent=1, outages_to_open=3, probe_delay_seconds=0.5),
        )
        judged = judge.judge(REPORTS)
        assert read(judged) == offline(REPORTS)
        assert {each.judge for each in judged if isinstance(each, Judged)} == {"judge-2"}
        assert 3 <= len(server.calls) <= 5  # three outages and a few probes, not 12 tries for each question
        assert len(other.calls) == 12
        server.status = 0
        time.sleep(2.5)  # the delay may have doubled
        more = judge.judge(made_up_reports(3, seed=9))
        assert {each.judge for each in more if isinstance(each, Judged)} == {"judge-1"}  # it is asked again


@pytest.mark.slow
def test_alone_an_open_breaker_is_waited_for(server: JudgeServer, tmp_path: Path) -> None:
    server.status = 503
    limits = LimitSettings(outages_to_open=4, probe_delay_seconds=0.3, max_probe_delay_seconds=0.6)
    pending = make_judge(server, tmp_path, limits=limits).start(REPORTS)
    time.sleep(1.5)
    calls = len(server.calls)
    assert calls <= len(REPORTS) + 6  # hardly more than the first ones
    server.status = 0
    assert read(pending.result()) == offline(REPORTS)


def test_a_cache_that_may_only_be_read(server: JudgeServer, tmp_path: Path) -> None:
    expected = make_judge(server, tmp_path).judge(REPORTS)
    calls = len(server.calls)
    judge = make_judge(server, tmp_path, cache=AnswerCache(tmp_path / "answers.sqlite", "read_only"))
    assert judge.judge(REPORTS) == expected
    with pytest.raises(CacheMiss):
        judge.judge(["Right hilar mass."])
    assert len(server.calls) == calls


def test_making_a_judge_needs_nothing(tmp_path: Path) -> None:
    endpoint = Endpoint("openai/judge", "http://192.0.2.1/v1", api_key_variable="NOT_SET_ANYWHERE")
    cache = AnswerCache(tmp_path / "none" / "answers.sqlite")
    judge = LlmJudge(LlmClient(endpoint, cache, fallbacks=[Endpoint("openai/b")]))
    assert judge.client.is_external
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on_failure": "ignore"}, "on_failure is 'ignore'; it must be one of pause, offline_judge, drop_study"),
        ({"pause_seconds": 0}, "pause_seconds is 0"),
        ({"pause_seconds": 10.0, "pause_limit_seconds": 5.0}, "pause_limit_seconds is 5; it must be at least pause_s"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{message}"):
        LlmClient(Endpoint("openai/judge"), AnswerCache(None, "off"), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompts_version": "v0"}, "prompts_version is 'v0'; it must be one of v1"),
        ({"stages": "three"}, "stages is 'three'; it must be one of two, combined, offline"),
    ],
)
def test_ways_to_read_that_there_are_not(settings: dict[str, object], message: str) -> None:
    client = LlmClient(Endpoint("openai/judge"), AnswerCache(None, "off"))
    with pytest.raises(SettingError, match=f"^{message}"):
        LlmJudge(client, **settings)  # type: ignore[arg-type]
