"""A loaded policy computes what transformers' own model computes: values, and the gradient of every weight."""

from pathlib import Path

import pytest
import torch
from tests.conftest import make_study, noise_image
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from orapo.batches import StudyBatch
from orapo.data.collate import Collate
from orapo.policy.decoder_layers import FusedDecoderLayer
from orapo.policy.model import Policy
from orapo.policy.products import OneDnnLinear
from orapo.policy.scoring import score_repeated
from orapo.policy.vision import FusedVisionBlock, MatrixPatchEmbed, WindowsAtOnceAttention


@pytest.fixture
def batch(collate: Collate) -> StudyBatch:
    """Images that make windows of several lengths."""
    rows = [
        (make_study("a", "Small left pleural effusion."), (noise_image(0, (140, 196)),)),
        (make_study("b", "No pneumothorax.", views=2), (noise_image(1, (56, 56)), noise_image(2, (224, 112)))),
    ]
    return collate(rows)


def scored(
    model: Qwen2_5_VLForConditionalGeneration, batch: StudyBatch, padding_id: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-probabilities of three completions, and gradients of their weighted sum."""
    generator = torch.Generator().manual_seed(0)
    ids = [[torch.randint(8, 300, (n,), generator=generator) for n in study] for study in ([6, 3], [9])]
    logps = torch.cat([one for study in score_repeated(model, batch, ids, 1.0, padding_id) for one in study])
    model.zero_grad()
    (logps * torch.arange(len(logps))).sum().backward()
    return logps.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_values_and_gradients_are_those_of_transformers(
    random_model_folder: Path, random_policy: Policy, batch: StudyBatch
) -> None:
    stock = Qwen2_5_VLForConditionalGeneration.from_pretrained(random_model_folder, attn_implementation="sdpa")
    with torch.no_grad():
        # Norms of one would hide a norm that is left out.
        for weight in (p for name, p in random_policy.model.named_parameters() if "norm" in name):
            weight.mul_(torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) + 0.5)
    stock.load_state_dict(random_policy.model.state_dict())
    padding_id = int(random_policy.tokenizer.pad_token_id)
    values, gradients = scored(random_policy.model, batch, padding_id)
    stock_values, stock_gradients = scored(stock.train(), batch, padding_id)
    assert stock_values.std() > 0.5, "the policy is so flat that any two ways would agree"
    torch.testing.assert_close(values, stock_values, atol=1e-5, rtol=0)
    assert gradients.keys() == stock_gradients.keys()
    for name, gradient in stock_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, atol=2e-4, rtol=1e-3, msg=name)


def test_what_is_exchanged_is_there(random_policy: Policy, batch: StudyBatch) -> None:
    modules = list(random_policy.model.modules())
    assert any(isinstance(module, MatrixPatchEmbed) for module in modules)
    blocks = random_policy.model.model.visual.blocks
    assert all(isinstance(block, FusedVisionBlock) for block in blocks)
    assert all(isinstance(block.attn, WindowsAtOnceAttention) for block in blocks)
    layers = random_policy.model.model.language_model.layers
    assert all(isinstance(layer, FusedDecoderLayer) and layer.is_plain for layer in layers)
    assert not [module for module in modules if type(module) is torch.nn.Linear]
    lengths: list[list[int]] = []
    blocks[0].register_forward_pre_hook(
        lambda _, args, named: lengths.append(named["cu_seqlens"].diff().tolist()), with_kwargs=True
    )
    with torch.no_grad():
        random_policy.model.model.get_image_features(batch.pixel_values, batch.image_grid_thw)
    assert len(set(lengths[0])) > 2, "the images make windows of one length only"


@pytest.mark.parametrize("shape", [(5, 24), (2, 3, 24)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_linear_layer_gives_the_same_whatever_its_products(shape: tuple[int, ...], has_bias: bool) -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(24, 16, bias=has_bias)
    ours = torch.nn.Linear(24, 16, bias=has_bias)
    ours.load_state_dict(plain.state_dict())
    ours.__class__ = OneDnnLinear
    results = []
    for layer in (plain, ours):
        rows = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
        output = layer(rows)
        output.square().sum().backward()
        results.append([output, rows.grad, *(parameter.grad for parameter in layer.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_products_do_not_escape_autocast_and_low_precision() -> None:
    layer = torch.nn.Linear(24, 16)
    layer.__class__ = OneDnnLinear
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(3, 24)).dtype == torch.bfloat16
    assert layer.bfloat16()(torch.randn(3, 24, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_patches_embedded_by_matrix_are_those_of_the_convolution(random_policy: Policy, batch: StudyBatch) -> None:
    embedding = random_policy.model.model.visual.patch_embed
    stock = super(type(embedding), embedding).forward(batch.pixel_values)
    torch.testing.assert_close(embedding(batch.pixel_values), stock, atol=2e-4, rtol=1e-4)
