"""What a policy of Qwen2.5-VL-3B's shape costs on your device, and whether both ways to score agree there.

Needs no network and no weights: they are drawn at random in a temporary folder (8 GB of disk). Each row is printed when
it is there, and a part that fails says why and leaves the others alone. The table is Markdown.

Usage: python benchmarks/gpu.py
       python benchmarks/gpu.py --size small --device cpu
"""

import argparse
import importlib.util
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import psutil
import torch
from gpu_step import Step, make_batch
from gpu_table import PartFailed, Table
from random_policy import write_policy
from step_side import Side
from step_work import INSTRUCTION, LORA_ALPHA, LORA_RANK, Work
from transformers import logging

from orapo.policy.loading import load_policy
from orapo.policy.memory import Load, count_memory, model_size
from orapo.policy.model import Policy
from orapo.policy.scoring import score_repeated, score_shared
from orapo.policy.settings import LoraSettings, ModelSettings, SamplingSettings

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.tiny_models import ARCHITECTURES, write

WORK = {
    "3b": Work("", image=448, prompts=16, k=8, tokens=256, threads=1, lora=True, micro=1),
    "small": Work("", image=112, prompts=4, k=4, tokens=32, threads=1, lora=True, micro=1),
}
SIZES = ("prompts", "k", "tokens")
WRITTEN_AS = {"3b": "3b", "small": "tiny"}
LORA = LoraSettings(rank=LORA_RANK, alpha=LORA_ALPHA)
VERSIONS = ("torch", "transformers", "peft")


@dataclass
class Bench:
    """What the parts share: their rows, the step's sizes, and the seconds of the step with an adapter once it ended."""

    table: Table
    work: Work
    step_seconds: float | None = None

    def load(self, dtype: str, lora: bool) -> Policy:
        """The policy on its device; the settings are those of conf/model."""
        return load_policy(self.settings(dtype, lora)).to(self.work.device)

    def settings(self, dtype: str, lora: bool) -> ModelSettings:
        """With an adapter, or with all weights."""
        return ModelSettings(
            self.work.folder,
            INSTRUCTION,
            dtype=dtype,  # type: ignore[arg-type]
            lora=LORA if lora else None,
            trainable="language" if lora else "all",
            gradient_checkpointing=True,
        )


def exactness(bench: Bench, dtype: str) -> None:
    """The shared prefix against the model's own forward with the prompt repeated, in log-probabilities."""
    work = replace(bench.work, prompts=2)
    with bench.table.row(f"exactness in {dtype}: load"):
        policy = bench.load(dtype, lora=False).eval()
        batch = policy.with_images_encoded(make_batch(policy, work))
        drawn = torch.randint(8, 2000, (len(batch), 3, work.tokens), generator=torch.Generator().manual_seed(0))
        completions = [list(study) for study in drawn.to(work.device)]
    logps = {}
    for name, score in (("shared", score_shared), ("repeated", score_repeated)):
        with bench.table.row(f"exactness in {dtype}: {name}") as notes, torch.no_grad():
            scored = score(policy.model, batch, completions, 1.0)
            logps[name] = torch.stack([torch.stack(study) for study in scored])
            if name == "repeated":
                gap = (logps["repeated"] - logps["shared"]).abs()
                notes.append(f"log-probabilities differ by {gap.mean():.1e} on average, {gap.max():.1e} at most")
                notes.append(f"they spread by {logps['shared'].std():.2f}")


def lora_step(bench: Bench) -> None:
    """One step with an adapter, after a smaller one that warms the device."""
    table, work = bench.table, replace(bench.work, dtype="bfloat16", checkpointing=True)
    with table.row("LoRA step: load"):
        step = Step(bench.load("bfloat16", lora=True), work)
        batch = make_batch(step.policy, work)
    with table.row("LoRA step: warm-up, 2 studies, 8 tokens"):
        few = SamplingSettings(work.k, max_new_tokens=8, min_new_tokens=8)
        groups = step.policy.roll_out(batch.select([0, 1]), few)
        step.policy(batch.select([0]), [groups[0].token_ids], 1.0)[0][0].sum().backward()
        step.policy.zero_grad()
    with table.row("LoRA step: whole", tells_peak=False) as notes:
        start = time.perf_counter()
        step.run(table, "LoRA step", batch)
        bench.step_seconds = time.perf_counter() - start
        notes.append(f"{work.prompts * work.k * work.tokens / bench.step_seconds:,.0f} tokens a second")


def decoding(bench: Bench) -> None:
    """Tokens a second, for few rows and for many."""
    with bench.table.row("decoding: load"):
        policy = bench.load("bfloat16", lora=True)
        batch = policy.with_images_encoded(make_batch(policy, bench.work))
    tokens = min(64, bench.work.tokens)
    for studies in (1, len(batch)):
        with bench.table.row(f"decoding: {studies * bench.work.k} rows, {tokens} tokens each") as notes:
            start = time.perf_counter()
            settings = SamplingSettings(bench.work.k, max_new_tokens=tokens, min_new_tokens=tokens)
            policy.roll_out(batch.select(range(studies)), settings)
            rate = studies * bench.work.k * tokens / (time.perf_counter() - start)
            notes.append(f"{rate:,.0f} tokens a second")


