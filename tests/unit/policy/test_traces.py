"""An update that takes what sampling computed is the update that computes everything itself."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from orapo.batches import RolloutGroup, RolloutTrace, StudyBatch, StudyTrace
from orapo.policy import model as policy_model
from orapo.policy import traces as traces_module
from orapo.policy.loading import load_policy
from orapo.policy.model import Policy
from orapo.policy.packing import pack_row
from orapo.policy.settings import LoraSettings, ModelSettings, SamplingSettings
from orapo.policy.traces import OF_ALL_TOKENS, KnownRows, Part

TEMPERATURE = 1.5
RAGGED = SamplingSettings(per_study=3, temperature=TEMPERATURE, max_new_tokens=24)
FULL = replace(RAGGED, max_new_tokens=6, min_new_tokens=6)


def sampled(policy: Policy, batch: StudyBatch, settings: SamplingSettings) -> tuple[RolloutGroup, ...]:
    """Rollouts that end at different times where they may."""
    stops = policy.model.generation_config.eos_token_id
    policy.model.generation_config.eos_token_id = list(range(40, 80))
    torch.manual_seed(4)
    groups = policy.roll_out(batch, settings, keeps_trace=True)
    policy.model.generation_config.eos_token_id = stops
    assert all(group.trace is not None for group in groups)
    return groups


def traces_of(groups: Sequence[RolloutGroup]) -> list[StudyTrace]:
    return [group.trace for group in groups if group.trace is not None]


def scored(
    policy: Policy, batch: StudyBatch, completions: Sequence[Sequence[Tensor]], traces: list[StudyTrace] | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-probabilities one after another, and the gradients of a weighted sum of them."""
    policy.zero_grad()
    logps = torch.cat([one for study in policy(batch, completions, TEMPERATURE, traces) for one in study])
    weights = torch.randn(len(logps), generator=torch.Generator().manual_seed(2))
    (logps * weights).sum().backward()
    return logps.detach(), {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}


def assert_same(
    policy: Policy, batch: StudyBatch, completions: Sequence[Sequence[Tensor]], traces: list[StudyTrace]
) -> None:
    values, gradients = scored(policy, batch, completions, traces)
    wanted, wanted_gradients = scored(policy, batch, completions, None)
    assert wanted.std() > 0.5, "the policy is so flat that any two ways would agree"
    torch.testing.assert_close(values, wanted, atol=1e-4, rtol=0)
    assert gradients.keys() == wanted_gradients.keys() == {name for name, _ in policy.named_parameters()}
    for name, gradient in wanted_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, atol=5e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("settings", [RAGGED, FULL], ids=["ragged", "full"])
@pytest.mark.parametrize("has_oracle", [False, True])
def test_values_and_gradients_of_every_weight_agree(
    has_oracle: bool, settings: SamplingSettings, random_policy: Policy, batch: StudyBatch
) -> None:
    groups = sampled(random_policy, batch, settings)
    lengths = {len(ids) for group in groups for ids in group.token_ids}
    assert (len(lengths) > 2) == (settings is RAGGED)
    oracle = [(ids,) if has_oracle else () for ids in batch.oracle_ids]
    completions = [(*group.token_ids, *ids) for group, ids in zip(groups, oracle, strict=True)]
    assert_same(random_policy, batch, completions, traces_of(groups))


def test_studies_in_another_order_and_without_some(random_policy: Policy, batch: StudyBatch) -> None:
    groups = sampled(random_policy, batch, RAGGED)
    for order in ([2, 0, 1], [1], [2, 1]):
        completions = [groups[i].token_ids for i in order]
        assert_same(random_policy, batch.select(order), completions, traces_of([groups[i] for i in order]))


def test_rollouts_that_left_early_and_single_tokens(random_policy: Policy, batch: StudyBatch) -> None:
    groups = sampled(random_policy, batch, replace(RAGGED, per_study=8, temperature=TEMPERATURE))
    lengths = [len(ids) for group in groups for ids in group.token_ids]
    assert min(lengths) == 1
    assert max(lengths) == 24
    assert_same(random_policy, batch, [group.token_ids for group in groups], traces_of(groups))


def test_rollouts_of_one_token(random_policy: Policy, batch: StudyBatch) -> None:
    groups = sampled(random_policy, batch, replace(FULL, max_new_tokens=1, min_new_tokens=0))
    completions = [group.token_ids for group in groups]
    values, _ = scored(random_policy, batch, completions, traces_of(groups))
    wanted, _ = scored(random_policy, batch, completions, None)
    torch.testing.assert_close(values, wanted, atol=1e-4, rtol=0)


def test_logits_are_left_out_where_they_are_too_many(
    random_policy: Policy, batch: StudyBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces_module, "MAX_LOGITS_AT_ONCE", 1000)
    groups = sampled(random_policy, batch, RAGGED)
    traces = traces_of(groups)
    assert traces[0].whole.probabilities is None
    assert_same(random_policy, batch, [group.token_ids for group in groups], traces)


