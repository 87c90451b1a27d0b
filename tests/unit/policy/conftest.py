"""What tests of values and gradients share: studies of every kind, and completions of them."""

import pytest
import torch
from tests.conftest import make_study, noise_image
from torch import Tensor

from orapo.batches import StudyBatch
from orapo.data.collate import Collate


@pytest.fixture
def batch(collate: Collate) -> StudyBatch:
    """Three studies with prompts of three lengths: images of two sizes, and one study with two views."""
    rows = [
        (make_study("a", "Small left pleural effusion."), (noise_image(0, (112, 84)),)),
        (make_study("b", "No pneumothorax.", views=2), (noise_image(1, (56, 56)), noise_image(2, (84, 112)))),
        (make_study("c", "Write the report of this chest radiograph."), (noise_image(3, (56, 84)),)),
    ]
    return collate(rows)


@pytest.fixture
def completions(batch: StudyBatch) -> list[list[Tensor]]:
    """Completions of unequal number and length, a single token among them."""
    generator = torch.Generator().manual_seed(1)
    lengths = [[5, 1, 9], [3, 12], [7, 2, 4, 6]]
    drawn = [[torch.randint(8, 300, (n,), generator=generator) for n in study] for study in lengths]
    return [[*study, oracle] for study, oracle in zip(drawn, batch.oracle_ids, strict=True)]


def flat(logps: tuple[tuple[Tensor, ...], ...]) -> Tensor:
    return torch.cat([completion for study in logps for completion in study])
