"""Answers as servers give them, from a real server on this machine: read plainly, counted soberly, never quoted."""

import asyncio
import json
import logging
import shutil
import ssl
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orapo.remote.cache import AnswerCache
from orapo.remote.call_errors import CallError, CallErrorKind, quotable
from orapo.remote.retry import RetryPolicy
from orapo.reward.llm.answers import nothing_mentioned
from orapo.reward.llm.client import LlmClient
from orapo.reward.llm.endpoint import Completion, Endpoint
from orapo.reward.llm.judge import LlmJudge
from orapo.reward.llm.litellm_client import MOST_TOKENS, load_litellm, plain_completion
from orapo.reward.llm.prompts import load_prompts
from orapo.reward.protocol import Judged

SECRET = "a swallowed umbrella"
REQUEST = load_prompts().extract(f"There is {SECRET}.")
PRICES = (2.0, 8.0)


class Answering(ThreadingHTTPServer):
    """Answers every call with the same bytes, at once or one each ``pause`` seconds."""

    body: bytes
    pause = 0.0
    status = 200
    headers: tuple[tuple[str, str], ...] = ()

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.body = b""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is expected."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Answering)
        server.asked.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(server.status)
        for name, value in (("Content-Type", "application/json"), *server.headers):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(server.body)))
        self.end_headers()
        pieces = [server.body[at : at + 1] for at in range(len(server.body))] if server.pause else [server.body]
        for piece in pieces:
            self.wfile.write(piece)
            time.sleep(server.pause)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[Answering]:
    yield from _running()


@pytest.fixture
def elsewhere() -> Iterator[Answering]:
    """Another server, which must not see what the first one is asked."""
    yield from _running()


def _running() -> Iterator[Answering]:
    with Answering() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()


@pytest.fixture(autouse=True)
def _nothing_is_told(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG, "orapo"), warnings.catch_warnings():
        warnings.simplefilter("always")
        yield
    told = "".join(capfd.readouterr()) + caplog.text
    assert "umbrella" not in told
    assert "Pydantic" not in told


def completion(content: object = SECRET, **more: object) -> bytes:
    message = {"role": "assistant", "content": content}
    answer: dict[str, object] = {"id": "a", "object": "chat.completion", "created": 1, "model": "judge-1"}
    answer["choices"] = [{"index": 0, "finish_reason": "stop", "message": message}]
    answer["usage"] = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    return json.dumps(answer | more).encode()


def endpoint(server: Answering) -> Endpoint:
    return Endpoint("openai/judge", f"{server.address}/v1", prices=PRICES)


def judge_by(model: Endpoint, folder: Path, **settings: Any) -> LlmJudge:
    return LlmJudge(LlmClient(model, AnswerCache(folder / "answers.sqlite"), **settings))


def complete(server: Answering, body: bytes) -> Completion:
    server.body = body
    return asyncio.run(endpoint(server).complete(REQUEST))


def failure(server: Answering, body: bytes, status: int = 200) -> CallError:
    server.status = status
    with pytest.raises(CallError) as raised:
        complete(server, body)
    assert "umbrella" not in repr(raised.value)
    assert len(raised.value.reason) < 250
    return raised.value


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": '{"facts"'}, {"type": "text", "text": ": []}"}], '{"facts": []}'),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": SECRET}]}, {"type": "text", "text": "x"}], "x"),
        ([{"type": "output_text", "text": "x"}, "y", {"text": "z"}, None, 3, {"type": "text", "text": {}}], "xyz"),
        ({"type": "text", "text": "x"}, "x"),
        ([], ""),
        (None, ""),
        (3, ""),
        ({"facts": []}, ""),
        ("half \ud83d of it", "half \ufffd of it"),
        ("\U0001f600", "\U0001f600"),
    ],
)
def test_content_in_any_form_is_its_text(server: Answering, content: object, text: str) -> None:
    assert complete(server, completion(content)).text == text


@pytest.mark.parametrize(
    "choices", [[], [None], [{}], [{"message": None}], [{"message": {}, "finish_reason": 5}], [[]]]
)
def test_choices_without_words_are_an_empty_answer(server: Answering, choices: object) -> None:
    assert complete(server, completion(choices=choices)).text == ""


@pytest.mark.parametrize("model", ["m\ud800", "m" * 100_000, "two\nlines", None, 3, [SECRET], {}, ""])
def test_a_model_name_that_is_no_name_is_ours(server: Answering, model: object) -> None:
    assert complete(server, completion(model=model)).model == "openai/judge"


@pytest.mark.parametrize(
    "count", [-5, 1.5, "7", True, None, [3], {}, MOST_TOKENS + 1, 10**18, 10**400, float("inf"), SECRET]
)
def test_counts_that_are_none_are_estimated(server: Answering, count: object) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": count, "total_tokens": count}
    found = complete(server, completion("x" * 30, usage=usage))
    estimate = endpoint(server).estimate_tokens(REQUEST)[0]
    assert (found.prompt_tokens, found.completion_tokens) == (estimate, 11)
    assert found.cost_usd == pytest.approx((estimate * PRICES[0] + 11 * PRICES[1]) / 1e6)


@pytest.mark.parametrize(
    "usage", [None, SECRET, [1], {}, {"prompt_tokens": 7}, {"prompt_tokens": 0, "completion_tokens": 0}]
)
def test_usage_that_is_none_is_estimated(server: Answering, usage: object) -> None:
    found = complete(server, completion("x" * 30, usage=usage))
    assert (found.prompt_tokens, found.completion_tokens) == (endpoint(server).estimate_tokens(REQUEST)[0], 11)


def test_a_count_of_ten_thousand_digits(server: Answering) -> None:
    body = completion("x", usage="COUNTS").replace(b'"COUNTS"', b'{"prompt_tokens": %s}' % (b"9" * 10_000))
    assert complete(server, body).cost_usd > 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        SECRET.encode(),
        f"<html>{SECRET}</html>".encode(),
        f'"{SECRET}"'.encode(),
        b"null",
        b"[1]",
        b"[" * 100_000,
        b'{"a": "\xe4"}',
        json.dumps({"error": {"message": SECRET, "code": 500}}).encode(),
        completion(choices=None),
        completion(choices={"a": SECRET}),
        completion(choices=SECRET),
        completion("x" * 5_000_000),
    ],
)
def test_a_body_that_is_no_completion_is_no_answer(server: Answering, body: bytes) -> None:
    assert failure(server, body).kind is CallErrorKind.UNAVAILABLE


