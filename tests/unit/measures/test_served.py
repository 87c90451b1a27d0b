import _thread
import logging
import math
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.metric_server import FaultyServer, length_share, running_server

from orapo.errors import OrapoError, RunPaused, SettingError
from orapo.measures.served import (
    MetricServerRejected,
    MetricServerRevoked,
    MetricServerUnavailable,
    ServedMetric,
    ServedMetrics,
    ServedSettings,
)
from orapo.remote.cache import CacheMiss
from orapo.remote.retry import RetryPolicy

QUICK = RetryPolicy(max_tries=4, first_delay_seconds=0.01, max_delay_seconds=0.05, deadline_seconds=20.0)
REFS = [f"The heart is enlarged in case {number}." for number in range(7)]
HYPS = [f"Heart {'very ' * number}large." for number in range(7)]
SHARES = [length_share(ref, hyp) for ref, hyp in zip(REFS, HYPS, strict=True)]
BOTH = {"share": ServedMetric(), "other": ServedMetric(high=2.0)}


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as running:
        yield running


def settings_for(server: FaultyServer, folder: Path, **changes: Any) -> ServedSettings:
    given = {"metrics": BOTH, "pause_seconds": 0.05, "pause_limit_seconds": 0.2, "timeout_seconds": 5.0, **changes}
    return ServedSettings(api_base=server.api_base, cache_path=str(folder / "values.sqlite"), **given)


def served(server: FaultyServer, folder: Path, **changes: Any) -> ServedMetrics:
    return ServedMetrics(settings_for(server, folder, **changes), retry=QUICK)


