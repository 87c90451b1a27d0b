"""A frozen vision tower encodes a study once, and gives the features that it would give again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests.conftest import make_study, noise_image
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from orapo.batches import StudyBatch
from orapo.data.collate import Collate
from orapo.policy import frozen_features
from orapo.policy.families.general import Features
from orapo.policy.frozen_features import FrozenFeatures
from orapo.policy.model import Policy
from orapo.policy.prompts import encode_images
from orapo.policy.reference import make_reference


@pytest.fixture
def batch(collate: Collate) -> StudyBatch:
    """Two studies, of which the second has two views."""
    rows = [
        (make_study("a", "Normal."), (noise_image(0, (84, 84)),)),
        (make_study("b", "Normal.", views=2), (noise_image(1, (56, 56)), noise_image(2, (84, 112)))),
    ]
    return collate(rows)


@pytest.fixture
def encoded(random_policy: Policy, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many images each call of the tower got."""
    calls: list[int] = []

    def counted(model: object, batch: StudyBatch) -> tuple[Features, ...]:
        calls.append(len(batch.joined("image_grid_thw")))
        return encode_images(random_policy.model, batch)

    monkeypatch.setattr(frozen_features, "encode_images", counted)
    with torch.no_grad():
        yield calls


def test_a_study_is_encoded_once(random_policy: Policy, batch: StudyBatch, encoded: list[int]) -> None:
    features = FrozenFeatures()
    wanted = encode_images(random_policy.model, batch)
    for _ in range(2):
        found = features.of(random_policy.model, batch)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    again = features.of(random_policy.model, batch.select([1, 0]))
    torch.testing.assert_close(again, (found[1], found[0]), atol=0, rtol=0)
    assert encoded == [1, 2]
    features.forget()
    features.of(random_policy.model, batch)
    assert encoded == [1, 2, 1, 2]


def test_other_pixels_under_a_known_name_are_encoded(
    random_policy: Policy, batch: StudyBatch, encoded: list[int]
) -> None:
    features = FrozenFeatures()
    features.of(random_policy.model, batch)
    moved = [{**inputs, "pixel_values": inputs["pixel_values"] + 0.5} for inputs in batch.image_inputs]
    brighter = replace(batch, image_inputs=tuple(moved))
    found = features.of(random_policy.model, brighter)
    assert encoded == [1, 2, 1, 2]
    torch.testing.assert_close(found, encode_images(random_policy.model, brighter), atol=1e-5, rtol=1e-5)


def test_memory_ends(
    random_policy: Policy, batch: StudyBatch, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = FrozenFeatures()
    monkeypatch.setattr(frozen_features, "MAX_FEATURE_BYTES", encode_images(random_policy.model, batch)[0][0].nbytes)
    for _ in range(2):
        features.of(random_policy.model, batch)
    assert encoded == [1, 2, 2]


def test_the_reference_keeps_its_own_features(random_policy: Policy, batch: StudyBatch) -> None:
    reference = make_reference(random_policy)
    completions = [(ids,) for ids in batch.oracle_ids]
    before = reference.score(batch, completions, 1.0)
    for parameter in random_policy.parameters():
        torch.nn.init.normal_(parameter)
    # What the policy of this moment made of the images is nothing to the reference.
    moved = random_policy.with_images_encoded(batch, keeps_graph=True)
    for one, other in zip(before, reference.score(moved, completions, 1.0), strict=True):
        assert torch.equal(one[0], other[0])


def test_the_benchmarks_first_pass_meets_every_study_again(
    random_policy: Policy, batch: StudyBatch, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    import step_ours

    module = SimpleNamespace(policy=random_policy, reference=make_reference(random_policy))
    for _ in range(2):
        module.reference.score(batch, [(ids,) for ids in batch.oracle_ids], 1.0)
        step_ours.forget_images(module)
    assert encoded == [1, 2, 1, 2]


def test_processes_that_share_out_the_tower_keep_nothing(
    random_policy: Policy, batch: StudyBatch, encoded: list[int]
) -> None:
    random_policy.requires_grad_(False)
    assert random_policy.with_images_encoded(batch).image_features is not None
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        fully_shard(random_policy.model.model.visual, mesh=init_device_mesh("cpu", (1,)))
        for _ in range(2):
            assert random_policy.with_images_encoded(batch) is batch
            # After a pass the weights are whole for a while.
            encode_images(random_policy.model, batch)
    finally:
        torch.distributed.destroy_process_group()
    assert encoded == [1, 2]
