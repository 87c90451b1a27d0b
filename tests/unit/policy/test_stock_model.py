"""A loaded policy computes what transformers' own model computes: values, and the gradient of every weight."""

from pathlib import Path

import pytest
import torch
from tests.conftest import make_study, noise_image
from torch import Tensor
from transformers import PreTrainedModel, Qwen2_5_VLForConditionalGeneration

from orapo.batches import StudyBatch
from orapo.data.collate import Collate
from orapo.policy.loading import load_policy
from orapo.policy.model import Policy
from orapo.policy.scoring import ScoringPath, score_repeated, score_shared
from orapo.policy.settings import LoraSettings, ModelSettings


@pytest.fixture
def batch(collate: Collate) -> StudyBatch:
    """Images that make windows of several lengths."""
    rows = [
        (make_study("a", "Small left pleural effusion."), (noise_image(0, (140, 196)),)),
        (make_study("b", "No pneumothorax.", views=2), (noise_image(1, (56, 56)), noise_image(2, (224, 112)))),
    ]
    return collate(rows)


def scored(score: ScoringPath, model: PreTrainedModel, batch: StudyBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-probabilities of three completions, and gradients of their weighted sum."""
    generator = torch.Generator().manual_seed(0)
    ids = [[torch.randint(8, 300, (n,), generator=generator) for n in study] for study in ([6, 3], [9])]
    logps = torch.cat([one for study in score(model, batch, ids, 1.0) for one in study])
    model.zero_grad()
    (logps * torch.arange(len(logps))).sum().backward()
    return logps.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("score", [score_shared, score_repeated])
def test_values_and_gradients_are_those_of_transformers(
    score: ScoringPath, random_model_folder: Path, random_policy: Policy, batch: StudyBatch
) -> None:
    stock = Qwen2_5_VLForConditionalGeneration.from_pretrained(random_model_folder, attn_implementation="sdpa")
    values, gradients = scored(score, random_policy.model, batch)
    stock_values, stock_gradients = scored(score_repeated, stock.train(), batch)
    assert stock_values.std() > 0.5, "the policy is so flat that any two ways would agree"
    torch.testing.assert_close(values, stock_values, atol=1e-5, rtol=0)
    assert gradients.keys() == stock_gradients.keys()
    for name, gradient in stock_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, atol=2e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2, alpha=4)])
def test_every_layer_is_the_models_own(lora: LoraSettings | None, random_model_folder: Path) -> None:
    settings = ModelSettings(
        str(random_model_folder), "Write.", lora=lora, trainable="all" if lora is None else "language"
    )
    model = load_policy(settings).model
    homes = {type(module).__module__.split(".")[0] for module in model.modules()}
    assert homes == {"torch", "transformers"} | ({"peft"} if lora else set())
    assert not [module for module in model.modules() if "forward" in vars(module)]
