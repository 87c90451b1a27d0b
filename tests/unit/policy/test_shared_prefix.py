"""The shared prefix gives what repeating the prompt gives: values, gradients, sampling, every way to load."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import make_study, noise_image
from tests.unit.policy.conftest import flat
from torch import Tensor

from orapo.batches import StudyBatch
from orapo.data.collate import Collate
from orapo.policy.loading import load_policy
from orapo.policy.model import Policy
from orapo.policy.packing import pack_row
from orapo.policy.reference import make_reference
from orapo.policy.scoring import score_repeated, score_shared
from orapo.policy.settings import LoraSettings, ModelSettings, SamplingSettings
from orapo.policy.tiny import base_folder
from orapo.prompt import DEFAULT_INSTRUCTION, Prompt


def score_both(policy: Policy, batch: StudyBatch, completions: list[list[Tensor]]) -> tuple[Tensor, Tensor]:
    shared = score_shared(policy.model, batch, completions, 0.7)
    repeated = score_repeated(policy.model, batch, completions, 0.7)
    assert [len(c) for s in shared for c in s] == [len(c) for s in completions for c in s]
    return flat(shared), flat(repeated)


def test_values_and_gradients_of_every_parameter_agree(
    random_policy: Policy, batch: StudyBatch, completions: list[list[Tensor]]
) -> None:
    weights = torch.randn(sum(len(c) for s in completions for c in s), generator=torch.Generator().manual_seed(2))
    gradients = []
    values = score_both(random_policy, batch, completions)
    for logps in values:
        random_policy.zero_grad()
        (logps * weights).sum().backward()
        gradients.append({n: p.grad.clone() for n, p in random_policy.named_parameters() if p.grad is not None})
    torch.testing.assert_close(values[0], values[1], atol=1e-5, rtol=0)
    assert values[0].std() > 0.5, "the policy is so flat that any two ways would agree"
    assert gradients[0].keys() == gradients[1].keys() == {n for n, _ in random_policy.named_parameters()}
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=2e-4, rtol=1e-3, msg=name)


def loaded(folder: Path | str, **settings: Any) -> Policy:
    """The random folder with an adapter whose weights are not zero."""
    policy = load_policy(
        ModelSettings(path=str(folder), instruction="Write.", lora=LoraSettings(2, 4), trainable="language", **settings)
    )
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return policy


def gradients_both(policy: Policy, batch: StudyBatch, completions: list[list[Tensor]]) -> list[dict[str, Tensor]]:
    weights = torch.randn(sum(len(c) for s in completions for c in s), generator=torch.Generator().manual_seed(2))
    gradients = []
    for logps in score_both(policy, batch, completions):
        policy.zero_grad()
        (logps * weights).sum().backward()
        gradients.append({n: p.grad.float().clone() for n, p in policy.named_parameters() if p.grad is not None})
    return gradients


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_gradients_of_every_adapter_weight_agree(
    gradient_checkpointing: bool, random_model_folder: Path, batch: StudyBatch, completions: list[list[Tensor]]
) -> None:
    policy = loaded(random_model_folder, gradient_checkpointing=gradient_checkpointing)
    shared, repeated = gradients_both(policy, batch, completions)
    assert shared.keys() == repeated.keys() == {n for n, p in policy.named_parameters() if p.requires_grad}
    for name, gradient in shared.items():
        assert gradient.any()
        torch.testing.assert_close(gradient, repeated[name], atol=2e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("has_adapter", [False, True])
def test_bfloat16_is_as_near_to_float32_as_the_repeated_way(has_adapter: bool) -> None:
    # The embedded policy: random weights of a size that tells layouts apart magnify rounding beyond use.
    def make(dtype: str) -> Policy:
        if has_adapter:
            return loaded(base_folder(), dtype=dtype)
        return load_policy(ModelSettings(path=base_folder(), instruction=DEFAULT_INSTRUCTION, dtype=dtype))

    exact, low = make("float32"), make("bfloat16")
    collate = Collate(exact.processor, Prompt(DEFAULT_INSTRUCTION), 24)
    reports = ["Small left pleural effusion.", "No pneumothorax."]
    batch = collate([(make_study(str(i), text), (noise_image(i, (84, 84)),)) for i, text in enumerate(reports)])
    completions = [[batch.oracle_ids[1], batch.oracle_ids[0]], [batch.oracle_ids[1]]]
    wanted, _ = score_both(exact, batch, completions)
    shared, repeated = score_both(low, batch, completions)
    assert shared.dtype == repeated.dtype == torch.float32
    off = [(logps - wanted).abs().mean() for logps in (shared, repeated)]
    assert 0 < off[0] < 1.25 * off[1]
    exact_gradients, _ = gradients_both(exact, batch, completions)
    near = [nearness(gradients, exact_gradients) for gradients in gradients_both(low, batch, completions)]
    assert near[0] > near[1] - 0.05
    assert near[0] > 0.9


def nearness(gradients: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    """The cosine between two gradients over all weights, each weight's scaled to length 1."""
    cosine = torch.nn.functional.cosine_similarity
    return float(torch.stack([cosine(g.flatten(), exact[n].flatten(), dim=0) for n, g in gradients.items()]).mean())


