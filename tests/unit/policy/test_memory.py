"""Counted memory: exact where weights are counted, near what a pass really holds where it is estimated."""

import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from orapo.batches import StudyBatch
from orapo.policy.loading import load_policy
from orapo.policy.memory import Load, ModelSize, count_memory, model_size
from orapo.policy.settings import LoraSettings, ModelSettings
from orapo.policy.tiny import base_folder

SIZE = ModelSize(
    num_weights=1_000,
    num_trained=1_000,
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
    assert (memory.weights, memory.reference, memory.optimiser, memory.copies) == (4_000, 4_000, 8_000, 0)
    # 4 bytes x 2 layers x 4 wide x (3 prompts of 5 tokens, 6 rollouts of 7)
    assert memory.sampling == 4 * 2 * 4 * (3 * 5 + 6 * 7)
    assert memory.total == memory.kept + max(memory.update, memory.sampling)


def test_autocast_copies_and_shards() -> None:
    assert count_memory(SIZE, replace(LOAD, autocast=True)).copies == 2_000
    shared = count_memory(SIZE, replace(LOAD, shards=4))
    assert (shared.weights, shared.reference, shared.optimiser) == (1_000, 1_000, 2_000)
    assert shared.copies == 4_000  # whole while it samples


def test_an_adapter_needs_no_reference_and_trains_in_float32() -> None:
    memory = count_memory(replace(SIZE, num_trained=10, has_adapter=True, bytes_each=2), LOAD)
    assert (memory.weights, memory.reference, memory.optimiser) == (2_000 + 40, 0, 80)


class _Peak(TorchDispatchMode):
    """The most bytes that were alive at once, of tensors made since it began."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in self._known:
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("lora", [None, ADAPTER])
def test_an_update_holds_about_what_is_counted(
    tmp_path: Path, batch: StudyBatch, checkpointing: bool, lora: LoraSettings | None
) -> None:
    settings = ModelSettings(
        base_folder(),
        "Write.",
        lora=lora,
        trainable="all" if lora is None else "language",
        gradient_checkpointing=checkpointing,
    )
    policy = load_policy(settings)
    one = policy.with_images_encoded(batch.select([0]))
    completions: Sequence[Tensor] = [torch.randint(8, 300, (96,)) for _ in range(9)]
    with _Peak() as peak:
        sum(logps.sum() for logps in policy(one, [completions])[0]).backward()  # type: ignore[union-attr]
    load = replace(
        LOAD,
        completions=9,
        prompt_tokens=len(one.prompt_ids[0]),
        new_tokens=96,
        checkpointing=checkpointing,
    )
    counted = count_memory(model_size(settings), load).update
    assert 0.8 < counted / peak.most < 1.8, (counted, peak.most)
