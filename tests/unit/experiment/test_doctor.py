"""orapo doctor: a line for each part, no key's value, exit code 1 where training is not possible."""

from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import metadata
from pathlib import Path

import pytest
import torch

from orapo.data.miniature.mimic_cxr import write_miniature_mimic_cxr
from orapo.experiment import doctor_command, machine
from orapo.experiment.doctor_access import EXTRAS
from orapo.experiment.doctor_command import main

Doctor = Callable[..., tuple[int, str]]
SECRET = "a-secret-that-nobody-may-see"


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Doctor:
    """Runs it in an empty folder of a user without keys and data; gives exit code and what was printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "OPENAI_API_KEY", "HF_TOKEN", "ORAPO_MIMIC_ROOT", "ORAPO_CHEXPERT_PLUS_ROOT"):
        monkeypatch.delenv(name, raising=False)

    def run(*overrides: str) -> tuple[int, str]:
        code = main(overrides)
        captured = capfd.readouterr()
        return code, captured.out + captured.err

    return run


def line(told: str, part: str) -> str:
    return next(row for row in told.splitlines() if row[11:].startswith(part))


def test_a_machine_that_can_train(doctor: Doctor, tmp_path: Path) -> None:
    code, told = doctor()
    assert code == 0
    assert told.splitlines()[-1] == "training is possible"
    assert torch.__version__ in line(told, "torch")
    assert str(tmp_path / "logs") in line(told, "disk")
    assert "logger=wandb writes runs offline" in line(told, "W&B")
    assert "ORAPO_MIMIC_ROOT is not set" in told
    assert not list(tmp_path.iterdir()), "the doctor leaves something behind"


def test_keys_are_named_and_never_shown(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "OPENAI_API_KEY", "MISTRAL_API_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("ANTHROPIC_API_KEY", " ")
    _, told = doctor()
    assert SECRET not in told
    assert "a key is here" in line(told, "W&B")
    assert line(told, "judge").endswith("keys are here: MISTRAL_API_KEY, OPENAI_API_KEY")


def test_a_wandb_login_counts_as_a_key(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai login user password {SECRET}\n")
    (tmp_path / ".netrc").chmod(0o600)
    _, told = doctor()
    assert "a key is here" in line(told, "W&B")
    assert SECRET not in told


def test_a_missing_or_old_package_stops_training(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_command, "requires", lambda _: ["no-such-package<2,>=1", "torch>=999", "numpy>=2"])
    code, told = doctor()
    assert code == 1
    assert "no-such-package is not installed: pip install 'no-such-package<2,>=1'" in told
    assert f"torch is {torch.__version__}: pip install 'torch>=999'" in told
    assert "numpy is" not in told
    assert told.splitlines()[-1] == "training is not possible: 2 problems"


def test_cuda_that_is_built_in_but_does_not_work_is_said(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        raise RuntimeError("Found no NVIDIA driver on your system.\nMore words.")

    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)
    code, told = doctor()
    assert code == 0, "the CPU trains"
    assert "built for CUDA 12.8" in line(told, "torch")
    assert "CUDA 12.8 is built in but does not work: Found no NVIDIA driver on your system; " in line(told, "GPU")
    assert "More words" not in told


def test_a_gpu_that_does_not_compute_stops_training(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Card")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**34, 2**35))

    def ones(*_: int, device: str) -> None:
        raise RuntimeError(f"CUDA error: no kernel image is available for {device}\nmore words")

    monkeypatch.setattr(torch, "ones", ones)
    code, told = doctor()
    assert code == 1
    assert "does not compute: CUDA error: no kernel image is available for cuda:0; " in line(told, "GPU 0")
    assert "trainer.accelerator=cpu" in line(told, "GPU 0")


def test_a_gpu_that_computes(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *shape, device: ones(*shape))
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**34, 2**35))
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: False)
    code, told = doctor()
    assert code == 0
    assert "Card 1, 16.0 of 32.0 GiB free, no bfloat16" in line(told, "GPU 1")


def test_runs_that_could_not_be_written_stop_training(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    code, told = doctor(f"paths.logs={tmp_path}/file/logs")
    assert code == 1
    assert "can't be written to" in line(told, "disk")
    monkeypatch.setattr(doctor_command, "LEAST_FREE_GIB", 1e9)
    assert doctor()[0] == 1


def test_memory_is_that_of_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(f"{2**30}\n")
    monkeypatch.setattr(machine, "LIMIT", limit)
    (found,) = doctor_command.check_cpu()
    assert " 1.0 GiB of memory" in found.told
    limit.write_text("max\n")
    assert next(doctor_command.check_cpu()).told != found.told


def test_a_data_set_is_opened_as_a_run_would(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mini"
    write_miniature_mimic_cxr(str(folder), 10, 0)
    monkeypatch.setenv("ORAPO_MIMIC_ROOT", str(folder))
    monkeypatch.setenv("ORAPO_CHEXPERT_PLUS_ROOT", str(tmp_path / "nowhere"))
    code, told = doctor()
    assert code == 0, "phantoms need no folder"
    assert "mimic_cxr: ORAPO_MIMIC_ROOT is set, and its tables are read" in told
    assert "chexpert_plus: ORAPO_CHEXPERT_PLUS_ROOT is set, but no run can read it: CheXpert Plus: " in told
    assert "is not a folder" in told


def test_a_misspelt_override_is_one_line(doctor: Doctor) -> None:
    code, told = doctor("paths.log=x")
    assert code == 1
    assert "paths.log" in told.splitlines()[-1]
    assert told.splitlines()[-1].startswith("error: ")


def test_every_extra_that_is_told_is_one() -> None:
    assert set(EXTRAS) <= set(metadata("orapo").get_all("Provides-Extra") or [])
