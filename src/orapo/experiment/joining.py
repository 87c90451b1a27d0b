"""How a process takes its place among those that train together: its device, and its share of the judge's limits."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators.cuda import CUDAAccelerator
from omegaconf import DictConfig, ListConfig, OmegaConf

from orapo.errors import SettingError
from orapo.experiment.processes import is_distributed
from orapo.experiment.targets import build
from orapo.training.distributed import Ranks, joined

PER_RUN = ("max_cost", "requests_per_minute", "tokens_per_minute")
"""Limits of a judge that are the run's, whatever the number of its processes."""


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


def judge_share(config: DictConfig, num_ranks: int) -> DictConfig:
    """The reward's config for one of several processes, each of which has a judge of its own: limits are divided.

    So are those of terms with limits of their own (``term_settings``).
    """
    shares: dict[str, Any] = {key: config[key] / num_ranks for key in PER_RUN if config.get(key) is not None}
    if "max_concurrent" in config:
        shares["max_concurrent"] = max(1, config.max_concurrent // num_ranks)
    shares |= {str(key): judge_share(part, num_ranks) for key, part in config.items() if isinstance(part, DictConfig)}
    if num_ranks == 1 or not shares:
        return config
    shared = OmegaConf.merge(config, shares)
    assert isinstance(shared, DictConfig)
    return shared
