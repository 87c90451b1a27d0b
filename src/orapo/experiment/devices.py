"""The device that a run trains on, what is free on it, and why a GPU of this machine can't be used."""

from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch.accelerators.cuda import CUDAAccelerator

from orapo.errors import SettingError, first_line
from orapo.experiment.machine import free_memory_bytes, memory_bytes

_NVIDIA = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Device:
    """Where the weights go.

    Attributes:
        kind: "cpu", "cuda" or "mps".
        name: for a person.
        free_bytes: of its memory, now.
        total_bytes: of its memory.
    """

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
