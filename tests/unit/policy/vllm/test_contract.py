"""What training relies on in a server: of the stand-in, and with ``-p tests.real_vllm`` of a real vLLM.

One file for both, so that the stand-in is held to what the real one does.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from tests.conftest import make_study, noise_image
from tests.tiny_models import write
from tests.unit.policy.vllm.conftest import move
from tests.vllm_server import StandInServer

from orapo.batches import RolloutGroup, StudyBatch
from orapo.data.collate import Collate
from orapo.errors import RunPaused, SettingError
from orapo.policy.loading import load_policy
from orapo.policy.model import Policy
from orapo.policy.reference import score_frozen
from orapo.policy.settings import LoraSettings, ModelSettings, SamplingSettings
from orapo.policy.tiny import base_folder
from orapo.policy.vllm.client import ServerClient
from orapo.policy.vllm.rollouts import VllmRollouts
from orapo.policy.vllm.settings import ServerSettings
from orapo.prompt import DEFAULT_INSTRUCTION, Prompt

pytestmark = pytest.mark.slow

KEY, KEY_VARIABLE = "contract", "ORAPO_TEST_VLLM_KEY"
SAMPLING = SamplingSettings(per_study=4, max_new_tokens=16, min_new_tokens=1)
REPORTS = SamplingSettings(per_study=8, max_new_tokens=48)
GREEDY = SamplingSettings(max_new_tokens=24, greedy=True)
LARGEST_GAP = 1e-3
"""Between server and policy in a token's log-probability, both in float32, by weights that have moved far."""
SIZES: tuple[tuple[tuple[int, int], ...], ...] = (
    ((90, 70),),
    ((300, 200), (64, 150)),
    ((41, 57),),
    ((400, 90),),
    ((112, 112), (30, 200)),
)

Server = Any
"""A ``StandInServer`` or a ``RealServer``: api_base, served_name, restart()."""


def settings(mode: str, folder: str, rank: int = 4) -> ModelSettings:
    if mode == "model":
        return ModelSettings(folder, DEFAULT_INSTRUCTION)
    return ModelSettings(folder, DEFAULT_INSTRUCTION, lora=LoraSettings(rank=rank, alpha=8), trainable="language")


