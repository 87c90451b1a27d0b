"""The processes of a run on several devices: started here on one machine, by torchrun or SLURM on several.

Every process runs the same experiment; RANK, WORLD_SIZE and the like in its environment say which one it is. Process 0
is the one that the user started: it writes the files, and its exit code is the run's.
"""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from orapo.errors import RunInterrupted, RunPaused, SettingError
from orapo.experiment.config_tree import trusted
from orapo.stopping import STOP_SIGNALS, Stopped

GRACE_SECONDS = 30.0
"""How long the other processes may take to end by themselves once one has ended."""

STOPPED_GRACE_SECONDS = 5.0
"""The same after a signal: what was to be saved is, and who waits in an exchange hears none. Schedulers kill in 30."""

PER_RUN = ("max_cost", "requests_per_minute", "tokens_per_minute")
"""Limits of a judge that are the run's, whatever the number of its processes."""


def is_distributed(config: DictConfig) -> bool:
    """Whether the trainer's strategy is one of this package's for several processes."""
    return isinstance(config.trainer.get("strategy"), DictConfig)


def adopt_slurm() -> None:
    """Translates the variables of SLURM's ``srun`` to torchrun's; no effect where neither started this process.

    Raises:
        SettingError: the job names its processes in a way that can't be told from the environment.
    """
    environment = os.environ
    if "RANK" in environment or int(environment.get("SLURM_STEP_NUM_TASKS", "1")) < 2:
        return
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    try:
        slurm = SLURMEnvironment(auto_requeue=False)
    except RuntimeError as error:
        raise SettingError(f"SLURM: {' '.join(str(error).split())}") from error
    environment.update(
        MASTER_ADDR=slurm.main_address,
        MASTER_PORT=str(slurm.main_port),
        RANK=environment["SLURM_PROCID"],
        LOCAL_RANK=environment["SLURM_LOCALID"],
        GROUP_RANK=environment["SLURM_NODEID"],
        WORLD_SIZE=environment["SLURM_STEP_NUM_TASKS"],
    )


def own_rank() -> int:
    """The rank that torchrun or SLURM gave this process; 0 where neither started it."""
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return int(os.environ["SLURM_PROCID"])
    return 0


@cache
def scratch_folder() -> str:
    """Where Hydra may put what it makes for a process other than the first, whose folder is the run's."""
    folder = tempfile.mkdtemp(prefix="orapo_rank_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextmanager
def started_processes(config: DictConfig, folder: Path) -> Iterator[None]:
    """Within the block, the other processes of this machine run; no effect for a run in one process.

    Raises:
        SettingError: several machines are asked for, which only torchrun or SLURM can start.
    """
    adopt_slurm()
    if not is_distributed(config) or "RANK" in os.environ:
        yield
        return
    if (num_nodes := config.trainer.get("num_nodes", 1)) != 1:
        raise SettingError(
            f"trainer.num_nodes is {num_nodes}; start the processes of several machines with torchrun or srun "
            "(docs/many_gpus.md), python alone starts those of one"
        )
    size = num_processes(config.trainer.accelerator, config.trainer.devices)
    before = dict(os.environ)
    os.environ.update(_environment(size))
    others = [_start(config, folder, rank) for rank in range(1, size)]
    watcher = _Watcher(others)
    try:
        yield
    except (Stopped, RunInterrupted, RunPaused):
        # Ctrl-C in a terminal reaches all of them, a signal to this process does not.
        if STOP_SIGNALS.first is not None:
            watcher.pass_on(STOP_SIGNALS.first)
        raise
    finally:
        watcher.stop()
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


def num_processes(accelerator: str, devices: Any) -> int:
    """One process per device that ``trainer.devices`` names.

    Raises:
        SettingError: it names none.
    """
    if isinstance(devices, str) and devices.strip("-").isdigit():
        devices = int(devices)
    if devices in ("auto", -1):
        import torch

        # A CPU is one device, whatever its cores.
        return 1 if accelerator == "cpu" else max(1, torch.cuda.device_count())
    if isinstance(devices, str):
        devices = [part for part in devices.split(",") if part.strip()]
    size = devices if isinstance(devices, int) else len(devices)
    if isinstance(devices, bool) or size < 1:
        raise SettingError(f"trainer.devices is {devices!r}; it must be a number, a list of devices, or auto")
    return size


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


def _environment(size: int) -> dict[str, str]:
    """The environment variables of process 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    described = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": "0",
        "LOCAL_RANK": "0",
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(size),
    }
    if "OMP_NUM_THREADS" not in os.environ:
        # Each process would else take all cores.
        described["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // size))
    return described


def _start(config: DictConfig, folder: Path, rank: int) -> "subprocess.Popen[str]":
    environment = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        # What this process can import, the others can.
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    }
    command = [sys.executable, "-m", "orapo.experiment.rank_process"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, text=True)
    assert process.stdin is not None
    content = OmegaConf.to_yaml(config, resolve=True)
    message: Mapping[str, Any] = {"config": content, "folder": str(folder), "trusted": trusted()}
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()
    # The pipe stays open: its end tells the other process that this one is gone.
    return process


class _Watcher:
    """Ends this process when another one has died and left it waiting, and the others when this one ends."""

    def __init__(self, others: "list[subprocess.Popen[str]]") -> None:
        self._others = others
        self._grace_seconds = GRACE_SECONDS
        self._is_over = threading.Event()
        if others:
            threading.Thread(target=self._watch, daemon=True).start()

    def pass_on(self, number: signal.Signals) -> None:
        """Forwards the signal that stops this process to the others."""
        self._grace_seconds = STOPPED_GRACE_SECONDS
        for process in self._others:
            process.send_signal(number)

    def stop(self) -> None:
        """Waits for the others, and ends those that don't end by themselves."""
        self._is_over.set()
        deadline = time.monotonic() + self._grace_seconds
        for process in self._others:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._others:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _watch(self) -> None:
        while not self._is_over.wait(0.5):
            if any(process.poll() not in (None, 0) for process in self._others):
                break
        # The others tell each other of errors; who is still here after the grace waits for a dead one.
        if self._is_over.wait(GRACE_SECONDS):
            return
        ended = next(i for i, process in enumerate(self._others, 1) if process.poll() not in (None, 0))
        code = self._others[ended - 1].returncode
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        print(f"error: process {ended} of {len(self._others) + 1} ended {how}; the others end too", file=sys.stderr)
        for process in self._others:
            process.kill()
        os._exit(1)