@pytest.mark.parametrize("part", [*get_args(Part), "probabilities"])
def test_every_part_of_a_trace_is_read(part: str, random_policy: Policy, batch: StudyBatch) -> None:
    groups = sampled(random_policy, batch, RAGGED)
    traces, completions = traces_of(groups), [group.token_ids for group in groups]
    _, right = scored(random_policy, batch, completions, traces)
    whole = traces[0].whole
    if part == "probabilities":
        assert whole.probabilities is not None
        whole.probabilities[:3] *= 0.5
    else:
        whole.layers[0][part][5] += 3.0
    _, wrong = scored(random_policy, batch, completions, traces)
    assert any(not torch.allclose(right[name], wrong[name], atol=1e-2) for name in right)


def test_studies_that_were_sampled_apart_are_computed(random_policy: Policy, batch: StudyBatch) -> None:
    groups = [
        *sampled(random_policy, batch.select([0, 1]), RAGGED),
        *sampled(random_policy, batch.select([2]), RAGGED),
    ]
    completions = [group.token_ids for group in groups]
    row = pack_row(
        batch.prompt_ids, [torch.zeros(3, len(ids), dtype=torch.int64) for ids in batch.prompt_ids], completions
    )
    assert KnownRows.of(row, traces_of(groups)) is None
    assert_same(random_policy, batch, completions, traces_of(groups))


def test_plain_attention_is_computed_and_the_rest_taken(random_model_folder: Path, batch: StudyBatch) -> None:
    policy = load_policy(ModelSettings(str(random_model_folder), "Write.", attention="eager"))
    groups = sampled(policy, batch, RAGGED)
    kept = set(traces_of(groups)[0].whole.layers[0])
    assert kept == {*get_args(Part)} - {"attended", "log_sums"}
    assert_same(policy, batch, [group.token_ids for group in groups], traces_of(groups))


def test_full_rollouts_are_not_copied(random_policy: Policy, batch: StudyBatch) -> None:
    groups = sampled(random_policy, batch, FULL)
    positions = [torch.zeros(3, len(ids), dtype=torch.int64) for ids in batch.prompt_ids]
    known = KnownRows.of(pack_row(batch.prompt_ids, positions, [g.token_ids for g in groups]), traces_of(groups))
    assert known is not None
    assert known.layer(0)["gate"] is known.trace.layers[0]["gate"]
    assert known.probabilities(TEMPERATURE) is known.trace.probabilities
    assert known.probabilities(1.0) is None


def no_trace(policy: Policy, batch: StudyBatch) -> bool:
    return all(group.trace is None for group in policy.roll_out(batch, FULL, keeps_trace=True))


def test_nothing_is_kept_unless_asked(random_policy: Policy, batch: StudyBatch) -> None:
    assert all(group.trace is None for group in random_policy.roll_out(batch, FULL))


def test_nothing_is_kept_where_the_update_could_not_take_it(
    random_model_folder: Path, random_policy: Policy, batch: StudyBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(random_model_folder)
    lora = LoraSettings(rank=2, alpha=4)
    assert no_trace(load_policy(ModelSettings(path, "Write.", lora=lora, train_vision=False)), batch)
    assert no_trace(load_policy(ModelSettings(path, "Write.", gradient_checkpointing=True)), batch)
    assert no_trace(load_policy(ModelSettings(path, "Write.", scoring="repeated")), batch)
    assert no_trace(load_policy(ModelSettings(path, "Write.", dtype="bfloat16")), batch)
    with torch.autocast("cpu", torch.bfloat16):
        assert no_trace(random_policy, batch)
    assert not no_trace(random_policy, batch)
    monkeypatch.setattr(policy_model, "MAX_TRACE_BYTES", 1000)
    assert no_trace(random_policy, batch)


def test_a_trace_has_the_rows_it_says(random_policy: Policy, batch: StudyBatch) -> None:
    for settings in (RAGGED, FULL):
        groups = sampled(random_policy, batch, settings)
        whole: RolloutTrace = traces_of(groups)[0].whole
        assert whole.prompt_lengths == tuple(len(ids) for ids in batch.prompt_ids)
        num_followed = int((whole.followed >= 0).sum())
        num_prompt_tokens, num_tokens = sum(whole.prompt_lengths), sum(len(ids) for g in groups for ids in g.token_ids)
        assert num_followed >= num_tokens - 9
        assert (num_followed == 9 * 5) == (settings is FULL)
        assert whole.probabilities is not None
        assert len(whole.probabilities) == int((whole.drawn >= 0).sum()) >= num_tokens
        *others, last = whole.layers
        assert {len(values) for layer in others for values in layer.values()} == {num_prompt_tokens + num_followed}
        for part, values in last.items():
            assert len(values) == (num_prompt_tokens if part in OF_ALL_TOKENS else 3) + num_followed
