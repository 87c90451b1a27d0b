"""Every architecture samples, scores, trains, is saved and loaded; what it computes is what its own class computes."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import chat, make_study, noise_image
from tests.tiny_models import ARCHITECTURES, write
from tests.unit.policy.conftest import flat
from torch import Tensor
from transformers import AutoModelForImageTextToText

from orapo.batches import StudyBatch
from orapo.data.collate import Collate
from orapo.policy.checkpoints import load_checkpoint
from orapo.policy.families.parts import product_weights
from orapo.policy.loading import load_policy
from orapo.policy.model import Policy
from orapo.policy.reference import FrozenCopyReference, make_reference
from orapo.policy.settings import SAVED_SETTINGS, LoraSettings, ModelSettings, SamplingSettings

INSTRUCTION = "Write the report."
SHARED = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
LORA = LoraSettings(rank=2, alpha=4)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(request.param, tmp_path_factory.mktemp("models") / request.param)


def load(folder: Path, **settings: Any) -> Policy:
    settings |= {"trainable": "language"} if "lora" in settings else {}
    policy = load_policy(ModelSettings(str(folder), INSTRUCTION, **settings))
    generator = torch.Generator().manual_seed(3)
    if policy.adapter is not None:
        with torch.no_grad():
            for weight in policy.parameters():
                if weight.requires_grad:
                    weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return policy


IMAGES = {"a": [(112, 84)], "b": [(56, 56), (84, 112)], "c": [(112, 84)], "d": [(56, 112)]}
"""Two studies with equally long prompts, and one of two images."""


def make_batch(policy: Policy, images: Mapping[str, Sequence[tuple[int, int]]] = IMAGES) -> StudyBatch:
    rows = [
        (
            make_study(name, f"Small left pleural effusion {name}.", views=len(sizes)),
            tuple(noise_image(hash_of(name) + view, size) for view, size in enumerate(sizes)),
        )
        for name, sizes in images.items()
    ]
    return Collate(policy.processor, policy.prompt, 24)(rows)


def hash_of(name: str) -> int:
    return 10 * ord(name)


def make_completions(batch: StudyBatch) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    lengths = [[5, 1], [9], [3, 6], [2]]
    drawn = [[torch.randint(8, 300, (n,), generator=generator) for n in study] for study in lengths]
    return [[*study, oracle] for study, oracle in zip(drawn, batch.oracle_ids, strict=True)]


def plain_logps(model: Any, policy: Policy, batch: StudyBatch, completions: list[list[Tensor]]) -> Tensor:
    """By the class's own forward alone: one completion at a time, everything that the processor gives, all logits."""
    logps = []
    for ids, inputs, own in zip(batch.prompt_ids, batch.image_inputs, completions, strict=True):
        for completion in own:
            row = torch.cat([ids, completion])[None]
            types = {
                name: torch.cat([value, torch.zeros(1, len(completion), dtype=value.dtype)], dim=1)
                for name, value in inputs.items()
                if name.endswith("token_type_ids")
            }
            logits = model(input_ids=row, attention_mask=torch.ones_like(row), **{**inputs, **types}).logits[0]
            chosen = logits[len(ids) - 1 : -1].float().log_softmax(dim=-1)
            logps.append(chosen.gather(1, completion[:, None])[:, 0])
    return torch.cat(logps)


def gradients(policy: Policy | Any, logps: Tensor) -> dict[str, Tensor]:
    weights = torch.randn(len(logps), generator=torch.Generator().manual_seed(2))
    policy.zero_grad()
    (logps * weights).sum().backward()
    return {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}