@pytest.fixture(scope="session")
def is_real(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.pluginmanager.has_plugin("tests.real_vllm"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The embedded policy with an output layer of its own.

    It shares the embeddings' weights otherwise, of which vLLM 0.32 keeps a packed copy on a CPU, and none elsewhere,
    that a reload leaves as it is.
    """
    policy = load_policy(ModelSettings(base_folder(), DEFAULT_INSTRUCTION))
    model: Any = policy.model
    model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    place = tmp_path_factory.mktemp("untied")
    policy.save(str(place))
    return str(place)


@pytest.fixture(scope="session")
def real(is_real: bool, folder: str) -> Iterator[Server]:
    """The one real server, which takes adapters and whole models; None for the stand-in."""
    if not is_real:
        yield None
        return
    from tests.real_vllm import RealServer

    with RealServer(folder, KEY) as server:
        yield server


@pytest.fixture(scope="module", params=["adapter", "model"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(mode: str, real: Server, folder: str) -> Iterator[Server]:
    if real is not None:
        yield real
        return
    with StandInServer(settings(mode, folder), folder) as stand_in:
        stand_in.key = KEY
        yield stand_in


@pytest.fixture
def policy(mode: str, folder: str) -> Policy:
    torch.manual_seed(1)
    return load_policy(settings(mode, folder))


def studies(policy: Policy, sizes: tuple[tuple[tuple[int, int], ...], ...] = SIZES) -> StudyBatch:
    rows = []
    for number, views in enumerate(sizes):
        pictures = tuple(noise_image(10 * number + view, size) for view, size in enumerate(views))
        rows.append((make_study(f"s{number}", "No pneumothorax.", len(views)), pictures))
    return Collate(policy.processor, policy.prompt, 24)(rows)


@pytest.fixture
def batch(policy: Policy) -> StudyBatch:
    return studies(policy)


Source = Callable[..., VllmRollouts]


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ServerClient]:
    monkeypatch.setenv(KEY_VARIABLE, KEY)

    def make(**changed: Any) -> ServerClient:
        own = {"api_base": server.api_base, "model": server.served_name, "api_key_variable": KEY_VARIABLE}
        return ServerClient(ServerSettings(**{**own, **changed}))

    return make


@pytest.fixture
def source(policy: Policy, server: Server, client: Callable[..., ServerClient], tmp_path: Path) -> Iterator[Source]:
    """Rollouts of the policy by the server, which afterwards has its own weights again."""
    made: list[VllmRollouts] = []

    def make(**changed: Any) -> VllmRollouts:
        made.append(
            VllmRollouts(policy, client(**changed), server.served_name, tmp_path / "weights", studies_per_pass=2)
        )
        return made[-1]

    yield make
    for each in made:
        each.close()


def differences(policy: Policy, batch: StudyBatch, groups: tuple[RolloutGroup, ...]) -> torch.Tensor:
    """Of the server's log-probabilities to the policy's, over the whole vocabulary at temperature 1."""
    exact = score_frozen(policy, batch, [group.token_ids for group in groups], 1.0)
    theirs = torch.cat([logps for group in groups for logps in group.old_logps])
    return (theirs - torch.cat([logps for study in exact for logps in study])).abs()


def move_all(policy: Policy, mode: str, seed: int) -> None:
    """A change that shows, after which the policy still writes words."""
    if mode == "adapter":
        return move(policy, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.3 * weight.std() * torch.randn(weight.shape, generator=generator))
    return None


def test_the_log_probabilities_are_the_policys_after_every_update(
    policy: Policy, batch: StudyBatch, source: Source, mode: str, record_property: Any, tmp_path: Path
) -> None:
    rollouts = source(logps="server", max_logp_gap=None)
    gaps, seconds = [], []
    for update in range(4):
        if update:
            move_all(policy, mode, update)
        began = time.perf_counter()
        groups = rollouts.roll_out(batch, SAMPLING)
        seconds.append(time.perf_counter() - began)
        gaps.append(differences(policy, batch, groups))
        assert len([place for place in (tmp_path / "weights").iterdir() if place.is_dir()]) == 1
    move_all(policy, mode, 4)
    stale = differences(policy, batch, groups).mean().item()
    every = torch.cat(gaps)
    record_property(f"{mode}: server - policy, mean of {len(every)} tokens", f"{every.mean():.1e}")
    record_property(f"{mode}: server - policy, largest", f"{every.max():.1e}")
    record_property(f"{mode}: the same against weights that moved once more, mean", f"{stale:.2f}")
    record_property(f"{mode}: seconds of 20 rollouts with new weights", f"{sum(seconds) / len(seconds):.1f}")
    assert every.max() < LARGEST_GAP
    assert every.mean() < LARGEST_GAP / 50
    assert stale > 100 * LARGEST_GAP


@pytest.mark.parametrize(
    "likeliest",
    [{"temperature": 0.001}, {"top_p": 1e-6}, {"top_k": 1}, {"min_p": 0.999}],
    ids=lambda one: next(iter(one)),
)
def test_each_rule_of_sampling_is_followed(
    policy: Policy, source: Source, mode: str, record_property: Any, likeliest: dict[str, float]
) -> None:
    """At its end each rule leaves the likeliest token; the log-probabilities stay those of the whole vocabulary."""
    batch = studies(policy, SIZES[:2])
    rollouts = source(max_logp_gap=None)
    (rule,) = likeliest
    narrow = SamplingSettings(per_study=2, max_new_tokens=12, **likeliest)  # type: ignore[arg-type]
    groups = rollouts.roll_out(batch, narrow)
    expected = policy.roll_out(batch, SamplingSettings(max_new_tokens=12, greedy=True))
    assert [group.texts for group in groups] == [group.texts * 2 for group in expected]
    gap = rollouts.metrics()["rollout_logp_gap"]
    record_property(f"{mode}: gap where {rule} leaves one token", f"{gap:.1e}")
    assert gap < LARGEST_GAP


def test_lengths_ends_bans_and_k(policy: Policy, source: Source, mode: str, record_property: Any) -> None:
    batch = studies(policy, SIZES[:3])
    rollouts = source(logps="server")
    exact = SamplingSettings(per_study=1, max_new_tokens=5, min_new_tokens=5)
    for group in rollouts.roll_out(batch, exact):
        assert [len(ids) for ids in group.token_ids] == [5]
    groups = rollouts.roll_out(batch, REPORTS)
    stop, banned = policy.tokenizer.eos_token_id, policy.stop_rules.banned
    tokens = torch.cat([ids for group in groups for ids in group.token_ids])
    assert [len(group.texts) for group in groups] == [8, 8, 8]
    assert any(any(group.finished) for group in groups)
    for group in groups:
        for ids, finished, logps in zip(group.token_ids, group.finished, group.old_logps, strict=True):
            assert bool(ids[-1] == stop) == finished
            assert len(ids) == 48 or finished
            assert logps.isfinite().all()
    record_property(f"{mode}: banned tokens of {len(tokens)}", int(banned[tokens].sum()))
    assert not banned[tokens].any()


def test_seeds_fix_what_is_drawn(policy: Policy, source: Source, mode: str, record_property: Any) -> None:
    batch = studies(policy, SIZES[:2])
    rollouts = source()
    one, same, other = (
        [text for group in rollouts.roll_out(batch, SAMPLING, seeds) for text in group.texts]
        for seeds in ([7, 8], [7, 8], [9, 10])
    )
    equal = sum(a == b for a, b in zip(one, same, strict=True))
    record_property(f"{mode}: rollouts equal by the same seed", f"{equal} of {len(one)}")
    assert equal == len(one)
    assert one != other
    assert len(set(one[:4])) > 1


def test_greedy_reports_are_the_policys_own(
    policy: Policy, batch: StudyBatch, source: Source, mode: str, record_property: Any
) -> None:
    theirs = source().roll_out(batch, GREEDY)
    own = policy.roll_out(batch, GREEDY)
    equal = sum(a.texts == b.texts for a, b in zip(theirs, own, strict=True))
    record_property(f"{mode}: greedy reports equal to the policy's, of pictures of all sizes", f"{equal} of {len(own)}")
    assert equal == len(own)


def test_a_prompt_that_is_too_long_is_refused_in_one_line(policy: Policy, source: Source) -> None:
    long = Collate(policy.processor, Prompt("Write the report. " * 900), 24)
    batch = long([(make_study("s0", "Normal."), (noise_image(0, (56, 56)),))])
    with pytest.raises(RunPaused, match=r"^rollout server, study s0: .*HTTP 400: .*maximum context length") as caught:
        source().roll_out(batch, SAMPLING)
    assert "\n" not in str(caught.value)


def test_statuses_and_bodies(server: Server, mode: str) -> None:
    root = server.api_base.removesuffix("/v1")

    def answer(path: str, body: dict[str, Any] | None = None, key: str = KEY) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}"}
        response = httpx.request("GET" if body is None else "POST", root + path, json=body, headers=headers, timeout=60)
        return response.status_code, response.json()

    assert answer("/v1/models", key="other") == (401, {"error": "Unauthorized"})
    status, listed = answer("/v1/models")
    assert status == 200
    assert listed["data"][0]["id"] == listed["data"][0]["root"] == server.served_name
    assert listed["data"][0]["max_model_len"] == 2048
    assert answer("/weight_info") == (200, {"weight_version": "default"})
    asked = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "report"}]}],
        "max_completion_tokens": 1,
    }
    asked |= {"n": 2, "temperature": 0, "seed": 1, "min_tokens": 0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
    refused = [
        (400, "/v1/load_lora_adapter", {"lora_name": "", "lora_path": ""}, "Both 'lora_name' and 'lora_path'"),
        (404, "/v1/load_lora_adapter", {"lora_name": "a", "lora_path": "/nowhere"}, "No adapter found for /nowhere"),
        (404, "/v1/unload_lora_adapter", {"lora_name": "a"}, "The lora adapter 'a' cannot be found."),
        (404, "/v1/chat/completions", {"model": "nobody", **asked}, "The model `nobody` does not exist."),
        (400, "/v1/chat/completions", {"model": server.served_name, **asked}, "n must be 1 when using greedy sampling"),
    ]
    for expected, path, body, words in refused:
        status, told = answer(path, body)
        assert (status, told["error"]["code"]) == (expected, expected)
        assert words in told["error"]["message"]
    assert answer("/v1/models")[0] == 200


def test_a_key_that_is_missing_is_named(server: Server, mode: str) -> None:
    keyless = ServerClient(ServerSettings(api_base=server.api_base))
    with pytest.raises(
        SettingError, match=r"HTTP 401: Unauthorized; rollout.server.api_key_variable names the"
    ) as caught:
        keyless.check(server.served_name, has_adapter=mode == "adapter", sampling=SAMPLING)
    assert "\n" not in str(caught.value)


def test_the_check_at_the_start_passes(client: Callable[..., ServerClient], server: Server, mode: str) -> None:
    client().check(server.served_name, has_adapter=mode == "adapter", sampling=SAMPLING)
    with pytest.raises(SettingError, match=r"max_new_tokens is 2048, and the server at .* holds 2048 tokens"):
        client().check(server.served_name, has_adapter=True, sampling=SamplingSettings(max_new_tokens=2048))


def test_a_rank_above_the_servers_is_a_settings_error_at_once(
    server: Server, client: Callable[..., ServerClient], tmp_path: Path, mode: str
) -> None:
    if mode == "model":
        pytest.skip("of adapters")
    policy = load_policy(settings(mode, server.served_name, rank=64))
    rollouts = VllmRollouts(policy, client(), server.served_name, tmp_path, studies_per_pass=2)
    began = time.monotonic()
    with pytest.raises(
        SettingError, match=r"model.lora.rank is 64, and the rollout server takes less .*--max-lora-rank"
    ):
        rollouts.roll_out(studies(policy, SIZES[:1]), SAMPLING)
    assert time.monotonic() - began < 15


def test_two_processes_train_by_one_server(server: Server, mode: str, tmp_path: Path, record_property: Any) -> None:
    lora = ["model.lora={_target_: orapo.policy.settings.LoraSettings, rank: 4, alpha: 8}", "model.trainable=language"]
    options = [
        *(lora if mode == "adapter" else []),
        f"model.path={server.served_name}",
        *("rollout=vllm", f"rollout.server.api_base={server.api_base}", "rollout.server.max_logp_gap=0.0001"),
        f"rollout.server.api_key_variable={KEY_VARIABLE}",
        *("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", f"hydra.run.dir={tmp_path}/run"),
        *("data.source.num_train=20", "data.source.num_validate=2", "data.source.num_test=2", "rollout.per_study=2"),
        *("data.subset.num_studies=8", "data.max_report_tokens=16", "training.batch_size=4", "training.num_steps=3"),
        *("training.learning_rate=0.003", "training.validate_every_steps=null", "data.max_test_studies=2"),
    ]
    command = [sys.executable, "train.py", *options]
    environment = os.environ | {KEY_VARIABLE: KEY}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    gaps = [float(line.split(",")[lines[0].split(",").index("rollout_logp_gap")]) for line in lines[1:]]
    record_property(f"{mode}: gap of 3 steps of ddp with two processes, largest mean", f"{max(gaps):.1e}")
    assert len(gaps) == 3


def test_a_server_that_was_started_anew_gets_the_weights_again(
    policy: Policy, server: Server, source: Source, mode: str, record_property: Any, tmp_path: Path
) -> None:
    batch = studies(policy, SIZES[:2])
    rollouts = source(logps="server")
    move_all(policy, mode, 3)
    rollouts.roll_out(batch, SAMPLING)
    if mode == "model":
        # A reload that fails leaves no weights behind: the engine ends at the next request.
        lost = source(adapter_folder=str(tmp_path / "here"), adapter_folder_on_server="/nowhere")
        with pytest.raises(RunPaused, match=r"could not reload /nowhere/orapo-\w+, and must be started anew: HTTP 500"):
            lost.roll_out(batch, SAMPLING)
    server.restart()
    gap = differences(policy, batch, rollouts.roll_out(batch, SAMPLING)).max()
    record_property(f"{mode}: gap after a restart", f"{gap:.1e}")
    if hasattr(server, "seconds_to_start"):
        record_property(f"{mode}: seconds of the server's start", f"{server.seconds_to_start:.0f}")
    assert gap < LARGEST_GAP


@pytest.fixture(scope="module", params=["qwen3_vl", "gemma3"])
def family(
    request: pytest.FixtureRequest, is_real: bool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Server]]:
    if is_real and request.param == "gemma3":
        pytest.skip("vLLM asks Gemma's tokenizer for tokens of several newlines, which the tiny one lacks")
    folder = write(request.param, tmp_path_factory.mktemp("family") / request.param, head_dim=32)
    if is_real:
        from tests.real_vllm import RealServer

        with RealServer(str(folder)) as server:
            yield request.param, server
    else:
        with StandInServer(settings("adapter", str(folder)), str(folder)) as server:
            yield request.param, server


def test_other_families(family: tuple[str, Server], tmp_path: Path, record_property: Any) -> None:
    name, server = family
    policy = load_policy(settings("adapter", server.served_name))
    client = ServerClient(ServerSettings(server.api_base, logps="server", max_logp_gap=None))
    rollouts = VllmRollouts(policy, client, server.served_name, tmp_path, studies_per_pass=2)
    batch = studies(policy)
    gaps = []
    for update in range(2):
        if update:
            move(policy, update)
        gaps.append(differences(policy, batch, rollouts.roll_out(batch, SAMPLING)).max().item())
    rollouts.close()
    record_property(f"{name}: server - policy, largest, two adapters", f"{max(gaps):.1e}")
    assert max(gaps) < LARGEST_GAP


def test_renormalised_log_probabilities_are_refused(is_real: bool, folder: str) -> None:
    if is_real:
        from tests.real_vllm import RealServer

        server: Server = RealServer(folder, "", "--logprobs-mode", "processed_logprobs")
    else:
        server = StandInServer(settings("adapter", folder), folder)
        server.renormalises = True
    with server, pytest.raises(SettingError, match=r"renormalises .* start it with --logprobs-mode raw_logprobs"):
        ServerClient(ServerSettings(server.api_base)).check(server.served_name, has_adapter=True, sampling=SAMPLING)
