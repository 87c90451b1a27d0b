"""``model.compile``: scoring passes compiled, values and gradients as before, sampling left as it is."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import make_study, noise_image
from torch import Tensor, nn
from torch._dynamo.utils import counters

from orapo.batches import StudyBatch
from orapo.data.collate import Collate
from orapo.errors import SettingError
from orapo.policy.loading import load_policy
from orapo.policy.model import Policy
from orapo.policy.reference import make_reference
from orapo.policy.settings import LoraSettings, ModelSettings, SamplingSettings

pytestmark = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler to make kernels for a CPU"
)
SAMPLING = SamplingSettings(per_study=2, max_new_tokens=6)


@pytest.fixture(autouse=True)
def _nothing_compiled_before() -> None:
    torch.compiler.reset()
    counters.clear()


@pytest.fixture
def batch(collate: Collate) -> StudyBatch:
    reports = ["Small left pleural effusion.", "No pneumothorax."]
    sizes = [(84, 84), (56, 84)]
    rows = [(make_study(str(i), text), (noise_image(i, sizes[i]),)) for i, text in enumerate(reports)]
    return collate(rows)


def load(folder: Path, compile: bool, **settings: Any) -> Policy:
    """Adapters that are not zero, so that what stands behind them has a gradient."""
    policy = load_policy(ModelSettings(str(folder), "Write.", compile=compile, **settings))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return policy


def values_and_gradients(policy: Policy, batch: StudyBatch) -> tuple[Tensor, dict[str, Tensor]]:
    first, second = batch.oracle_ids
    logps = torch.cat([torch.cat(study) for study in policy(batch, [[first, second[:3]], [second]])])
    weights = torch.randn(len(logps), generator=torch.Generator().manual_seed(2))
    (logps * weights).sum().backward()
    return logps.detach(), {n: p.grad for n, p in policy.named_parameters() if p.grad is not None}


def compiled_frames() -> int:
    return int(counters["frames"]["ok"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="all weights"),
        pytest.param({"gradient_checkpointing": True}, id="checkpointing"),
        pytest.param({"lora": LoraSettings(2, 4), "train_vision": False}, id="adapter"),
    ],
)
def test_values_and_gradients_are_those_of_the_uncompiled(
    settings: dict[str, Any], random_model_folder: Path, batch: StudyBatch
) -> None:
    plain = values_and_gradients(load(random_model_folder, compile=False, **settings), batch)
    assert compiled_frames() == 0
    compiled = values_and_gradients(load(random_model_folder, compile=True, **settings), batch)
    assert compiled_frames() > 0
    torch.testing.assert_close(compiled[0], plain[0], atol=1e-5, rtol=0)
    assert compiled[1].keys() == plain[1].keys()
    for name, gradient in compiled[1].items():
        torch.testing.assert_close(gradient, plain[1][name], atol=2e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("tower", ["language_model.layers", "visual.blocks"])
def test_functions_of_our_own_do_not_take_the_place_of_what_is_compiled(
    tower: str, random_model_folder: Path, batch: StudyBatch
) -> None:
    called: list[bool] = []
    for compile in (False, True):
        policy = load(random_model_folder, compile=compile)
        calls: list[nn.Module] = []
        # Instead of the compiled call: whether it is asked for is all that counts here.
        for layer in policy.model.model.get_submodule(tower):
            layer.mlp._compiled_call_impl = layer.mlp._compiled_call_impl and partial(ask, calls, layer.mlp)
        values_and_gradients(policy, batch)
        called.append(len(calls) == len(policy.model.model.get_submodule(tower)))
    assert called == [False, True]


def ask(calls: list[nn.Module], module: nn.Module, *inputs: Tensor) -> Tensor:
    calls.append(module)
    result: Tensor = module.forward(*inputs)
    return result


@pytest.mark.slow
def test_other_numbers_of_rows_take_the_same_kernels(random_model_folder: Path, batch: StudyBatch) -> None:
    policy = load(random_model_folder, compile=True)
    values_and_gradients(policy, batch)
    frames = compiled_frames()
    values_and_gradients(policy, batch.select([0, 0, 1]).select([0, 1]))
    values_and_gradients(policy, batch.select([1, 1]))
    assert compiled_frames() == frames


@pytest.mark.slow
def test_the_reference_is_compiled_and_keeps_weights_of_its_own(random_model_folder: Path, batch: StudyBatch) -> None:
    policy = load(random_model_folder, compile=True)
    reference = make_reference(policy)
    completions = [[batch.oracle_ids[0]], [batch.oracle_ids[1]]]
    before = reference.score(batch, completions, 1.0)
    assert compiled_frames() > 0
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1.1)
    torch.testing.assert_close(reference.score(batch, completions, 1.0), before, atol=0, rtol=0)
    plain = make_reference(load(random_model_folder, compile=False)).score(batch, completions, 1.0)
    torch.testing.assert_close(before, plain, atol=1e-5, rtol=0)


def test_sampling_is_not_compiled(random_model_folder: Path, batch: StudyBatch) -> None:
    drawn = []
    for compile in (False, True):
        policy = load(random_model_folder, compile=compile)
        drawn.append([group.texts for group in policy.roll_out(batch, SAMPLING, seeds=[0, 1])])
    assert drawn[0] == drawn[1]
    assert compiled_frames() == 0


def test_a_machine_without_a_compiler_is_told_at_once(
    random_model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (str(tmp_path / "no-compiler"),))
    with pytest.raises(SettingError, match=r"model\.compile is true; it must be false where"):
        load(random_model_folder, compile=True)