def assert_near(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found[name], gradient, atol=1e-4 * max(scale, 1), rtol=1e-3, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_values_and_gradients_of_every_weight_are_those_of_its_own_class(checkpointing: bool, folder: Path) -> None:
    policy = load(folder, gradient_checkpointing=checkpointing)
    assert policy.shares_prefix == (folder.name in SHARED)
    batch = make_batch(policy)
    completions = make_completions(batch)
    model = AutoModelForImageTextToText.from_pretrained(folder).train()
    wanted = plain_logps(model, policy, batch, completions)
    found = flat(policy(batch, completions))
    assert wanted.std() > 0.5, "the policy is so flat that any two ways would agree"
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    assert_near(gradients(policy.model, found), gradients(model, wanted))


@pytest.mark.slow
def test_sampling_keeps_the_log_probabilities_that_scoring_gives(folder: Path) -> None:
    policy = load(folder)
    batch = make_batch(policy)
    settings = SamplingSettings(per_study=3, temperature=0.8, top_p=0.95, max_new_tokens=10, min_new_tokens=2)
    groups = policy.roll_out(batch, settings, seeds=[1, 2, 3, 4])
    scored = policy(batch, [group.token_ids for group in groups], 0.8)
    kept = torch.cat([logps for group in groups for logps in group.old_logps])
    torch.testing.assert_close(kept, flat(scored).detach(), atol=1e-4, rtol=0)
    alone = policy.roll_out(batch.select([2]), settings, seeds=[3])[0]
    assert [ids.tolist() for ids in alone.token_ids] == [ids.tolist() for ids in groups[2].token_ids]
    assert len({tuple(ids.tolist()) for ids in groups[0].token_ids}) == 3


@pytest.mark.slow
def test_prompts_without_images_score_and_sample_as_by_its_own_class(folder: Path) -> None:
    policy = load(folder)
    batch = make_batch(policy, {"a": [(112, 84)], "b": [], "c": [(56, 112)], "d": []})
    model = AutoModelForImageTextToText.from_pretrained(folder).train()
    for part in (batch, batch.select([1, 3])):
        completions = make_completions(part) if len(part) == 4 else [[one] for one in part.oracle_ids]
        wanted = plain_logps(model, policy, part, completions)
        torch.testing.assert_close(flat(policy(part, completions)), wanted, atol=1e-4, rtol=0)
        groups = policy.roll_out(part, SamplingSettings(per_study=2, max_new_tokens=6))
        kept = torch.cat([logps for group in groups for logps in group.old_logps])
        scored = flat(policy(part, [group.token_ids for group in groups])).detach()
        torch.testing.assert_close(kept, scored, atol=1e-4, rtol=0)


def test_greedy_agrees_with_generate(folder: Path) -> None:
    policy = load(folder)
    batch = make_batch(policy).select([1])
    ours = policy.roll_out(batch, SamplingSettings(max_new_tokens=8, greedy=True))[0].token_ids[0]
    ids = batch.prompt_ids[0][None]
    theirs = policy.model.eval().generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        **batch.image_inputs[0],
        max_new_tokens=8,
        do_sample=False,
        suppress_tokens=policy.stop_rules.banned.nonzero().squeeze(1).tolist(),
    )[0, ids.shape[1] :]
    assert ours.tolist() == theirs.tolist()


