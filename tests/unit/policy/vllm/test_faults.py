"""A server that is down, was started anew, or answers something else than what was asked."""

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from tests.conftest import make_study, noise_image
from tests.unit.policy.vllm.conftest import NAME, Source, move
from tests.vllm_server import Answer, StandInServer

from orapo.batches import StudyBatch
from orapo.data.collate import Collate
from orapo.errors import RunPaused, RunTerminated, SettingError
from orapo.policy.loading import load_policy
from orapo.policy.model import Policy
from orapo.policy.settings import ModelSettings, SamplingSettings
from orapo.policy.vllm.client import Refused, ServerClient, Stopped
from orapo.policy.vllm.rollouts import VllmRollouts
from orapo.policy.vllm.settings import ServerSettings
from orapo.stopping import STOP_SIGNALS

SAMPLING = SamplingSettings(per_study=3, max_new_tokens=12, min_new_tokens=1)


def choice(change: Callable[[Answer], Any]) -> Callable[[Answer], Any]:
    return lambda answer: change(answer["choices"][1])


SPOILED: dict[str, tuple[Callable[[Answer], Any], str]] = {
    "one completion too few": (lambda a: a["choices"].pop(), r"2 completions came back where 3 were asked for"),
    "a completion twice": (choice(lambda c: c.update(index=0)), r"3 completions came back where 3"),
    "no choices": (lambda a: a.pop("choices"), r"no chat completion"),
    "prompt longer": (
        lambda a: a["prompt_token_ids"].insert(2, a["prompt_token_ids"][0]),
        r"prompt has (\d+) tokens instead of (\d+) and differs from token 2 on; it must serve model.path",
    ),
    "prompt missing": (lambda a: a.pop("prompt_token_ids"), r"from version 0.10.2 on"),
    "stale adapter": (lambda a: a.update(model="orapo-old"), r"'orapo-old' answered in the stead of 'orapo-"),
    "no log-probabilities": (choice(lambda c: c.update(logprobs=None)), r"completion 1 has \d+ tokens but 0 log-prob"),
    "one missing": (choice(lambda c: c["logprobs"]["content"].pop()), r"completion 1 has \d+ tokens but \d+ log-prob"),
    "of other tokens": (choice(lambda c: c["logprobs"]["content"][0].update(token="token_id:0")), r"different tokens"),
    "infinite": (
        choice(lambda c: c["logprobs"]["content"][0].update(logprob=None)),
        r"log-probability that is NoneType",
    ),
    "no number": (choice(lambda c: c["logprobs"]["content"][0].update(logprob=True)), r"log-probability that is bool"),
    "above 0": (choice(lambda c: c["logprobs"]["content"][0].update(logprob=0.5)), r"log-probability that is 0.5"),
    "a long model": (lambda a: a.update(model="x" * 9999), r"'x{40}' answered in the stead"),
    "a token beyond the vocabulary": (
        choice(
            lambda c: (
                c["token_ids"].__setitem__(0, 10**9),
                c["logprobs"]["content"][0].update(token=f"token_id:{10**9}"),
            )
        ),
        r"completion 1 holds token 1000000000 of a vocabulary of \d+",
    ),
    "no token ids": (choice(lambda c: c.pop("token_ids")), r"completion 1 has no token_ids"),
    "aborted": (choice(lambda c: c.update(finish_reason="abort")), r"completion 1 ended by 'abort'"),
    "cut early": (choice(lambda c: cut(c, 1)), r"completion 1 has 1 tokens and no stop token; 1 to 12"),
    "other words": (choice(lambda c: c["message"].update(content="Other words.")), r"reads otherwise by the policy"),
}


def cut(choice: Answer, length: int) -> None:
    choice["token_ids"] = choice["token_ids"][:length]
    choice["logprobs"]["content"] = choice["logprobs"]["content"][:length]
    choice["finish_reason"] = "length"


@pytest.mark.slow
@pytest.mark.parametrize("name", SPOILED)
def test_a_wrong_answer_pauses_with_the_study_and_the_reason(
    server: StandInServer, batch: StudyBatch, source: Source, name: str
) -> None:
    server.spoil, message = SPOILED[name]
    with pytest.raises(RunPaused, match=rf"^rollout server, study s[012]: .*{message}") as caught:
        source().roll_out(batch, SAMPLING)
    assert "\n" not in str(caught.value)