def one_line(error: pytest.ExceptionInfo[Any]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert not any(text in message for text in (*REFS, *HYPS))
    assert error.value.__cause__ is None
    return message


# ---- values


def test_values_come_by_metric_in_the_order_handed_over(server: FaultyServer, tmp_path: Path) -> None:
    metrics = served(server, tmp_path, batch_size=3)
    places = [4, 0, 0, 6, 1, 2, 3, 5]
    values = metrics.score([REFS[place] for place in places], [HYPS[place] for place in places])
    assert values == {
        "share": [SHARES[place] for place in places],
        "other": [2 * SHARES[place] for place in places],
    }
    assert [len(call["refs"]) for call in sorted(server.calls, key=lambda call: -len(call["refs"]))] == [3, 3, 1]
    assert all(call["metrics"] == ["share", "other"] for call in server.calls)
    totals = metrics.totals()
    assert (totals["calls"], totals["values"], totals["duplicates"], totals["cache_hits"]) == (3, 14, 1, 0)
    assert totals["seconds_waited"] > 0


def test_no_pairs_ask_nothing_and_unequal_lists_are_a_mistake(server: FaultyServer, tmp_path: Path) -> None:
    assert served(server, tmp_path).score([], []) == {"share": [], "other": []}
    with pytest.raises(ValueError):
        served(server, tmp_path).start(REFS, HYPS[:3])
    assert server.calls == []


def test_a_value_is_asked_for_once_and_kept_for_other_runs(server: FaultyServer, tmp_path: Path) -> None:
    alone = {"share": ServedMetric()}
    first = served(server, tmp_path, metrics=alone).score(REFS[:4], HYPS[:4])
    again = served(server, tmp_path)
    assert again.score(REFS, HYPS)["share"][:4] == first["share"]
    # What is known isn't asked again, though another metric of the same pair is.
    asked = sorted((tuple(call["metrics"]), len(call["refs"])) for call in server.calls[1:])
    assert asked == [(("other",), 4), (("share", "other"), 3)]
    assert again.totals()["cache_hits"] == 4
    swapped = again.score(HYPS[:1], REFS[:1])  # which text is the reference matters
    assert swapped["share"] == [1 - SHARES[0]]


def test_another_version_is_another_value(server: FaultyServer, tmp_path: Path) -> None:
    served(server, tmp_path).score(REFS, HYPS)
    server.versions["share"] = "2"
    other = served(server, tmp_path)
    other.score(REFS, HYPS)
    assert [call["metrics"] for call in server.calls] == [["share", "other"], ["share"]]


def test_the_cache_holds_no_text(server: FaultyServer, tmp_path: Path) -> None:
    served(server, tmp_path).score(REFS, HYPS)
    with sqlite3.connect(tmp_path / "values.sqlite") as connection:
        rows = connection.execute("SELECT * FROM answers").fetchall()
    assert len(rows) == 14
    assert not any("heart" in str(row).lower() for row in rows)


def test_a_cache_that_is_only_read_asks_nobody(server: FaultyServer, tmp_path: Path) -> None:
    served(server, tmp_path).score(REFS[:3], HYPS[:3])
    pinned = {"share": ServedMetric(version="1")}
    reading = served(server, tmp_path, metrics=pinned, cache="read_only")
    server.health_faults = ["500"] * 9
    assert reading.check() == {"share": "1"}
    assert reading.score(REFS[:3], HYPS[:3])["share"] == SHARES[:3]
    with pytest.raises(CacheMiss, match="run again with cache=read_write"):
        reading.score(REFS, HYPS)
    assert len(server.calls) == 1


def test_off_asks_every_time(server: FaultyServer, tmp_path: Path) -> None:
    metrics = served(server, tmp_path, cache="off")
    assert metrics.score(REFS, HYPS) == metrics.score(REFS, HYPS)
    assert len(server.calls) == 2
    assert list(tmp_path.iterdir()) == []


def test_start_returns_at_once_and_batches_share_values(server: FaultyServer, tmp_path: Path) -> None:
    server.seconds = 0.4
    metrics, began = served(server, tmp_path), time.monotonic()
    first, second = metrics.start(REFS, HYPS), metrics.start(REFS, HYPS)
    assert time.monotonic() - began < 0.3
    assert first.result() == second.result() == first.result()
    assert (len(server.calls), metrics.totals()["cache_hits"]) == (1, 14)


def test_no_more_calls_at_once_than_allowed(server: FaultyServer, tmp_path: Path) -> None:
    server.seconds = 0.1
    served(server, tmp_path, batch_size=1, max_concurrent=3).score(REFS, HYPS)
    assert server.most_under_way == 3


def test_any_text_can_be_scored(server: FaultyServer, tmp_path: Path) -> None:
    strange = ["", "\n", "Ödem \u2014 \U0001fac1", "half \ud83e", '"}', "\x00"]
    values = served(server, tmp_path).score([""] * 6, strange)
    assert values["share"] == [length_share("", text) for text in strange]


def test_ctrl_c_ends_the_wait_and_the_calls(server: FaultyServer, tmp_path: Path) -> None:
    server.faults = ["500"] * 999
    metrics = served(server, tmp_path, pause_limit_seconds=60.0)
    pending, timer = metrics.start(REFS, HYPS), threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        pending.result()
    time.sleep(0.2)
    before, server.faults = len(server.calls), []
    time.sleep(0.3)
    assert len(server.calls) == before
    assert metrics.score(REFS, HYPS)["share"] == SHARES


# ---- what goes wrong


@pytest.mark.parametrize("fault", ["500", "502", "503", "429", "cut", "html"])
def test_what_passes_by_itself_is_tried_again(server: FaultyServer, tmp_path: Path, fault: str) -> None:
    server.faults = [fault, fault]
    metrics = served(server, tmp_path)
    assert metrics.score(REFS, HYPS)["share"] == SHARES
    assert (metrics.totals()["calls"], metrics.totals()["retries"]) == (3, 2)


def test_a_time_to_wait_is_kept(server: FaultyServer, tmp_path: Path) -> None:
    server.faults = ["503"]
    served(server, tmp_path).score(REFS, HYPS)
    assert server.times[1] - server.times[0] >= 0.3


@pytest.mark.parametrize("fault", ["slow", "drip"])
def test_a_slow_answer_is_given_up(server: FaultyServer, tmp_path: Path, fault: str) -> None:
    server.faults = [fault]
    assert served(server, tmp_path, timeout_seconds=0.5).score(REFS, HYPS)["share"] == SHARES
    assert len(server.calls) == 2


WRONG = {
    "too few": "share: 6 values came back where 7 were asked for",
    "too many": "share: 8 values came back where 7 were asked for",
    "missing": "the answer lacks share",
    "null": "share: value 0 is NoneType; it must be a finite number",
    "text": "share: value 0 is str; it must be a finite number",
    "true": "share: value 0 is bool; it must be a finite number",
    "nan": "share: value 0 is nan; it must be a finite number",
    "infinite": "share: value 0 is inf; it must be a finite number",
    "huge": "share: value 0 is int; it must be a finite number",
    "number": "share: no list came back where 7 were asked for",
    "a list": "the answer is no JSON object",
    "400": "status 400: out of order",
    "404": "status 404: out of order",
    "302": "status 302: out of order",
    "422": "status 422",  # its reason quotes a report
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_no_value_is_refused_at_once_in_one_line(server: FaultyServer, tmp_path: Path, fault: str) -> None:
    server.faults = [fault]
    metrics = served(server, tmp_path)
    with pytest.raises(MetricServerRejected) as caught:
        metrics.score(REFS, HYPS)
    assert one_line(caught) == f"metric server {server.api_base}: {WRONG[fault]}"
    assert not isinstance(caught.value, RunPaused)  # nothing was trained with it yet
    assert len(server.calls) == 1
    assert metrics.score(REFS, HYPS)["share"] == SHARES  # nothing wrong was kept
    server.faults = [fault]
    with pytest.raises(MetricServerRevoked):
        metrics.score(HYPS, REFS)
    assert issubclass(MetricServerRevoked, RunPaused)


def test_a_run_pauses_and_goes_on(server: FaultyServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server.faults = ["500"] * 9
    with caplog.at_level(logging.WARNING):
        assert served(server, tmp_path, pause_limit_seconds=30.0).score(REFS, HYPS)["share"] == SHARES
    assert len(server.calls) == 10
    assert "metric server: pausing 0 s (30 s left) for 7 of 7 pairs (status 500: out of order, at try 4)" in caplog.text


def test_a_run_stops_when_the_pause_is_over_and_keeps_what_it_has(server: FaultyServer, tmp_path: Path) -> None:
    server.faults = [None] + ["503"] * 99
    server.retry_after = "0"
    metrics = served(server, tmp_path, batch_size=4, max_concurrent=1)
    with pytest.raises(MetricServerUnavailable) as caught:
        metrics.score(REFS, HYPS)
    assert isinstance(caught.value, RunPaused)
    assert one_line(caught) == (
        f"metric server {server.api_base}: no values after 0.2 s for 3 of 7 pairs (status 503: out of order, at try 4)"
        "; resume the run when it answers"
    )
    server.faults, before = [], len(server.calls)
    assert served(server, tmp_path).score(REFS, HYPS)["share"] == SHARES
    assert [len(call["refs"]) for call in server.calls[before:]] == [3]


def test_a_retry_after_beyond_the_deadline_pauses_rather_than_asks(server: FaultyServer, tmp_path: Path) -> None:
    server.faults, server.retry_after = ["503"] * 99, "3600"
    with pytest.raises(MetricServerUnavailable, match="at try 1"):
        served(server, tmp_path).score(REFS, HYPS)


# ---- the server itself


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return int(opened.getsockname()[1])


def test_nobody_there(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{closed_port()}"
    metrics = ServedMetrics(
        ServedSettings(BOTH, nowhere, pause_seconds=0.05, pause_limit_seconds=0.1, cache="off"), retry=QUICK
    )
    with pytest.raises(MetricServerUnavailable) as caught:
        metrics.check()
    assert one_line(caught) == (
        f"no metric server answers at {nowhere} (not available (ConnectError)); start it as docs/metric_server.md says"
    )
    with pytest.raises(MetricServerUnavailable, match=r"no values after 0\.1 s for 7 of 7 pairs"):
        metrics.score(REFS, HYPS)


def test_health_is_asked_again(server: FaultyServer, tmp_path: Path) -> None:
    server.health_faults = ["503", "html", "cut"]
    assert served(server, tmp_path).score(REFS, HYPS)["share"] == SHARES


@pytest.mark.parametrize(
    ("metric", "declared", "message"),
    [
        ("bleu", ServedMetric(), "it has no metric 'bleu'; it has share, other, on two lines"),
        ("share", ServedMetric(version="9"), "share is '1'; served.metrics.share.version is '9'"),
    ],
)
def test_a_server_with_other_metrics_is_refused(
    server: FaultyServer, tmp_path: Path, metric: str, declared: ServedMetric, message: str
) -> None:
    server.versions["on two\nlines"] = "1"
    for ask in (lambda it: it.check(), lambda it: it.score(REFS, HYPS)):
        with pytest.raises(MetricServerRejected) as caught:
            ask(served(server, tmp_path, metrics={metric: declared}))
        assert one_line(caught) == f"metric server {server.api_base}: {message}"
    assert server.calls == []


def test_something_else_at_the_address_is_refused(server: FaultyServer, tmp_path: Path) -> None:
    server.health_faults = ["other"]
    with pytest.raises(MetricServerRejected, match="is it a metric server"):
        served(server, tmp_path).check()


def test_a_version_that_changes_in_a_run_is_refused(server: FaultyServer, tmp_path: Path) -> None:
    metrics = served(server, tmp_path)
    assert metrics.check() == {"share": "1", "other": "1"}
    metrics.score(REFS[:1], HYPS[:1])
    server.versions["other"] = "2"
    with pytest.raises(MetricServerRevoked, match="other was '1' before and is another version now"):
        metrics.score(REFS, HYPS)


# ---- declared ranges


def test_values_map_to_the_unit_interval() -> None:
    assert [ServedMetric().to_unit(value) for value in (0.0, 0.25, 1.0)] == [0.0, 0.25, 1.0]
    assert [ServedMetric(-1.0, 1.0).to_unit(value) for value in (-1.0, 0.0, 0.5)] == [0.0, 0.5, 0.75]
    errors = ServedMetric(0.0, 4.0, lower_is_better=True, clip=True)
    assert [errors.to_unit(value) for value in (0.0, 1.0, 4.0, 9.0, -3.0)] == [1.0, 0.75, 0.0, 0.0, 1.0]


def test_a_value_outside_of_its_range_is_refused_unless_it_may_be_cut(server: FaultyServer, tmp_path: Path) -> None:
    narrow = ServedMetric(high=0.2)
    with pytest.raises(MetricServerRejected, match=r"share is 0\.\d+, outside of the declared 0 to 0.2; correct"):
        served(server, tmp_path, metrics={"share": narrow}).score(REFS, HYPS)
    clipped = replace(narrow, clip=True)
    assert served(server, tmp_path, metrics={"share": clipped}).score(REFS, HYPS)["share"] == SHARES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": {}}, "metrics is empty; name at least one metric of the server"),
        (
            {"api_base": "127.0.0.1:8500"},
            "api_base is '127.0.0.1:8500'; it must be like http://HOST... or https://HOST",
        ),
        ({"api_base": "http://a:secret@127.0.0.1"}, "api_base holds a user, password or query"),
        ({"batch_size": 0}, "batch_size is 0; it must be a whole number, at least 1"),
        ({"max_concurrent": 1.5}, "max_concurrent is 1.5"),
        ({"max_tries": True}, "max_tries is True"),
        ({"timeout_seconds": 0}, "timeout_seconds is 0"),
        ({"deadline_seconds": math.inf}, "deadline_seconds is inf"),
        ({"pause_limit_seconds": 1.0}, "pause_limit_seconds is 1.0; it must be at least pause_seconds, 10"),
        ({"cache": "on"}, "cache is 'on'; it must be one of "),
        ({"cache_path": None}, "cache is 'read_write' without cache_path"),
        ({"cache": "read_only"}, "metrics.bleu has no version"),
        ({"allow_external": "yes"}, "allow_external is 'yes'; it must be true or false"),
        ({"api_base": "http://gpu7:8500"}, "allow_external is false, and reports about patients' images would"),
        ({"api_base": "http://127.0.0.1.example.org"}, "allow_external is false"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"metrics": {"bleu": ServedMetric()}, "cache_path": "values.sqlite"}
    with pytest.raises(SettingError) as caught:
        ServedSettings(**(given | change))
    assert message in one_line(caught)
    assert "secret" not in str(caught.value)


def test_an_external_server_needs_a_word_unless_nothing_private_goes_there() -> None:
    given: dict[str, Any] = {"metrics": {"bleu": ServedMetric(version="1")}, "api_base": "http://gpu7:8500"}
    ServedSettings(**given, cache="off", allow_external=True)
    ServedSettings(**given, cache="off", is_private=False)
    ServedSettings(**given, cache="read_only", cache_path="values.sqlite")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"low": "0"}, "low is '0'; it must be a number"),
        ({"high": 0.0}, "high is 0.0; it must be greater than low, 0.0"),
        ({"lower_is_better": 1}, "lower_is_better is 1; it must be true or false"),
        ({"clip": None}, "clip is None"),
    ],
)
def test_a_metric_declared_wrongly_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(OrapoError, match=message):
        ServedMetric(**wrong)


# ---- the real server


def test_the_real_server_scores_through_the_client(tmp_path: Path) -> None:
    with running_server(tmp_path, "--metrics", "token_f1", "exact") as server:
        settings = ServedSettings(
            {"token_f1": ServedMetric(), "exact": ServedMetric()},
            server.api_base,
            batch_size=2,
            cache_path=str(tmp_path / "values.sqlite"),
        )
        metrics = ServedMetrics(settings)
        assert metrics.check() == {"token_f1": "metric_server 1", "exact": "metric_server 1"}
        values = metrics.score(
            ["Small left effusion.", "No pneumothorax.", ""], ["A small effusion.", "no PNEUMOTHORAX", "Clear."]
        )
        assert values == {"token_f1": [pytest.approx(2 / 3), 1.0, 0.0], "exact": [0.0, 1.0, 0.0]}
        assert server.stop() == 0
    with pytest.raises(MetricServerUnavailable):
        metrics.check()