@pytest.mark.slow
def test_an_adapter_trains_and_is_loaded_again(folder: Path, tmp_path: Path) -> None:
    policy = load(folder, lora=LORA, gradient_checkpointing=True)
    batch = make_batch(policy)
    completions = make_completions(batch)
    trained = {name for name, weight in policy.named_parameters() if weight.requires_grad}
    assert trained
    assert all("lora_" in name and "vis" not in name for name in trained)
    encoded = policy.with_images_encoded(batch)
    assert encoded.image_features is not None
    found = flat(policy(encoded, completions))
    assert_near(gradients(policy, found), gradients(policy, flat(policy(batch, completions))))
    off = flat(make_reference(policy).score(batch, completions, 1.0))
    assert (off - found).abs().max() > 1e-2
    policy.save(str(tmp_path))
    again = load_checkpoint(ModelSettings(str(tmp_path), INSTRUCTION), str(folder))
    torch.testing.assert_close(flat(again(batch, completions)), found, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_under_autocast_a_reference_with_rounded_products_scores_bit_for_bit_as_the_whole_one(folder: Path) -> None:
    policy = load(folder)
    batch = make_batch(policy)
    completions = make_completions(batch)
    whole, rounded = FrozenCopyReference(policy), FrozenCopyReference(policy, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        wanted, found = (flat(reference.score(batch, completions, 1.0)) for reference in (whole, rounded))
    torch.testing.assert_close(found, wanted, atol=0, rtol=0)
    assert (wanted - flat(policy(batch, completions))).abs().max() > 1e-4, "autocast rounds nothing"
    kept, before = (sum(w.nbytes for w in one.copy.parameters()) for one in (rounded, whole))
    assert kept == before - 2 * sum(weight.numel() for weight in product_weights(policy.model))
    assert kept < 0.9 * before


@pytest.mark.slow
def test_a_full_update_moves_every_weight_that_sees_and_is_saved(folder: Path, tmp_path: Path) -> None:
    policy = load(folder)
    batch = make_batch(policy)
    completions = make_completions(batch)
    before = {name: weight.detach().clone() for name, weight in policy.model.named_parameters()}
    optimizer = torch.optim.SGD(policy.parameters(), lr=1e-3)
    flat(policy(policy.with_images_encoded(batch, keeps_graph=True), completions)).sum().backward()
    moved = {name for name, weight in policy.model.named_parameters() if weight.grad is not None and weight.grad.any()}
    optimizer.step()
    # What the class itself does not use in these passes may stand still.
    still = before.keys() - moved
    assert len(still) < 0.2 * len(before), sorted(still)
    policy.save(str(tmp_path))
    with torch.no_grad():
        wanted = flat(policy(batch, completions))
        again = load(tmp_path)
        assert [ids.tolist() for ids in make_batch(again).prompt_ids] == [ids.tolist() for ids in batch.prompt_ids]
        torch.testing.assert_close(flat(again(make_batch(again), completions)), wanted, atol=1e-5, rtol=0)
        stock = AutoModelForImageTextToText.from_pretrained(tmp_path)
        torch.testing.assert_close(plain_logps(stock, policy, batch, completions), wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", SHARED)
def test_the_shared_prefix_and_the_general_path_agree(name: str, tmp_path: Path) -> None:
    folder = write(name, tmp_path / name)
    results = []
    for scoring in ("shared", "repeated"):
        policy = load(folder, scoring=scoring)
        assert policy.shares_prefix == (scoring == "shared")
        batch = make_batch(policy)
        logps = flat(policy(batch, make_completions(batch)))
        drawn = policy.roll_out(batch, SamplingSettings(per_study=2, max_new_tokens=6), seeds=[1, 2, 3, 4])
        tokens = [ids.tolist() for group in drawn for ids in group.token_ids]
        results.append((logps, gradients(policy, logps), tokens))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-5, rtol=0)
    assert_near(results[0][1], results[1][1])
    assert results[0][2] == results[1][2]


def test_ids_and_pixels_are_those_of_the_stock_processor(folder: Path) -> None:
    from transformers import AutoProcessor

    # Most of them load only where torchvision, and num2words, are installed: make families.
    try:
        stock = AutoProcessor.from_pretrained(folder)
    except (ImportError, ValueError) as error:
        pytest.skip(f"the stock processor does not load here: {error!s:.60}")
    policy = load(folder)
    for sizes in [*IMAGES.values(), [(300, 200)]]:
        images = [noise_image(view, size) for view, size in enumerate(sizes)]
        messages = chat(INSTRUCTION, len(images))
        parts = iter(images)
        for part in messages[0]["content"]:
            if part["type"] == "image":
                part["image"] = next(parts)
        wanted = stock.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        ids, inputs = policy.processor(images, chat(INSTRUCTION, len(images)))
        assert ids.tolist() == wanted["input_ids"][0].tolist()
        assert inputs.keys() == wanted.keys() - {"input_ids", "attention_mask"}
        for name, value in inputs.items():
            # torchvision resizes in other steps: by a level of brightness here and there.
            allowed = 1e-3 if value.is_floating_point() else 0
            assert value.shape == wanted[name].shape, name
            assert (value.double() - wanted[name].double()).abs().mean() <= allowed, name


@pytest.mark.parametrize("name", ["internvl", "smolvlm", "idefics3"])
def test_without_tiles_an_image_takes_fewer_tokens(name: str, tmp_path: Path) -> None:
    folder = write(name, tmp_path / name)
    lengths = []
    for tiles in (True, False):
        policy = load(folder, image_tiles=tiles)
        batch = make_batch(policy)
        lengths.append([len(ids) for ids in batch.prompt_ids])
        completions = make_completions(batch)
        model = AutoModelForImageTextToText.from_pretrained(folder)
        torch.testing.assert_close(
            flat(policy(batch, completions)), plain_logps(model, policy, batch, completions), atol=1e-4, rtol=0
        )
    assert all(few < many for many, few in zip(*lengths, strict=True) if many != few)
    assert lengths[0] != lengths[1]
    policy.save(str(tmp_path / "saved"))
    saved = json.loads((tmp_path / "saved" / SAVED_SETTINGS).read_text())
    assert saved["image_tiles"] is False


@pytest.mark.slow
def test_what_is_chosen_trains_and_nothing_else(folder: Path) -> None:
    names = {}
    for trainable in ("all", "language", "projector", "projector_and_vision"):
        policy = load(folder, trainable=trainable)
        batch = make_batch(policy)
        encoded = policy.with_images_encoded(batch, keeps_graph=True)
        features = encoded.image_features
        assert features is not None
        assert all(one.requires_grad == (trainable != "language") for study in features for one in study)
        flat(policy(encoded, make_completions(batch))).sum().backward()
        names[trainable] = {name for name, weight in policy.model.named_parameters() if weight.requires_grad}
        moved = {name for name, weight in policy.model.named_parameters() if weight.grad is not None}
        assert moved <= names[trainable]
        assert len(moved) > 0.7 * len(names[trainable]), "some classes keep heads that they do not use"
    assert names["language"] | names["projector_and_vision"] == names["all"]
    assert not names["language"] & names["projector_and_vision"]
    assert {name for name in names["all"] if "embed_tokens" in name} <= names["language"]
    assert names["projector"] < names["projector_and_vision"]
    assert all(re.search("merger|projector|connector|newline", name) for name in names["projector"])
