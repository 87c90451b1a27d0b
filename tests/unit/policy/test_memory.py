"""Counted memory: exact where weights are counted, near what a pass really holds where it is estimated."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from benchmarks.live_bytes import LiveBytes
from torch import Tensor

from orapo.batches import StudyBatch
from orapo.policy.loading import load_policy
from orapo.policy.memory import Load, ModelSize, count_memory, model_size
from orapo.policy.reference import FrozenCopyReference, make_reference
from orapo.policy.settings import LoraSettings, ModelSettings
from orapo.policy.tiny import base_folder
from orapo.training.update import without_autocast_cache

SIZE = ModelSize(
    num_weights=1_000,
    num_trained=1_000,
    num_in_products=900,
    has_adapter=False,
    bytes_each=4,
    num_layers=2,
    hidden=8,
    intermediate=16,
    key_width=4,
    vocabulary=10,
)
LOAD = Load(
    rows=6,
    studies=3,
    update_studies=1,
    completions=3,
    prompt_tokens=5,
    new_tokens=7,
    checkpointing=False,
    autocast=False,
    has_reference=True,
)
ADAPTER = LoraSettings(rank=4, alpha=8)


@pytest.mark.parametrize("lora", [None, ADAPTER])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_those_of_the_loaded_policy(lora: LoraSettings | None, dtype: str) -> None:
    settings = ModelSettings(
        base_folder(), "Write.", dtype=dtype, lora=lora, trainable="all" if lora is None else "language"
    )
    size, policy = model_size(settings), load_policy(settings)
    own = [weight for name, weight in policy.named_parameters() if "lora_" not in name]
    assert size.num_weights == sum(weight.numel() for weight in own)
    assert size.num_trained == sum(weight.numel() for weight in policy.parameters() if weight.requires_grad)
    assert count_memory(size, LOAD).weights == sum(w.numel() * w.element_size() for w in policy.parameters())


def test_what_is_frozen_is_not_counted_as_trained() -> None:
    settings = ModelSettings(base_folder(), "Write.", trainable="projector_and_vision")
    trained = [weight for weight in load_policy(settings).parameters() if weight.requires_grad]
    assert model_size(settings).num_trained == sum(weight.numel() for weight in trained)


def test_full_training_by_hand() -> None:
    memory = count_memory(SIZE, LOAD)
    assert (memory.weights, memory.reference, memory.optimiser) == (4_000, 4_000, 8_000)
    # 4 bytes x 2 layers x 4 wide x (3 prompts of 5 tokens, 6 rollouts of 7)
    assert memory.sampling == 4 * 2 * 4 * (3 * 5 + 6 * 7)
    assert memory.total == memory.kept + max(memory.update, memory.sampling)


def test_copies_under_autocast_and_of_shares() -> None:
    plain, mixed = count_memory(SIZE, LOAD), count_memory(SIZE, replace(LOAD, autocast=True))
    assert mixed.reference == 2 * 900 + 4 * 100
    assert mixed.sampling == plain.sampling + 2 * 1_000
    shared = count_memory(SIZE, replace(LOAD, shards=4))
    assert (shared.weights, shared.reference, shared.optimiser) == (1_000, 1_000, 2_000)
    assert shared.sampling == plain.sampling + 4_000  # whole while it samples
    # A share of the gradients; embedding and two layers are whole while one of these layers is at work.
    assert shared.update - plain.update == 1_000 - 4_000 + 4 * (10 * 8 + 2 * (1_000 - 10 * 8) // 2)


@pytest.mark.parametrize("lora", [None, ADAPTER])
def test_a_reference_takes_what_is_counted(lora: LoraSettings | None) -> None:
    trainable: Literal["all", "language"] = "all" if lora is None else "language"
    settings = ModelSettings(base_folder(), "Write.", lora=lora, trainable=trainable)
    size, reference = model_size(settings), make_reference(load_policy(settings), torch.bfloat16)
    kept = sum(w.nbytes for w in reference.copy.parameters()) if isinstance(reference, FrozenCopyReference) else 0
    assert count_memory(size, replace(LOAD, autocast=True)).reference == kept


def test_an_adapter_needs_no_reference_and_trains_in_float32() -> None:
    memory = count_memory(replace(SIZE, num_trained=10, has_adapter=True, bytes_each=2), LOAD)
    assert (memory.weights, memory.reference, memory.optimiser) == (2_000 + 40, 0, 80)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("lora", [None, ADAPTER])
@pytest.mark.parametrize("scoring", ["shared", "repeated"])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.slow
def test_an_update_holds_about_what_is_counted(
    random_model_folder: Path,
    batch: StudyBatch,
    autocast: bool,
    scoring: Literal["shared", "repeated"],
    checkpointing: bool,
    lora: LoraSettings | None,
) -> None:
    settings = ModelSettings(
        str(random_model_folder),
        "Write.",
        lora=lora,
        trainable="all" if lora is None else "language",
        gradient_checkpointing=checkpointing,
        scoring=scoring,
    )
    policy = load_policy(settings)
    one = policy.with_images_encoded(batch.select([0]))
    completions: Sequence[Tensor] = [torch.randint(8, 300, (96,)) for _ in range(9)]
    with LiveBytes() as live, torch.autocast("cpu", torch.bfloat16, enabled=autocast), without_autocast_cache():
        sum(logps.sum() for logps in policy(one, [completions])[0]).backward()  # type: ignore[union-attr]
    load = replace(
        LOAD,
        completions=9,
        prompt_tokens=len(one.prompt_ids[0]),
        new_tokens=96,
        checkpointing=checkpointing,
        autocast=autocast,
    )
    counted = count_memory(model_size(settings), load).update
    assert 0.8 < counted / live.most < 1.8, (counted, live.most)


def test_without_a_shared_prompt_it_is_kept_for_each_rollout_and_all_logits_are() -> None:
    repeated = replace(SIZE, shares_prefix=False, vocabulary=10_000_000, bytes_each=2)
    memory = count_memory(repeated, LOAD)
    assert memory.sampling == 2 * 2 * 4 * 6 * (5 + 7)
    # Three completions of seven tokens, in float32 twice and in bfloat16 once.
    assert memory.update - count_memory(replace(repeated, vocabulary=0), LOAD).update == 3 * 7 * 10_000_000 * (
        4 + 4 + 2
    )
    assert not model_size(ModelSettings(base_folder(), "Write.", scoring="repeated")).shares_prefix


def test_live_bytes_counts_what_is_made_and_not_what_was_there() -> None:
    there = torch.zeros(1000)
    with LiveBytes() as live:
        kept = there.view(10, 100) + 1
        assert live.now == 4000
        del kept
        torch.ones(10)
    assert (live.now, live.most) == (0, 4000)
