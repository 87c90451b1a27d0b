import asyncio
import email.utils
import logging
import time
from collections.abc import Iterator

import pytest
from benchmarks.judge_server import JudgeServer

from orapo.errors import SettingError
from orapo.remote.call_errors import CallError, CallErrorKind
from orapo.reward.llm.endpoint import Completion, Endpoint, provider_reason
from orapo.reward.llm.prompts import Request, load_prompts

KEY = "sk-made-up-0123456789abcdef"
REPORT = "Small left pleural effusion. The heart is enlarged."
REQUEST = load_prompts().extract(REPORT)


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer() as running:
        yield running


def complete(endpoint: Endpoint, request: Request = REQUEST) -> Completion:
    return asyncio.run(endpoint.complete(request))


def failure(endpoint: Endpoint) -> CallError:
    with pytest.raises(CallError) as raised:
        complete(endpoint)
    error = raised.value
    # Neither the message nor what a traceback would show with it holds the key or the report.
    assert error.__context__ is None
    assert error.__cause__ is None
    for private in (KEY, "0123456789abcdef", "pleural effusion", "heart is enlarged", "127.0.0.1"):
        assert private not in f"{error!r} {error.reason}"
    return error


def test_answer_with_tokens_and_cost(server: JudgeServer) -> None:
    endpoint = Endpoint("openai/judge", server.api_base, prices=(2.0, 8.0))
    completion = complete(endpoint)
    assert completion.text == (
        '{"facts": [{"sentence": 0, "text": "Small left pleural effusion"}, '
        '{"sentence": 1, "text": "The heart is enlarged"}]}'
    )
    assert (completion.model, completion.prompt_tokens, completion.completion_tokens) == ("judge-1", 1000, 100)
    assert completion.cost_usd == pytest.approx(0.0028)
    assert not completion.is_cut_off


@pytest.mark.parametrize("structured_output", ["json_schema", "json_object", "none"])
def test_every_form_of_structured_output_is_accepted(server: JudgeServer, structured_output: str) -> None:
    assert complete(Endpoint("openai/judge", server.api_base, structured_output=structured_output)).text


def test_the_key_comes_from_the_variable(server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MADE_UP_KEY", KEY)
    endpoint = Endpoint("openai/judge", server.api_base, api_key_variable="MADE_UP_KEY")
    complete(endpoint)
    assert server.calls[-1].key == KEY
    assert KEY not in repr(endpoint)


def test_what_is_sent_is_not_logged_at_any_level(
    server: JudgeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MADE_UP_KEY", KEY)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("openai").setLevel(logging.DEBUG)  # as OPENAI_LOG=debug does
        assert complete(Endpoint("openai/judge", server.api_base, api_key_variable="MADE_UP_KEY")).text
    assert "pleural effusion" not in caplog.text
    assert KEY not in caplog.text


def test_another_providers_key_is_not_sent_to_a_server_of_ones_own(
    server: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    complete(Endpoint("openai/judge", server.api_base))
    assert server.calls[-1].key == "none-needed"


def test_missing_key(server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MADE_UP_KEY", raising=False)
    error = failure(Endpoint("openai/judge", server.api_base, api_key_variable="MADE_UP_KEY"))
    assert error.kind is CallErrorKind.REJECTED
    assert error.reason == "the environment variable MADE_UP_KEY that should hold the key is not set"
    assert server.calls == []


def test_wrong_key_is_masked(server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.key = "another"
    monkeypatch.setenv("MADE_UP_KEY", KEY)
    error = failure(Endpoint("openai/judge", server.api_base, api_key_variable="MADE_UP_KEY"))
    assert (error.kind, error.reason) == (CallErrorKind.REJECTED, "status 401")  # the server quotes the key


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, CallErrorKind.REJECTED),
        (401, CallErrorKind.REJECTED),
        (403, CallErrorKind.REJECTED),
        (404, CallErrorKind.REJECTED),
        (422, CallErrorKind.REJECTED),
        (408, CallErrorKind.UNAVAILABLE),
        (409, CallErrorKind.UNAVAILABLE),
        (429, CallErrorKind.RATE_LIMITED),
        (500, CallErrorKind.UNAVAILABLE),
        (502, CallErrorKind.UNAVAILABLE),
        (503, CallErrorKind.UNAVAILABLE),
        (504, CallErrorKind.UNAVAILABLE),
        (529, CallErrorKind.UNAVAILABLE),
    ],
)
def test_kinds_of_failure(server: JudgeServer, status: int, kind: CallErrorKind) -> None:
    server.status = status
    error = failure(Endpoint("openai/judge", server.api_base))
    assert error.kind is kind
    assert str(status) in error.reason
    assert len(server.calls) == 1  # nothing below us tries again


def test_connection_reset_and_nobody_there(server: JudgeServer) -> None:
    server.always = "reset"
    error = failure(Endpoint("openai/judge", server.api_base))
    assert (error.kind, error.reason) == (CallErrorKind.UNAVAILABLE, "not available (no response)")
    assert not error.may_be_billed
    assert failure(Endpoint("openai/judge", "http://127.0.0.1:9/v1")).kind is CallErrorKind.UNAVAILABLE


def test_timeout(server: JudgeServer) -> None:
    complete(Endpoint("openai/judge", server.api_base))
    server.always = "slow"
    start = time.monotonic()
    error = failure(Endpoint("openai/judge", server.api_base, timeout_seconds=0.3))
    assert 0.3 <= time.monotonic() - start < 1.5
    assert error.kind is CallErrorKind.UNAVAILABLE
    assert error.reason.startswith("no answer in time")
    assert error.may_be_billed


def test_content_filter(server: JudgeServer) -> None:
    server.always = "filter"
    assert failure(Endpoint("openai/judge", server.api_base)).kind is CallErrorKind.REFUSED
    server.always = "filtered_answer"
    assert failure(Endpoint("openai/judge", server.api_base)).kind is CallErrorKind.REFUSED


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [("2", 2.0, 2.0), ("0.25", 0.25, 0.25), ("soon", None, None), ("date", 3.0, 6.0)],
)
def test_retry_after(server: JudgeServer, retry_after: str, least: float | None, most: float | None) -> None:
    server.always = "429"
    server.retry_after = email.utils.formatdate(time.time() + 5, usegmt=True) if retry_after == "date" else retry_after
    seconds = failure(Endpoint("openai/judge", server.api_base)).retry_after_seconds
    if least is None or most is None:
        assert seconds is None
    else:
        assert seconds is not None
        assert least <= seconds <= most


@pytest.mark.parametrize("fault", ["null", "no_choices"])
def test_answers_without_text_are_empty(server: JudgeServer, fault: str) -> None:
    server.always = fault
    assert complete(Endpoint("openai/judge", server.api_base)).text == ""


def test_cut_off_answers_are_marked(server: JudgeServer) -> None:
    server.always = "truncated"
    assert complete(Endpoint("openai/judge", server.api_base)).is_cut_off


@pytest.mark.parametrize(
    ("api_base", "is_external"),
    [
        (None, True),
        ("http://127.0.0.1:8000/v1", False),
        ("http://localhost:8000/v1", False),
        ("http://[::1]:8000/v1", False),
        ("http://10.0.0.5:8000/v1", True),
        ("https://judge.example.org/v1", True),
        ("https://localhost.example.org/v1", True),
    ],
)
def test_what_leaves_the_machine(api_base: str | None, is_external: bool) -> None:
    assert Endpoint("openai/judge", api_base).is_external is is_external
    # litellm asks them by clients that take the environment's proxy, and follow redirects.
    assert all(Endpoint(f"{name}/judge", api_base).is_external for name in ("ollama_chat", "hosted_vllm", "anthropic"))


def test_price_of_a_known_and_an_unknown_model(caplog: pytest.LogCaptureFixture) -> None:
    known = Endpoint("openai/gpt-4.1")
    assert known.cost(1_000_000, 1_000_000) == pytest.approx(10.0)
    unknown = Endpoint("openai/nobody-knows-it")
    with caplog.at_level(logging.WARNING):
        assert [unknown.cost(1000, 1000) for _ in range(3)] == [0.0] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "judge: the price of openai/nobody-knows-it is unknown, its cost is counted as 0; set prices"
    ]
    assert (known.price_is_known, unknown.price_is_known) == (True, False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": " "}, "model is ' '; it must be a text"),
        ({"api_key_variable": KEY}, "api_key_variable isn't the name of an environment variable"),
        ({"api_base": f"http://user:{KEY}@host/v1"}, "api_base holds a user, password or query"),
        ({"api_base": f"http://:{KEY}@host/v1"}, "api_base holds a user, password or query"),
        ({"api_base": f"http://host/v1?key={KEY}"}, "api_base holds a user, password or query"),
        ({"api_base": "host/v1"}, "api_base is 'host/v1'; it must be like http://HOST"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"max_output_tokens": 0}, "max_output_tokens is 0"),
        ({"timeout_seconds": 0}, "timeout_seconds is 0"),
        ({"structured_output": "xml"}, "structured_output is 'xml'; it must be one of json_schema, json_object, none"),
        ({"prices": (-1.0, 2.0)}, r"prices\[0\] is -1.0; it must be a list of 2, each a number, at least 0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{message}") as raised:
        Endpoint(**{"model": "openai/judge", **settings})  # type: ignore[arg-type]
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("litellm.X: X: OpenAIException - The model does not exist", "The model does not exist"),
        ("Incorrect API key provided: sk-abcd***wxyz.", "Incorrect API key provided: [masked]"),
        ("bad header Authorization: Bearer abc.def", "bad header [masked]"),
        ("use api_key=topsecret now", "use [masked] now"),
        ("see https://host/?k=1 for it", "see [address] for it"),
        ("token 0123456789abcdef0123456789abcdef is wrong", "token [masked] is wrong"),
        ("the input [0] small left pleural is too long", ""),
        ("x " * 200, "x " * 80 + "..."),
        ("half \ud800 of it", "half \ufffd of it"),
    ],
)
def test_what_is_quoted_of_a_provider(message: str, expected: str) -> None:
    assert provider_reason(message, ("", REQUEST.subject)) == expected