def test_a_server_with_other_image_limits_names_the_flag(
    policy: Policy, server: StandInServer, batch: StudyBatch, source: Source
) -> None:
    server.policy.image_processor.size = {"shortest_edge": 56 * 56, "longest_edge": 84 * 84}
    flag = re.escape('--mm-processor-kwargs \'{"min_pixels": 784, "max_pixels": 200704}\'')
    with pytest.raises(RunPaused, match=rf"has \d+ image tokens, not \d+: it resizes .* start it with {flag}"):
        source().roll_out(batch, SAMPLING)


def test_a_banned_token_is_found(policy: Policy, server: StandInServer, batch: StudyBatch, source: Source) -> None:
    image_pad = policy.tokenizer.convert_tokens_to_ids("<|image_pad|>")

    def spoil(answer: Answer) -> None:
        answer["choices"][0]["token_ids"][0] = image_pad
        answer["choices"][0]["logprobs"]["content"][0]["token"] = f"token_id:{image_pad}"

    server.spoil = spoil
    with pytest.raises(RunPaused, match=rf"completion 0 holds token {image_pad}, which logit_bias"):
        source().roll_out(batch, SAMPLING)


@pytest.mark.slow
def test_a_stop_token_that_is_left_out_is_put_back(
    policy: Policy, server: StandInServer, batch: StudyBatch, source: Source
) -> None:
    stop = policy.tokenizer.eos_token_id
    sampling = SamplingSettings(per_study=24, max_new_tokens=60)
    torch.manual_seed(0)
    whole = source().roll_out(batch, sampling)
    assert any(any(group.finished) for group in whole)

    def leave_out(answer: Answer) -> None:
        for choice in answer["choices"]:
            if choice["finish_reason"] == "stop":
                assert choice["token_ids"].pop() == stop
                choice["logprobs"]["content"].pop()

    server.spoil = leave_out
    torch.manual_seed(0)
    completed = source().roll_out(batch, sampling)
    for one, other in zip(whole, completed, strict=True):
        assert one.finished == other.finished
        assert [ids.tolist() for ids in one.token_ids] == [ids.tolist() for ids in other.token_ids]
        assert all(torch.equal(a, b) for a, b in zip(one.old_logps, other.old_logps, strict=True))
    torch.manual_seed(0)
    with pytest.raises(RunPaused, match=r"left out the log-probability of a stop token"):
        source(logps="server").roll_out(batch, sampling)


def test_hiccups_and_cut_connections_are_waited_out(server: StandInServer, batch: StudyBatch, source: Source) -> None:
    torch.manual_seed(2)
    expected = [group.texts for group in source().roll_out(batch, SAMPLING)]
    server.failures, server.resets = 2, 2
    torch.manual_seed(2)
    assert [group.texts for group in source(pause_limit_seconds=5).roll_out(batch, SAMPLING)] == expected


@pytest.mark.parametrize(
    ("status", "reason"), [(503, r"gave no answer for \d+ s \(HTTP 503"), (400, r"is refused: HTTP 400")]
)
def test_a_server_that_stays_out_of_order_pauses_the_run(
    server: StandInServer, batch: StudyBatch, source: Source, status: int, reason: str
) -> None:
    server.status = status
    with pytest.raises(RunPaused, match=reason):
        source().roll_out(batch, SAMPLING)


def test_a_server_that_repeats_the_prompt_is_not_quoted(
    server: StandInServer, batch: StudyBatch, source: Source
) -> None:
    server.status, server.message = 400, "validation error, input: {'type': 'text', 'text': 'Write the report.'}"
    with pytest.raises(RunPaused, match=r"HTTP 400: the server's message repeats what was sent$"):
        source().roll_out(batch, SAMPLING)


def test_a_500_that_stays_is_not_waited_for_long(server: StandInServer, batch: StudyBatch, source: Source) -> None:
    server.status = 500
    began = time.monotonic()
    with pytest.raises(RunPaused, match=r"is refused: HTTP 500: out of order"):
        source(pause_limit_seconds=60).roll_out(batch, SAMPLING)
    assert time.monotonic() - began < 5


def test_what_begins_after_the_run_has_failed_waits_for_no_server(
    server: StandInServer, batch: StudyBatch, source: Source
) -> None:
    rollouts = source(pause_limit_seconds=60)
    rollouts.roll_out(batch, SAMPLING)
    rollouts.stop()
    server.status = 503
    began = time.monotonic()
    with pytest.raises(Stopped):
        rollouts.begin(batch, SAMPLING, (1, 2, 3)).result()
    assert time.monotonic() - began < 10


