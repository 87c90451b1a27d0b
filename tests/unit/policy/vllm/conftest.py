"""A random policy with an adapter, a server that has loaded the same folder by itself, and a batch."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tests.conftest import make_study, noise_image
from tests.vllm_server import StandInServer

from orapo.batches import StudyBatch
from orapo.data.collate import Collate
from orapo.policy.loading import load_policy
from orapo.policy.model import Policy
from orapo.policy.settings import LoraSettings, ModelSettings
from orapo.policy.vllm.client import ServerClient
from orapo.policy.vllm.rollouts import VllmRollouts
from orapo.policy.vllm.settings import ServerSettings

NAME = "served-model"


@pytest.fixture
def model(random_model_folder: Path) -> ModelSettings:
    lora = LoraSettings(rank=4, alpha=8)
    return ModelSettings(str(random_model_folder), "Write the report.", lora=lora, trainable="language")


@pytest.fixture
def policy(model: ModelSettings) -> Policy:
    torch.manual_seed(1)
    return load_policy(model)


@pytest.fixture
def server(model: ModelSettings) -> Iterator[StandInServer]:
    with StandInServer(model, NAME) as running:
        yield running


@pytest.fixture
def batch(policy: Policy) -> StudyBatch:
    """Three studies; the second has two views, no picture has sides that are whole patches."""
    collate = Collate(policy.processor, policy.prompt, 24)
    sizes = (((90, 70),), ((300, 200), (64, 150)), ((41, 57),))
    rows = []
    for number, views in enumerate(sizes):
        pictures = tuple(noise_image(10 * number + view, size) for view, size in enumerate(views))
        rows.append((make_study(f"s{number}", "No pneumothorax.", len(views)), pictures))
    return collate(rows)


Source = Callable[..., VllmRollouts]


@pytest.fixture
def source(policy: Policy, server: StandInServer, tmp_path: Path) -> Source:
    """Rollouts by ``server``, which waits for nothing; settings by keyword."""

    def make(**settings: object) -> VllmRollouts:
        changed = {"api_base": server.api_base, "model": NAME, "pause_limit_seconds": 0.3, **settings}
        client = ServerClient(ServerSettings(**changed), first_delay_seconds=0.01, max_delay_seconds=0.02)  # type: ignore[arg-type]
        return VllmRollouts(policy, client, NAME, tmp_path / "adapters", studies_per_pass=2)

    return make


def move(policy: Policy, seed: int) -> None:
    """A change of the adapter as large as a long training's."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.requires_grad:
                weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
