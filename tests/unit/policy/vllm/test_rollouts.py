"""Rollouts by a server equal the policy's own, and an adapter that is not the current one is noticed."""

from pathlib import Path

import pytest
import torch
from tests.unit.policy.vllm.conftest import Source, move
from tests.vllm_server import StandInServer

from orapo.batches import StudyBatch
from orapo.data.arithmetic import Arithmetic
from orapo.data.collate import Collate, StudyImages, StudyWithImages
from orapo.data.phantoms import PhantomSource
from orapo.errors import RunPaused
from orapo.policy.model import Policy
from orapo.policy.reference import score_frozen
from orapo.policy.settings import SamplingSettings
from orapo.prompt import Prompt
from orapo.records import Split

SAMPLING = SamplingSettings(per_study=3, max_new_tokens=12, min_new_tokens=1)


def test_the_servers_log_probabilities_are_the_policys_after_every_update(
    policy: Policy, server: StandInServer, batch: StudyBatch, source: Source, tmp_path: Path
) -> None:
    rollouts = source(logps="server")
    names = []
    for update in range(3):
        if update:
            move(policy, update)
        groups = rollouts.roll_out(batch, SAMPLING)
        exact = score_frozen(policy, batch, [group.token_ids for group in groups], 1.0)
        for group, own in zip(groups, exact, strict=True):
            assert len(group.texts) == len(group.token_ids) == 3
            for theirs, ours in zip(group.old_logps, own, strict=True):
                assert theirs.dtype == torch.float32
                torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=0)
        assert 0 <= rollouts.metrics()["rollout_logp_gap"] < 1e-4
        names.append(server.requests[-1]["model"])
    assert len(set(names)) == 3
    assert list(server.loaded) == [names[-1]]
    assert [place.name for place in (tmp_path / "adapters").iterdir() if place.is_dir()] == [names[-1]]
    rollouts.close()
    assert not server.loaded
    assert not list((tmp_path / "adapters").iterdir())


@pytest.mark.slow
def test_weights_that_stay_are_published_once(server: StandInServer, batch: StudyBatch, source: Source) -> None:
    rollouts = source()
    for _ in range(2):
        rollouts.roll_out(batch, SAMPLING)
    assert server.log.count("POST /v1/load_lora_adapter") == 1
    assert len(server.requests) == 6


@pytest.mark.slow
def test_a_fused_optimisers_update_is_published(policy: Policy, batch: StudyBatch, source: Source) -> None:
    rollouts = source(logps="server", max_logp_gap=None)
    weights = [weight for weight in policy.parameters() if weight.requires_grad]
    rollouts.roll_out(batch, SAMPLING)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    torch.optim.AdamW(weights, lr=0.1, fused=True).step()
    rollouts.roll_out(batch, SAMPLING)
    assert rollouts.metrics()["rollout_logp_gap"] < 1e-4


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.slow
def test_recomputed_log_probabilities_are_exact_at_any_temperature(
    policy: Policy, batch: StudyBatch, source: Source, temperature: float
) -> None:
    move(policy, 5)
    rollouts = source()
    sampling = SamplingSettings(per_study=2, max_new_tokens=6, temperature=temperature)
    groups = rollouts.roll_out(batch, sampling)
    exact = score_frozen(policy, batch, [group.token_ids for group in groups], temperature)
    for group, own in zip(groups, exact, strict=True):
        for theirs, ours in zip(group.old_logps, own, strict=True):
            torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=0)
    assert rollouts.metrics()["rollout_logp_gap"] < 1e-4


@pytest.mark.parametrize(("logps", "temperature"), [("recomputed", 1.0), ("recomputed", 0.7), ("server", 1.0)])
@pytest.mark.slow
def test_a_server_that_ignores_the_adapter_is_noticed(
    policy: Policy, server: StandInServer, batch: StudyBatch, source: Source, logps: str, temperature: float
) -> None:
    server.ignores_reload = True
    sampling = SamplingSettings(per_study=2, max_new_tokens=6, temperature=temperature)
    rollouts = source(logps=logps)
    rollouts.roll_out(batch, sampling)  # an adapter that has not moved does nothing
    assert rollouts.metrics()["rollout_logp_gap"] < 1e-4
    move(policy, 7)
    with pytest.raises(RunPaused, match=r"server and policy differ by \d.* rollout.server.max_logp_gap is 0.2"):
        rollouts.roll_out(batch, sampling)
    lenient = source(logps=logps, max_logp_gap=None)
    lenient.roll_out(batch, sampling)
    assert lenient.metrics()["rollout_logp_gap"] > 0.2


