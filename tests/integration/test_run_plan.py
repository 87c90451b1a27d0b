"""What a run says of itself before it loads a weight, and what it refuses there."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from orapo.errors import SettingError
from orapo.experiment import devices
from orapo.experiment.command_line import run_command
from orapo.experiment.train_command import train_command
from orapo.policy.tiny import base_folder

ROOT = Path(__file__).parents[2]

SMALL = [
    "model=checkpoint",
    "data.source.num_train=60",
    "data.source.num_validate=4",
    "data.source.num_test=4",
    "data.subset.num_studies=10",
    "data.max_report_tokens=16",
    "rollout.per_study=2",
    "training.num_steps=4",
    "training.batch_size=4",
    "training.validate_every_steps=2",
    "training.num_workers=0",
]
EMBEDDED = (f"model.path={base_folder()}", "trainer.precision=32-true")


def shaped_folder(folder: Path, **text: Any) -> Path:
    """A model folder without weights, of another size than the embedded policy's."""
    folder.mkdir()
    for path in Path(base_folder()).iterdir():
        if path.suffix in (".json", ".jinja"):
            shutil.copy(path, folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= text
    config["vision_config"]["out_hidden_size"] = config["text_config"]["hidden_size"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def large(folder: Path, layers: int) -> Path:
    return shaped_folder(
        folder,
        hidden_size=2048,
        intermediate_size=11008,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=2,
        layer_types=["full_attention"] * layers,
    )


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> int | str | None:
    """The exit code; 0 for a run that finished."""
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "argv", ["train.py", *SMALL, *overrides, f"paths.logs={tmp_path}/logs"])
    try:
        run_command(train_command)
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.mark.slow
def test_a_run_says_what_it_takes_and_then_how_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, monkeypatch, *EMBEDDED) == 0
    (train_log,) = tmp_path.glob("logs/*/*/train.log")
    told = train_log.read_text()
    for line in (
        "device     CPU",
        "1.67 million weights, 1.67 million train",
        "precision  weights in float32, trainer.precision 32-true",
        "free (weights 7 MB, reference 7 MB, optimiser 13 MB",
        "4 steps of 4 studies x 2 reports (at most 512 tokens); 3 validations of 4 studies, 2 tests of 4",
        "judge      offline",
        f"files      {train_log.parent}",
    ):
        assert line in told
    assert told.index("this run:") < told.index("the first step took")
    assert {"training", "validation", "test"} <= set(
        told[told.index("the first step took") :].replace("(", " ").split()
    )


def test_a_large_model_on_a_cpu_must_be_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = large(tmp_path / "large", layers=8)
    monkeypatch.setattr(devices, "cuda_fault", lambda: "CUDA does not work: no driver")
    monkeypatch.setattr("orapo.experiment.run_plan.cuda_fault", devices.cuda_fault)
    assert run(tmp_path, monkeypatch, f"model.path={folder}") == 1
    error = capfd.readouterr().err
    assert f"model.path '{folder}' has 620," in error
    assert "no GPU can be used (CUDA does not work: no driver); trainer.accelerator=cpu trains it" in error
    # Meant, it gets as far as its weights, which this folder lacks.
    assert run(tmp_path, monkeypatch, f"model.path={folder}", "trainer.accelerator=cpu") == 1
    assert "can't be loaded" in capfd.readouterr().err


@pytest.mark.slow
def test_what_can_not_fit_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = large(tmp_path / "huge", layers=2_000)
    assert run(tmp_path, monkeypatch, f"model.path={folder}", "trainer.accelerator=cpu") == 1
    error = capfd.readouterr().err
    assert "for weights, reference and optimiser alone" in error
    assert "take a smaller model, model.lora, or more GPUs" in error


@pytest.mark.slow
def test_little_memory_is_warned_of_with_what_lowers_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = devices.Device("cpu", "CPU", 10_000_000, 64_000_000_000)
    monkeypatch.setattr("orapo.experiment.run.chosen_device", lambda *_: device)
    assert run(tmp_path, monkeypatch, *EMBEDDED, "training.num_steps=1") == 0
    (train_log,) = tmp_path.glob("logs/*/*/train.log")
    (line,) = [line for line in train_log.read_text().splitlines() if "memory may not" in line]
    assert "[WARNING]" in line
    assert "10 MB free" in line
    assert "lower it" in line


@pytest.mark.slow
def test_what_is_auto_follows_the_free_memory_and_changes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {}
    short = ["training.num_steps=2", "training.validate_every_steps=null", "model.trainable=language"]
    for name, free, told in (
        ("much", 64 * 10**9, "4 studies at a time, gradient checkpointing off; chosen by memory: model.gradient_ch"),
        ("little", 10**7, "1 study at a time, gradient checkpointing on; chosen by memory: model.gradient_ch"),
    ):
        device = devices.Device("cpu", "CPU", free, 64 * 10**9)
        monkeypatch.setattr("orapo.experiment.run.chosen_device", lambda *_, device=device: device)
        folder = tmp_path / name
        assert run(tmp_path, monkeypatch, *EMBEDDED, *short, f"hydra.run.dir={folder}") == 0
        assert told in (folder / "train.log").read_text()
        weights[name] = load_file(folder / "model" / "model.safetensors")
    for name, weight in weights["much"].items():
        torch.testing.assert_close(weights["little"][name], weight, atol=2e-5, rtol=0, msg=name)
    # Much memory now, as in a run that goes on beside fewer others.
    device = devices.Device("cpu", "CPU", 64 * 10**9, 64 * 10**9)
    monkeypatch.setattr("orapo.experiment.run.chosen_device", lambda *_: device)
    monkeypatch.setattr(sys, "argv", ["train.py", f"resume={tmp_path / 'little'}"])
    run_command(train_command)
    assert (tmp_path / "little" / "train.log").read_text().count("1 study at a time, gradient checkpointing on") == 2


def test_why_no_gpu_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    assert "is built without CUDA" in str(devices.cuda_fault())
    monkeypatch.setattr(devices, "_NVIDIA", Path(os.devnull))
    assert "install torch built for CUDA" in str(devices.cuda_fault())
    monkeypatch.setattr(torch.version, "cuda", "13.0")

    def fails() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old\nmore")

    monkeypatch.setattr(torch.cuda, "init", fails)
    assert devices.cuda_fault() == "CUDA does not work: The NVIDIA driver on your system is too old"
    with pytest.raises(SettingError, match="'gpu', and no GPU can be used: CUDA does not work: The NVIDIA"):
        devices.chosen_device("gpu")
    assert devices.chosen_device("auto").kind in ("cpu", "mps")
