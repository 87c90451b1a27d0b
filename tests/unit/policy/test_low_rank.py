"""LoRA while sampling: the same policy as PEFT's in fewer operations, and nothing of it is left afterwards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.unit.policy.conftest import flat
from torch.utils._python_dispatch import TorchDispatchMode

from orapo.batches import StudyBatch
from orapo.policy import model as policy_model
from orapo.policy.decoding import SharedPrefixDecoder
from orapo.policy.loading import load_policy
from orapo.policy.low_rank import short_updates
from orapo.policy.model import Policy
from orapo.policy.settings import LoraSettings, ModelSettings, SamplingSettings

SAMPLING = SamplingSettings(per_study=3, temperature=0.8, max_new_tokens=8, min_new_tokens=8)
NUM_ADAPTED = 7
VIEWS = frozenset(
    {"view", "unsafe_view", "t", "transpose", "slice", "select", "unsqueeze", "expand", "split", "detach", "alias"}
)


def filled(policy: Policy) -> Policy:
    """With an adapter that does something."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.requires_grad:
                weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return policy


def adapted(folder: Path, **settings: Any) -> Policy:
    lora = LoraSettings(rank=2, alpha=3)
    return filled(load_policy(ModelSettings(str(folder), "Write.", lora=lora, trainable="language", **settings)))


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Leaves the adapter to PEFT from then on."""

    @contextmanager
    def nothing(_: object) -> Iterator[None]:
        yield

    return lambda: monkeypatch.setattr(policy_model, "short_updates", nothing)


def test_it_samples_what_peft_samples_and_keeps_its_log_probabilities(
    random_model_folder: Path, batch: StudyBatch, without: Callable[[], None]
) -> None:
    policy = adapted(random_model_folder)
    ours = policy.roll_out(batch, SAMPLING, seeds=[1, 2, 3])
    scored = policy(batch, [group.token_ids for group in ours], 0.8)
    kept = torch.cat([logps for group in ours for logps in group.old_logps])
    torch.testing.assert_close(kept, flat(scored).detach(), atol=1e-4, rtol=0)
    without()
    for mine, theirs in zip(ours, policy.roll_out(batch, SAMPLING, seeds=[1, 2, 3]), strict=True):
        torch.testing.assert_close(torch.stack(mine.token_ids), torch.stack(theirs.token_ids))
        torch.testing.assert_close(torch.stack(mine.old_logps), torch.stack(theirs.old_logps), atol=1e-5, rtol=0)
    with policy.adapter.disable_adapter():
        base = flat(policy(batch, [group.token_ids for group in ours], 0.8))
    assert (base - kept).abs().max() > 0.1, "the adapter does nothing"


def test_the_adapter_is_as_it_was_afterwards(random_model_folder: Path, batch: StudyBatch) -> None:
    policy = adapted(random_model_folder)
    before, trained = flat(policy(batch, [[ids] for ids in batch.oracle_ids])), policy.trainable_names()
    policy.roll_out(batch, SAMPLING)
    with pytest.raises(ZeroDivisionError), torch.no_grad(), short_updates(policy.adapter):
        raise ZeroDivisionError
    assert policy.trainable_names() == trained
    after = flat(policy(batch, [[ids] for ids in batch.oracle_ids]))
    torch.testing.assert_close(after, before, atol=0, rtol=0)
    after.sum().backward()
    assert all(weight.grad is not None for weight in policy.parameters() if weight.requires_grad)


def test_in_bfloat16_an_adapted_layer_takes_two_operations_more(random_model_folder: Path, batch: StudyBatch) -> None:
    policy = adapted(random_model_folder, dtype="bfloat16").eval()
    num_layers = policy.model.config.get_text_config().num_hidden_layers
    with policy.adapter.disable_adapter():
        base = operations(policy, batch)
    with torch.no_grad(), short_updates(policy.adapter):
        ours = operations(policy, batch)
    assert ours == base + 2 * NUM_ADAPTED * num_layers
    assert operations(policy, batch) > ours, "PEFT takes no more"


class Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function.overloadpacket.__name__.lstrip("_") not in VIEWS
        return function(*args, **(kwargs or {}))


@torch.no_grad()
def operations(policy: Policy, batch: StudyBatch) -> int:
    """Of one decoded token, views apart."""
    decoder = SharedPrefixDecoder(policy.model, batch, 2, 4)
    tokens = torch.zeros(2 * len(batch), dtype=torch.int64)
    with Operations() as counted:
        decoder.step(tokens)
    return counted.count


@pytest.mark.parametrize(
    "more",
    [{"use_dora": True}, {"lora_bias": True}, {"modules_to_save": ["embed_tokens"]}, {"use_rslora": True}],
    ids=lambda more: next(iter(more)),
)
def test_what_is_more_than_plain_lora_samples_as_it_scores(
    more: dict[str, Any], random_model_folder: Path, batch: StudyBatch
) -> None:
    policy = load_policy(ModelSettings(str(random_model_folder), "Write."))
    config = LoraConfig(r=2, lora_alpha=3, target_modules=LoraSettings(2, 3).target_modules, **more)
    policy = filled(Policy(policy.model, policy.processor, policy.settings, get_peft_model(policy.model, config)))
    groups = policy.roll_out(batch, SAMPLING, seeds=[1, 2, 3])
    scored = policy(batch, [group.token_ids for group in groups], 0.8)
    kept = torch.cat([logps for group in groups for logps in group.old_logps])
    torch.testing.assert_close(kept, flat(scored).detach(), atol=1e-4, rtol=0)