@pytest.mark.slow
def test_the_same_random_state_or_the_same_seeds_draw_the_same(batch: StudyBatch, source: Source) -> None:
    rollouts = source()

    def texts(seed: int, seeds: list[int] | None = None) -> list[tuple[str, ...]]:
        torch.manual_seed(seed)
        return [group.texts for group in rollouts.roll_out(batch, SAMPLING, seeds)]

    assert texts(3) == texts(3)
    assert texts(3) != texts(4)
    assert texts(3, [1, 2, 3]) == texts(4, [1, 2, 3])


def test_greedy_reports_are_the_policys_own(policy: Policy, batch: StudyBatch, source: Source) -> None:
    move(policy, 9)
    greedy = SamplingSettings(per_study=2, max_new_tokens=12, min_new_tokens=3, greedy=True)
    own = policy.roll_out(batch, greedy)
    rollouts = source()
    theirs = rollouts.roll_out(batch, greedy)
    assert [group.texts for group in theirs] == [group.texts for group in own]
    assert [group.finished for group in theirs] == [group.finished for group in own]
    assert torch.tensor(rollouts.metrics()["rollout_logp_gap"]).isnan()


def test_every_sampling_parameter_is_named(
    policy: Policy, server: StandInServer, batch: StudyBatch, source: Source
) -> None:
    source().roll_out(
        batch, SamplingSettings(per_study=4, temperature=0.9, top_p=0.8, max_new_tokens=5, min_new_tokens=2)
    )
    body = server.requests[0]
    tokens = {
        name: policy.tokenizer.convert_tokens_to_ids(name) for name in ("<|image_pad|>", "<|im_end|>", "<|im_start|>")
    }
    assert body["logit_bias"][str(tokens["<|image_pad|>"])] == body["logit_bias"][str(tokens["<|im_start|>"])] == -100
    assert str(tokens["<|im_end|>"]) not in body["logit_bias"]
    assert body["stop_token_ids"] == [tokens["<|im_end|>"]]
    expected = {"n": 4, "temperature": 0.9, "top_p": 0.8, "max_completion_tokens": 5, "min_tokens": 2}
    expected |= {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "logprobs": True, "return_token_ids": True}
    assert {name: body[name] for name in expected} == expected


def test_the_server_is_shown_and_told_the_prior_study(policy: Policy, server: StandInServer, source: Source) -> None:
    phantoms = PhantomSource(num_test=2, followup=True)
    prompt = Prompt("Write the report.", ("indication", "prior_report", "prior_image"))
    rows = StudyImages(phantoms.load_images, phantoms.studies(Split.TEST), with_priors=True)
    batch = Collate(policy.processor, prompt, 24)([rows[0], rows[1]])
    groups = source(logps="server").roll_out(batch, SAMPLING)
    exact = score_frozen(policy, batch, [group.token_ids for group in groups], 1.0)
    for group, own in zip(groups, exact, strict=True):
        for theirs, ours in zip(group.old_logps, own, strict=True):
            torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=0)
    for request in server.requests:
        assert [part["type"] for part in request["messages"][0]["content"]] == ["image_url", "image_url", "text"]
    told = {request["messages"][0]["content"][-1]["text"] for request in server.requests}
    assert told == {messages[0]["content"][-1]["text"] for messages in batch.messages}


def test_the_server_answers_questions_without_a_picture(policy: Policy, server: StandInServer, source: Source) -> None:
    sums = Arithmetic()
    rows = [StudyWithImages(sums.study(Split.TRAIN, index), ()) for index in range(2)]
    batch = Collate(policy.processor, policy.prompt, 24)(rows)
    groups = source(logps="server").roll_out(batch, SAMPLING)
    exact = score_frozen(policy, batch, [group.token_ids for group in groups], 1.0)
    for group, own in zip(groups, exact, strict=True):
        for theirs, ours in zip(group.old_logps, own, strict=True):
            torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=0)
    told = sorted(request["messages"][0]["content"][0]["text"] for request in server.requests)
    assert told == sorted(row.study.question.text for row in rows if row.study.question)