def test_a_frozen_tower_encodes_once_for_all_passes(
    random_model_folder: Path,
    random_policy: Policy,
    batch: StudyBatch,
    completions: list[list[Tensor]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert random_policy.with_images_encoded(batch) is batch, "a tower that trains must be run with its gradient"
    policy = loaded(random_model_folder)
    encoded = policy.with_images_encoded(batch)
    before = flat(policy(batch.select([2, 1]), [completions[2], completions[1]]))
    monkeypatch.setattr(policy.model.model.visual, "forward", None)
    after = flat(policy(encoded.select([2, 1]), [completions[2], completions[1]]))
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
    assert policy.roll_out(encoded, SamplingSettings(per_study=2, max_new_tokens=3))


def test_one_encoding_with_its_graph_trains_the_tower_as_encoding_in_the_pass_does(
    random_policy: Policy, batch: StudyBatch, completions: list[list[Tensor]]
) -> None:
    reference = make_reference(random_policy)
    with torch.no_grad():
        for parameter in random_policy.model.model.visual.parameters():
            parameter.mul_(1.1)
    results = []
    for encoded in (batch, random_policy.with_images_encoded(batch, keeps_graph=True)):
        assert random_policy.roll_out(encoded, SamplingSettings(per_study=2, max_new_tokens=3))
        referred = flat(reference.score(encoded, completions, 1.0))
        random_policy.zero_grad()
        logps = flat(random_policy(encoded, completions))
        logps.square().sum().backward()
        tower = random_policy.model.model.visual.named_parameters()
        results.append({"logps": logps.detach(), "reference": referred, **{n: p.grad.clone() for n, p in tower}})
    assert (results[0]["logps"] - results[0]["reference"]).abs().max() > 0.01, "the copy and the policy see alike"
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, atol=2e-4, rtol=1e-3, msg=name)


def test_gradient_checkpointing_changes_nothing(
    random_model_folder: Path, random_policy: Policy, batch: StudyBatch, completions: list[list[Tensor]]
) -> None:
    settings = ModelSettings(path=str(random_model_folder), instruction="Write.", gradient_checkpointing=True)
    checkpointed = load_policy(settings)
    assert checkpointed.model.is_activation_checkpointing
    assert checkpointed.model.training
    results = []
    for policy in (random_policy, checkpointed):
        logps = flat(policy(batch, completions))
        logps.sum().backward()
        results.append((logps.detach(), policy.model.model.visual.patch_embed.proj.weight.grad))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-5, rtol=0)
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-4, rtol=1e-3)