@pytest.mark.parametrize("piece", ["a", f"{SECRET} ", "*", "abc-***/ ", "key=", "token ", "http://x", "Exception - "])
@pytest.mark.parametrize(("status", "kind"), [(500, CallErrorKind.UNAVAILABLE), (400, CallErrorKind.REJECTED)])
@pytest.mark.slow
def test_an_error_of_megabytes_takes_no_time(server: Answering, piece: str, status: int, kind: CallErrorKind) -> None:
    asyncio.run(endpoint(server).complete(REQUEST)) if server.body else complete(server, completion())
    text = piece * (3_000_000 // len(piece))
    for body in (text.encode(), json.dumps({"error": {"message": text}}).encode()):
        began = time.process_time()
        assert failure(server, body, status).kind is kind
        assert time.process_time() - began < 3.0


@pytest.mark.parametrize("piece", ["no,", "key="])
def test_a_long_message_takes_no_time_from_any_client(piece: str) -> None:
    """That of another provider reads pages of megabytes; the patterns are quadratic."""
    began = time.process_time()
    assert len(quotable(piece * 10_000, (SECRET,))) < 250
    assert time.process_time() - began < 1.0


def test_an_answer_that_drips_is_given_up(server: Answering) -> None:
    complete(server, completion())  # the first call of a provider has more time
    server.pause = 0.05
    began = time.monotonic()
    with pytest.raises(CallError, match=r"no whole answer within 0\.6 s"):
        asyncio.run(Endpoint("openai/judge", f"{server.address}/v1", timeout_seconds=0.3).complete(REQUEST))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e999", "-inf", "Fri, 31 Dec 999999 23:59:59 GMT"])
def test_a_time_to_wait_that_is_none(server: Answering, seconds: str) -> None:
    server.headers = (("Retry-After", seconds),)
    assert failure(server, b"{}", 429).retry_after_seconds is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_takes_a_report_elsewhere(server: Answering, elsewhere: Answering, status: int) -> None:
    elsewhere.body = completion()
    server.headers = (("Location", f"{elsewhere.address}/v1/chat/completions"),)
    refused = failure(server, b"", status)
    assert (refused.kind, elsewhere.asked) == (CallErrorKind.REJECTED, [])
    assert f"status {status}: a redirect, which isn't followed" in refused.reason


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_no_proxy_sees_what_is_asked_on_this_machine(
    server: Answering, elsewhere: Answering, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_litellm()
    monkeypatch.setenv(variable, elsewhere.address)
    monkeypatch.setattr("litellm.aclient_session", None)  # one that was made with this environment
    assert complete(server, completion()).text == SECRET
    assert (len(server.asked), elsewhere.asked) == (1, [])


def test_a_proxy_is_asked_for_what_is_elsewhere(elsewhere: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere.body = completion()
    monkeypatch.setenv("HTTP_PROXY", elsewhere.address.removeprefix("http://"))
    monkeypatch.setenv("NO_PROXY", "near.test")
    far = Endpoint("openai/judge", "http://far.test/v1", prices=PRICES)
    assert asyncio.run(far.complete(REQUEST)).text == SECRET
    assert elsewhere.asked == ["http://far.test/v1/chat/completions"]
    near = Endpoint("openai/judge", "http://near.test/v1", prices=PRICES)
    with pytest.raises(CallError, match="no response"):
        asyncio.run(near.complete(REQUEST))
    assert len(elsewhere.asked) == 1


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_a_certificate_that_is_not_trusted_ends_the_run(
    server: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made for this test; no further try would change it, and it may be told to be trusted."""
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "k.pem",
        "-out",
        "c.pem",
        "-days",
        "1",
    ]
    whose = ["-subj", "/CN=judge", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made, *whose], cwd=tmp_path, check=True, capture_output=True)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    server.socket = own.wrap_socket(server.socket, server_side=True)
    server.body = completion()
    judge = Endpoint("openai/judge", f"https://127.0.0.1:{server.server_port}/v1", prices=PRICES)
    load_litellm()
    monkeypatch.setattr("litellm.aclient_session", None)
    with pytest.raises(CallError, match=r"certificate isn't trusted \(self-signed certificate\)") as raised:
        asyncio.run(judge.complete(REQUEST))
    assert raised.value.kind is CallErrorKind.REJECTED
    monkeypatch.setattr("litellm.aclient_session", None)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "c.pem"))
    assert asyncio.run(judge.complete(REQUEST)).text == SECRET


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "ftp://x", "::::", "http://"])
def test_a_proxy_that_can_not_be_used_is_named(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    far = Endpoint("openai/judge", "http://far.test/v1", prices=PRICES)
    with pytest.raises(CallError, match=r"^HTTPS_PROXY of the environment names no proxy") as raised:
        asyncio.run(far.complete(REQUEST))
    assert raised.value.kind is CallErrorKind.REJECTED


def test_a_judge_reads_parts_and_stores_them(server: Answering, tmp_path: Path) -> None:
    server.body = completion(
        [{"type": "thinking", "thinking": SECRET}, {"type": "text", "text": '{"facts": []}'}],
        model="m\ud800",
        usage={"prompt_tokens": 10**400, "completion_tokens": -1},
    )
    judge = judge_by(endpoint(server), tmp_path, retry=RetryPolicy(max_tries=1))
    (judged,) = judge.start([f"There is {SECRET}."]).result()
    assert isinstance(judged, Judged)
    assert (judged.facts, judged.verdicts) == ((), nothing_mentioned())
    assert judge.client.usage.cost_usd > 0


def test_a_report_that_says_nothing_is_not_asked_about(tmp_path: Path) -> None:
    nobody = Endpoint("openai/judge", "http://127.0.0.1:9/v1")
    judge = judge_by(nobody, tmp_path, on_failure="drop_study")
    for judged in judge.start(["", "N/A.", "None.", "See impression."]).result():
        assert isinstance(judged, Judged)
        assert judged.verdicts == nothing_mentioned()
    assert judge.client.usage.calls == 0


def test_only_what_is_plain_is_handed_on() -> None:
    choice = {"logprobs": SECRET, "finish_reason": [SECRET]}
    told = json.loads(plain_completion(completion("x", system_fingerprint=SECRET, choices=[choice] * 2)))
    assert set(told) == {"id", "object", "created", "model", "choices", "usage"}
    assert told["choices"] == [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ""}}]
    assert plain_completion(b"[" * 100_000) == b""
