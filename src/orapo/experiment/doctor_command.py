"""``orapo doctor``: what works on this machine, and what to do about the rest, a line each."""

import os
import re
import shutil
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from platform import python_version
from typing import Any

from orapo.errors import OrapoError, first_line
from orapo.experiment.machine import free_memory_bytes, memory_bytes
from orapo.labeler.arguments import num_cores

OK, NOTE, PROBLEM = "ok", "note", "PROBLEM"
GIB = 2**30
LEAST_FREE_GIB = 1.0
"""What even a run of the embedded policy should find."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        mark: ``OK``; ``NOTE``: something is missing or slower that training can do without; ``PROBLEM``: no training.
        part: what was looked at.
        told: what was found, and what to do.
    """

    mark: str
    part: str
    told: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line for each finding; 0 when training is possible, else 1."""
    parser = ArgumentParser(
        prog="orapo doctor",
        description="Says what works on this machine, and what to do about the rest. 0: training is possible; else 1.",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="as for orapo train, for example paths.logs=FOLDER"
    )
    overrides = parser.parse_args(arguments).overrides
    print(f"orapo {version('orapo')}, Python {python_version()}")
    num_problems = 0
    try:
        for finding in _findings(overrides):
            print(f"  {finding.mark:<8} {finding.part:<10} {finding.told}", flush=True)
            num_problems += finding.mark == PROBLEM
    except OrapoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"training is not possible: {num_problems} problems" if num_problems else "training is possible")
    return 1 if num_problems else 0


def _findings(overrides: Sequence[str]) -> Iterator[Finding]:
    packages = list(check_packages())
    yield from packages
    if any(finding.mark == PROBLEM for finding in packages):
        # What is wrong with a package shows up anywhere else.
        return
    from orapo.experiment.command_line import compose_config
    from orapo.experiment.doctor_access import check_data, check_extras, check_keys

    logs = Path(compose_config(overrides).paths.logs)
    yield from check_torch()
    yield from check_cpu()
    yield from check_disk(logs)
    yield from check_hub()
    yield from check_keys()
    yield from check_data()
    yield from check_extras()


def check_packages() -> Iterator[Finding]:
    """Every package that orapo needs, and whether its version is one that orapo was tested with."""
    needed = [line for line in requires("orapo") or [] if "extra ==" not in line]
    wrong = [told for line in needed if (told := missing_or_other(line))]
    for told in wrong:
        yield Finding(PROBLEM, "packages", told)
    if not wrong:
        yield Finding(OK, "packages", f"all {len(needed)} that are needed are here")


def missing_or_other(requirement: str) -> str | None:
    """What is wrong with one of the package's requirements, and what to do; None when it is met."""
    name, wanted = re.split(r"[^\w.-]", requirement, maxsplit=1)[0], requirement.partition(";")[0].strip()
    try:
        found = version(name)
    except PackageNotFoundError:
        return f"{name} is not installed: pip install '{wanted}'"
    from packaging.requirements import Requirement

    if Requirement(requirement).specifier.contains(found, prereleases=True):
        return None
    return f"{name} is {found}: pip install '{wanted}'"


def check_torch() -> Iterator[Finding]:
    """What torch was built for, and whether each GPU computes."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding(
            PROBLEM, "torch", f"it can't be imported: {first_line(error)}; install it again, https://pytorch.org"
        )
        return
    built_for = _platform(torch)
    yield Finding(OK, "torch", f"{torch.__version__}, built for {built_for or 'the CPU only'}")
    with warnings.catch_warnings(action="ignore"):  # the reason is told in a line of ours
        has_gpu = torch.cuda.is_available()
    if has_gpu:
        yield from (_gpu(torch, index, str(built_for)) for index in range(torch.cuda.device_count()))
    else:
        yield Finding(NOTE, "GPU", _no_gpu(torch, built_for))


def _no_gpu(torch: Any, built_for: str | None) -> str:
    if built_for is not None:
        return (
            f"{built_for} is built in but does not work: {_why_no_gpu(torch)}; training runs on the CPU until it does"
        )
    if shutil.which("nvidia-smi"):
        return "there is an NVIDIA driver, but this torch can't use it: install a build for CUDA, https://pytorch.org"
    if torch.backends.mps.is_available():
        return "Apple's, which nobody has trained on yet: trainer.accelerator=cpu"
    return "none that this torch could use: training runs on the CPU"


def _platform(torch: Any) -> str | None:
    if torch.version.cuda is not None:
        return f"CUDA {torch.version.cuda}"
    return f"ROCm {torch.version.hip}" if torch.version.hip is not None else None


def _why_no_gpu(torch: Any) -> str:
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return first_line(error)
    return "no GPU is visible (nvidia-smi, CUDA_VISIBLE_DEVICES)"


def _gpu(torch: Any, index: int, built_for: str) -> Finding:
    part = f"GPU {index}"
    try:
        name = torch.cuda.get_device_name(index)
        free, total = torch.cuda.mem_get_info(index)
        values = torch.ones(64, 64, device=f"cuda:{index}")
        (values @ values).sum().item()
        with torch.cuda.device(index):
            has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    except (RuntimeError, AssertionError) as error:
        told = (
            f"{built_for} sees it, but it does not compute: {first_line(error)}; until it does: trainer.accelerator=cpu"
        )
        return Finding(PROBLEM, part, told)
    bfloat16 = "bfloat16" if has_bfloat16 else "no bfloat16: model.dtype=float32 trainer.precision=32-true"
    return Finding(OK, part, f"{name}, {free / GIB:.1f} of {total / GIB:.1f} GiB free, {bfloat16}")


def check_cpu() -> Iterator[Finding]:
    """Cores that this process may use, and memory within its container's limit."""
    told = f"{num_cores()} cores, {memory_bytes() / GIB:.1f} GiB of memory"
    if (free := free_memory_bytes()) is not None:
        told += f", {free / GIB:.1f} of it free"
    yield Finding(OK, "CPU", told)


def check_disk(logs: Path) -> Iterator[Finding]:
    """Whether runs can be written to ``logs``, which need not exist yet."""
    place = logs.resolve()
    exists = next(folder for folder in (place, *place.parents) if folder.exists())
    if not exists.is_dir() or not os.access(exists, os.W_OK | os.X_OK):
        yield Finding(PROBLEM, "disk", f"{exists} can't be written to, and runs go to {place}: set paths.logs=FOLDER")
        return
    free = shutil.disk_usage(exists).free / GIB
    if free < LEAST_FREE_GIB:
        told = (
            f"{free:.2f} GiB free for {place}, {LEAST_FREE_GIB:.0f} is the least: make room, or set paths.logs=FOLDER"
        )
        yield Finding(PROBLEM, "disk", told)
    else:
        yield Finding(OK, "disk", f"{free:.1f} GiB free for {place}")


def check_hub() -> Iterator[Finding]:
    """Where downloaded models lie, and whether more may be fetched."""
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE

    models = len(list(Path(HF_HUB_CACHE).glob("models--*")))
    how = (
        "offline: what is not there is not fetched (HF_HUB_OFFLINE)"
        if HF_HUB_OFFLINE
        else "others are fetched when asked for"
    )
    yield Finding(OK, "hub cache", f"{models} models in {HF_HUB_CACHE}; {how}")