def test_twin_a_branch_at_the_token_count_instead_of_the_next_rotary_position_is_wrong(
    random_policy: Policy, batch: StudyBatch, completions: list[list[Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import orapo.policy.scoring as scoring

    def at_token_count(positions, completions):  # type: ignore[no-untyped-def]
        moved = [torch.cat([p[:, :-1], torch.full((3, 1), p.shape[1] - 1)], dim=1) for p in positions]
        return pack_row(moved, completions)

    monkeypatch.setattr(scoring, "pack_row", at_token_count)
    shared, repeated = score_both(random_policy, batch, completions)
    assert (shared - repeated).abs().max() > 1e-2


def test_a_branch_does_not_see_its_neighbours(
    random_policy: Policy, batch: StudyBatch, completions: list[list[Tensor]]
) -> None:
    before = random_policy(batch, completions)
    changed = [[torch.randint_like(study[0], 8, 300), *study[1:]] for study in completions]
    after = random_policy(batch, changed)
    for one, other in zip(before, after, strict=True):
        for untouched, same in zip(one[1:], other[1:], strict=True):
            torch.testing.assert_close(untouched, same, atol=1e-5, rtol=0)


def test_sampling_keeps_the_log_probabilities_that_scoring_gives(random_policy: Policy, batch: StudyBatch) -> None:
    torch.manual_seed(3)
    settings = SamplingSettings(per_study=4, temperature=0.8, top_p=0.9, max_new_tokens=12, min_new_tokens=2)
    groups = random_policy.roll_out(batch, settings)
    assert [len(group.token_ids) for group in groups] == [4, 4, 4]
    scored = random_policy(batch, [group.token_ids for group in groups], 0.8)
    for group, logps in zip(groups, scored, strict=True):
        for kept, now in zip(group.old_logps, logps, strict=True):
            torch.testing.assert_close(kept, now.detach(), atol=1e-4, rtol=0)


def test_greedy_agrees_with_generate(random_policy: Policy, collate: Collate) -> None:
    single = collate([(make_study("a", "x"), (noise_image(5, (84, 56)),))])
    settings = SamplingSettings(max_new_tokens=10, greedy=True)
    ours = random_policy.roll_out(single, settings)[0].token_ids[0]
    rules = random_policy.stop_rules
    ids = single.prompt_ids[0][None]
    theirs = random_policy.model.eval().generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == random_policy.model.config.image_token_id).int(),
        pixel_values=single.joined("pixel_values"),
        image_grid_thw=single.joined("image_grid_thw"),
        max_new_tokens=10,
        do_sample=False,
        suppress_tokens=rules.banned.nonzero().squeeze(1).tolist(),
    )[0, ids.shape[1] :]
    assert ours.tolist() == theirs.tolist()


def test_control_tokens_are_never_drawn_and_stops_wait_for_the_minimum(
    random_policy: Policy, batch: StudyBatch
) -> None:
    torch.manual_seed(0)
    settings = SamplingSettings(per_study=16, temperature=5.0, max_new_tokens=20, min_new_tokens=6)
    groups = random_policy.roll_out(batch, settings)
    stop = random_policy.tokenizer.eos_token_id
    for group in groups:
        for ids, finished in zip(group.token_ids, group.finished, strict=True):
            assert 6 < len(ids) <= 20 or not finished
            assert (int(ids[-1]) == stop) == finished
            assert not set(ids[:-1].tolist()) & set(range(8)), "a control token was drawn"
            assert int(ids.max()) < len(random_policy.tokenizer)


def test_autocast_keeps_gradients_after_a_rollout(random_policy: Policy, batch: StudyBatch) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        groups = random_policy.roll_out(batch, SamplingSettings(per_study=2, max_new_tokens=4))
        logps = flat(random_policy(batch, [group.token_ids for group in groups]))
    logps.sum().backward()
    silent = [n for n, p in random_policy.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent
