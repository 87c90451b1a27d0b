"""The frozen reference: the base under an adapter, or a copy that does not follow the policy."""

from pathlib import Path

import torch
from tests.unit.policy.conftest import flat
from torch import Tensor

from orapo.batches import StudyBatch
from orapo.policy.loading import load_policy
from orapo.policy.model import Policy
from orapo.policy.reference import AdapterOffReference, FrozenCopyReference, make_reference
from orapo.policy.settings import LoraSettings, ModelSettings


def test_lora_reference_is_the_base(
    random_model_folder: Path, random_policy: Policy, batch: StudyBatch, completions: list[list[Tensor]]
) -> None:
    lora = LoraSettings(rank=2, alpha=4)
    adapted = load_policy(
        ModelSettings(path=str(random_model_folder), instruction="Write.", lora=lora, trainable="language")
    )
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora_" in name and "language_model" in name for name in trained)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if name in trained:
                parameter.add_(0.1 * torch.randn_like(parameter))
    reference = make_reference(adapted)
    assert isinstance(reference, AdapterOffReference)
    off = flat(reference.score(batch, completions, 1.0))
    copied = make_reference(random_policy)
    assert isinstance(copied, FrozenCopyReference)
    base = flat(copied.score(batch, completions, 1.0))
    torch.testing.assert_close(off, base, atol=1e-5, rtol=0)
    assert (flat(adapted(batch, completions)) - base).abs().max() > 1e-2
    assert adapted.model.training, "scoring the reference must restore the mode"


def test_frozen_copy_does_not_follow_the_policy(
    random_policy: Policy, batch: StudyBatch, completions: list[list[Tensor]]
) -> None:
    reference = make_reference(random_policy)
    before = flat(reference.score(batch, completions, 1.0))
    with torch.no_grad():
        for parameter in random_policy.parameters():
            parameter.mul_(1.5)
    torch.testing.assert_close(flat(reference.score(batch, completions, 1.0)), before, atol=0, rtol=0)


def test_a_frozen_copy_has_a_patch_embedding_of_its_own(random_policy: Policy, batch: StudyBatch) -> None:
    copied = FrozenCopyReference(random_policy).copy.model.model.visual.patch_embed
    before = copied(batch.joined("pixel_values"))
    with torch.no_grad():
        random_policy.model.model.visual.patch_embed.proj.weight.mul_(2)
    torch.testing.assert_close(copied(batch.joined("pixel_values")), before, atol=0, rtol=0)