def trl_step(bench: Bench) -> None:
    """TRL's step of the same work, in a process of its own; ours also scores the oracle reports."""
    if importlib.util.find_spec("trl") is None:
        bench.table.note("TRL's step", "TRL is not installed: pip install -e '.[bench]'")
        return
    work = replace(bench.work, dtype="bfloat16", checkpointing=True)
    with bench.table.row("TRL: load, a first and a second step", tells_peak=False) as notes:
        try:
            with Side("trl", "step_trl.py", work) as side:
                side.step()
                seconds = side.step()["seconds"]
        except SystemExit as error:
            raise RuntimeError(str(error).strip().split("\n")[-2]) from None
        notes.append(f"the second takes {seconds:.2f} s")
        if bench.step_seconds is not None:
            notes.append(f"TRL / ours {seconds / bench.step_seconds:.2f}")


def full_step(bench: Bench) -> None:
    """One step of all weights in bf16-mixed, where the counted memory is there."""
    work = replace(bench.work, dtype="float32", lora=False)
    settings = bench.settings("float32", lora=False)
    load = Load(
        rows=work.prompts * work.k,
        studies=work.prompts,
        update_studies=1,
        completions=work.k + 1,
        prompt_tokens=2 * (work.image // 28) ** 2,
        new_tokens=work.tokens,
        checkpointing=True,
        autocast=True,
        has_reference=True,
    )
    needed, free = count_memory(model_size(settings), load).total, free_bytes(work.device)
    told = f"{needed / 1e9:.1f} GB counted, {free / 1e9:.1f} GB free"
    if needed > free:
        bench.table.note("full step", f"does not fit: {told}")
        return
    with bench.table.row("full step: load") as notes:
        step = Step(bench.load("float32", lora=False), work)
        batch = make_batch(step.policy, work)
        notes.append(told)
    step.run(bench.table, "full step", batch)


def tiny_architectures(bench: Bench) -> None:
    """Sampling and scoring agree for every architecture that the tests know."""
    for name in ARCHITECTURES:
        with (
            suppress(PartFailed),
            bench.table.row(f"tiny {name}") as notes,
            tempfile.TemporaryDirectory() as folder,
        ):
            settings = ModelSettings(str(write(name, Path(folder))), INSTRUCTION)
            policy = load_policy(settings).to(bench.work.device)
            batch = make_batch(policy, replace(bench.work, image=112, prompts=2))
            groups = policy.roll_out(batch, SamplingSettings(2, max_new_tokens=8))
            scored = policy(batch, [group.token_ids for group in groups], 1.0)
            kept = torch.cat([logps for group in groups for logps in group.old_logps])
            gap = (kept - torch.cat([logps for study in scored for logps in study])).abs().max()
            sum(logps.sum() for study in scored for logps in study).backward()  # type: ignore[union-attr]
            notes.append(f"sampled and scored log-probabilities differ by {gap:.1e} at most")


def free_bytes(device: str) -> int:
    """Of the device's memory."""
    return torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available


def parse_arguments() -> argparse.Namespace:
    """The command line; sizes that are not given are those of --size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=WORK, default="3b", help="of the random policy")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts, in this order")
    for name in SIZES:
        parser.add_argument(f"--{name}", type=int, choices=range(2, 1025), metavar="N", help="of the step, 2 to 1024")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device; --device cpu --size small runs without one")
    return arguments


PARTS: dict[str, Callable[[Bench], Any]] = {
    "bfloat16": lambda bench: exactness(bench, "bfloat16"),
    "float32": lambda bench: exactness(bench, "float32"),
    "lora": lora_step,
    "decoding": decoding,
    "trl": trl_step,
    "full": full_step,
    "tiny": tiny_architectures,
}


def main() -> None:
    """Measures part by part; exit code 1 where one failed."""
    arguments = parse_arguments()
    device = arguments.device
    card = torch.cuda.get_device_name() if device == "cuda" else f"CPU ({platform.machine()})"
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    with tempfile.TemporaryDirectory() as folder:
        given = {name: getattr(arguments, name) for name in SIZES if getattr(arguments, name)}
        work = replace(WORK[arguments.size], folder=folder, device=device, **given)
        told = {name: getattr(work, name) for name in ("image", *SIZES)}
        print(f"{card}; Python {platform.python_version()}, {versions}; {arguments.size}: {json.dumps(told)}\n")
        bench = Bench(Table(device), work)
        with bench.table.row("draw and write the policy") as notes:
            count = write_policy(WRITTEN_AS[arguments.size], Path(folder), dtype=torch.bfloat16, device=device)
            notes.append(f"{count:,} weights")
        for name in arguments.only:
            with suppress(PartFailed):
                PARTS[name](bench)
            bench.table.free()
    sys.exit(1 if bench.table.failures else 0)


if __name__ == "__main__":
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    getLogger("orapo").setLevel(ERROR)  # that an architecture takes the general path
    main()
