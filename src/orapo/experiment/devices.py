"""The device that a run, or a process of those that train together, trains on; why a GPU can't be used."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators.cuda import CUDAAccelerator
from omegaconf import DictConfig, ListConfig, OmegaConf

from orapo.errors import SettingError, first_line
from orapo.experiment.machine import free_memory_bytes, memory_bytes
from orapo.experiment.processes import is_distributed
from orapo.experiment.targets import build
from orapo.training.distributed import Ranks, joined

_NVIDIA = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Device:
    """Where the weights go: a "cpu", "cuda" or "mps", with a name for a person and what is free of its memory now."""

    kind: str
    name: str
    free_bytes: int
    total_bytes: int


def chosen_device(accelerator: str, index: int = 0) -> Device:
    """The device that ``trainer.accelerator`` stands for on this machine.

    Raises:
        SettingError: a GPU is asked for, and none works.
    """
    fault = cuda_fault()
    if accelerator in ("gpu", "cuda", "auto") and fault is None:
        return Device("cuda", torch.cuda.get_device_name(index), *torch.cuda.mem_get_info(index))
    total = memory_bytes()
    free = free_memory_bytes() or total
    if accelerator in ("gpu", "auto", "mps") and torch.backends.mps.is_available():
        return Device("mps", "Apple GPU", free, total)
    if accelerator in ("gpu", "cuda"):
        raise SettingError(f"trainer.accelerator is {accelerator!r}, and no GPU can be used: {fault}")
    threads = torch.get_num_threads()
    return Device("cpu", f"CPU with {threads} thread{'s' if threads > 1 else ''}", free, total)


def cuda_fault() -> str | None:
    """Why no GPU can be used through CUDA or ROCm; None where one can."""
    if torch.version.cuda is None and torch.version.hip is None:
        driver = "; this machine has an NVIDIA driver: install torch built for CUDA" if _NVIDIA.exists() else ""
        return f"torch {torch.__version__} is built without CUDA{driver}"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return f"CUDA does not work: {first_line(error)}"
    return None if CUDAAccelerator.is_available() else "torch finds no GPU (CUDA_VISIBLE_DEVICES may hide it)"


@contextmanager
def join_ranks(config: DictConfig) -> Iterator[Ranks]:
    """Meets the other processes of the run, if its trainer is for several.

    Raises:
        SettingError: nobody has started them.
    """
    if not is_distributed(config):
        yield Ranks()
        return
    if "RANK" not in os.environ:
        raise SettingError("trainer.strategy is for several processes; start them by orapo train, torchrun or srun")
    strategy = build(config.trainer.strategy, "trainer.strategy")
    with joined(own_device(config.trainer.accelerator, config.trainer.devices), strategy.timeout_hours) as ranks:
        yield ranks


def own_device(accelerator: str, devices: Any) -> torch.device:
    """The device of this process among those of its machine.

    Raises:
        SettingError: there are fewer devices than processes, or they are neither GPUs nor the CPU.
    """
    local_rank = int(os.environ["LOCAL_RANK"])
    if accelerator == "cpu" or (accelerator == "auto" and not CUDAAccelerator.is_available()):
        return torch.device("cpu")
    if accelerator not in ("auto", "gpu", "cuda"):
        raise SettingError(f"trainer.accelerator is {accelerator!r}; several processes need cpu, gpu or auto")
    given: Any = OmegaConf.to_object(devices) if isinstance(devices, ListConfig) else devices
    try:
        found = CUDAAccelerator.parse_devices(CUDAAccelerator.auto_device_count() if given == "auto" else given)
    except MisconfigurationException as error:
        raise SettingError(f"trainer.devices is {given!r}: {' '.join(str(error).split())}") from error
    if not found or local_rank >= len(found):
        raise SettingError(f"trainer.devices is {given!r}, but process {local_rank} of this machine needs one of them")
    return torch.device("cuda", found[local_rank])