def test_a_signal_ends_the_wait_for_a_server(
    server: StandInServer, batch: StudyBatch, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orapo.stopping.PATIENCE_SECONDS", 0.5)
    rollouts = source(pause_limit_seconds=60)
    rollouts.roll_out(batch, SAMPLING)
    server.status = 503
    began = time.monotonic()
    with STOP_SIGNALS.heard():
        STOP_SIGNALS.defer()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(RunTerminated, match=r"^stopped by SIGTERM while waiting for the rollout server$"):
            rollouts.roll_out(batch, SAMPLING)
    assert time.monotonic() - began < 10


def test_a_server_that_was_started_anew_gets_the_adapter_again(
    policy: Policy, server: StandInServer, batch: StudyBatch, source: Source
) -> None:
    move(policy, 3)
    rollouts = source()
    rollouts.roll_out(batch, SAMPLING)
    server.restart()
    rollouts.roll_out(batch, SAMPLING)
    assert rollouts.metrics()["rollout_logp_gap"] < 1e-4
    assert len(server.loaded) == 1


def test_a_folder_that_the_server_does_not_see_is_named(batch: StudyBatch, source: Source, tmp_path: Path) -> None:
    rollouts = source(adapter_folder=str(tmp_path / "here"), adapter_folder_on_server="/elsewhere/")
    with pytest.raises(RunPaused, match=r"can't load /elsewhere/orapo-\w+: HTTP 404: .*No adapter found"):
        rollouts.roll_out(batch, SAMPLING)


def client(server: StandInServer, **settings: Any) -> ServerClient:
    return ServerClient(ServerSettings(api_base=server.api_base, **settings))


def check(client: ServerClient, model: str = NAME, *, has_adapter: bool = True) -> None:
    client.check(model, has_adapter=has_adapter, sampling=SAMPLING)


def test_the_check_at_the_start(server: StandInServer, monkeypatch: pytest.MonkeyPatch) -> None:
    check(client(server))
    with pytest.raises(SettingError, match=rf"does not serve 'other'; it serves {NAME}: start it with that model"):
        check(client(server), "other")
    server.weight_version = "orapo-of-another-run"
    check(client(server), has_adapter=False)
    with pytest.raises(SettingError, match=r"still has all weights of another run; start it anew"):
        check(client(server))
    # One in its usual mode knows of no versions.
    server.takes_weights = False
    check(client(server))
    with pytest.raises(SettingError, match=r"takes no new weights, .*; start vLLM 0.32 .* VLLM_SERVER_DEV_MODE=1"):
        check(client(server), has_adapter=False)
    server.takes_adapters = False
    with pytest.raises(SettingError, match=r"takes no adapters; start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"):
        check(client(server))
    server.takes_adapters, server.key = True, "s3cret"
    with pytest.raises(SettingError, match=r"refuses what is asked: HTTP 401: Unauthorized; .*api_key_variable names"):
        check(client(server))
    with pytest.raises(SettingError, match=r"the environment variable ORAPO_TEST_KEY .* is not set"):
        client(server, api_key_variable="ORAPO_TEST_KEY")
    monkeypatch.setenv("ORAPO_TEST_KEY", "s3cret")
    check(client(server, api_key_variable="ORAPO_TEST_KEY"))


def test_an_outage_is_told_once_however_many_requests_meet_it(
    server: StandInServer, batch: StudyBatch, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    rollouts = source(pause_limit_seconds=5)
    rollouts.roll_out(batch, SAMPLING)
    server.resets = 6
    with caplog.at_level("WARNING", "orapo"):
        rollouts.roll_out(batch, SAMPLING)
    (record,) = caplog.records
    assert "at chat/completions; trying again" in record.getMessage()


@pytest.mark.slow
def test_a_server_that_has_gone_keeps_no_run_from_ending(random_model_folder: Path, tmp_path: Path) -> None:
    whole = ModelSettings(str(random_model_folder), "Write the report.")
    policy = load_policy(whole)
    batch = Collate(policy.processor, policy.prompt, 24)([(make_study("s", "Normal."), (noise_image(0, (56, 56)),))])
    with StandInServer(whole, NAME) as server:
        rollouts = VllmRollouts(policy, ServerClient(ServerSettings(server.api_base)), NAME, tmp_path / "w", 1)
        rollouts.roll_out(batch, SAMPLING)
        assert server.weight_version.startswith("orapo-")
    began = time.monotonic()
    rollouts.close()
    assert time.monotonic() - began < 10
    assert not list((tmp_path / "w").iterdir())


def test_a_folder_that_can_not_be_written_is_named(batch: StudyBatch, source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunPaused, match=r"can't be written in .*/file/weights: .*rollout.server.adapter_folder names"):
        source(adapter_folder=str(tmp_path / "file" / "weights")).roll_out(batch, SAMPLING)


def test_no_server_is_one_line_at_once(model: ModelSettings) -> None:
    with StandInServer(model, NAME) as gone:
        pass
    began = time.monotonic()
    with pytest.raises(
        RunPaused, match=r"no vLLM server answers at rollout.server.api_base http://127.0.0.1:\d+/v1 \("
    ):
        check(client(gone))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", [400, 503])
def test_what_the_prompt_tells_of_a_patient_is_not_repeated(status: int, caplog: pytest.LogCaptureFixture) -> None:
    told = "Indication: a canary swallowed a thimble."
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": told}]}]}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json={"error": {"message": f"no model takes {request.content.decode()}"}})

    client = ServerClient(ServerSettings("http://127.0.0.1:9/v1", pause_limit_seconds=0.2), first_delay_seconds=0.1)
    client._http = httpx.Client(base_url="http://127.0.0.1:9/v1/", transport=httpx.MockTransport(answer))
    with pytest.raises((Refused, RunPaused), match="the server's message repeats what was sent") as caught:
        client.post("chat/completions", body)
    assert "canary" not in f"{caught.value} {caplog.text}"
    assert client_reason(client, "lora_name") == "HTTP 400: no model takes lora_name"


def client_reason(client: ServerClient, message: str) -> str:
    refuses = httpx.MockTransport(lambda _: httpx.Response(400, json={"message": f"no model takes {message}"}))
    client._http = httpx.Client(base_url="http://127.0.0.1:9/v1/", transport=refuses)
    with pytest.raises(Refused) as caught:
        client.post("load_lora_adapter", {"lora_name": "lora_name"})
    return str(caught.value)


def test_an_answer_that_drips_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        waiting = ServerClient(ServerSettings(api_base=address, timeout_seconds=0.5, pause_limit_seconds=0))
        began = time.monotonic()
        with pytest.raises(RunPaused, match="ReadTimeout at models"):
            waiting.served_models()
        assert time.monotonic() - began < 5


def drip(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection, suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            time.sleep(0.05)
            connection.sendall(b" ")


def test_waiting_ends_when_another_thread_has_failed(server: StandInServer) -> None:
    server.status = 503
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    waiting = ServerClient(ServerSettings(api_base=server.api_base), first_delay_seconds=0.05, max_delay_seconds=0.05)
    began = time.monotonic()
    with pytest.raises(RunPaused, match="HTTP 503: out of order"):
        waiting.post("chat/completions", {"model": "any", "messages": [{"content": []}]}, stop)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"api_base": "127.0.0.1:8000"}, r"must be like http://HOST"),
        ({"api_base": "http://127.0.0.1:8000"}, r"must be like http://HOST:8000/v1"),
        ({"api_base": "http://me:pass@host/v1"}, r"holds a user, password or query"),
        ({"api_key_variable": "sk-1234"}, r"isn't the name of an environment variable"),
        ({"logps": "both"}, r"'both'; it must be one of recomputed, server"),
        ({"max_concurrent": 0}, r"max_concurrent is 0"),
        ({"max_logp_gap": 0}, r"max_logp_gap is 0"),
        ({"adapter_folder_on_server": "/x"}, r"without adapter_folder"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        ServerSettings(**{"api_base": "http://127.0.0.1:8000/v1", **settings})
    assert "pass" not in str(caught.value).replace("password", "")
    assert "1234" not in str(caught.value)


def test_settings_that_contradict_the_run() -> None:
    local, remote = ServerSettings("http://127.0.0.1:8000/v1"), ServerSettings("http://gpu7:8000/v1")
    local.check(SAMPLING, True)
    remote.check(SAMPLING, False)
    with pytest.raises(SettingError, match=r"images of patients would be sent to http://gpu7:8000/v1"):
        remote.check(SAMPLING, True)
    with pytest.raises(SettingError, match=r"rollout.temperature is 0.5 .* must be 1"):
        ServerSettings("http://localhost/v1", logps="server").check(SamplingSettings(temperature=0.5), False)
