"""Whether ``model.compile`` pays on this machine: scoring and update with and without it, in turns.

Only the pass itself is measured: the reference's (no gradient) and the update's (with its backward). Sampling is never
compiled. The first pass of each kind, which compiles, is told apart.

Usage: python benchmarks/compiled.py --size mid --dtype bfloat16 --lora
       python benchmarks/compiled.py --folder Qwen/Qwen2.5-VL-3B-Instruct --dtype bfloat16 --lora --device cuda
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from random_policy import SIZES, write_policy
from rich.console import Console
from rich.table import Table
from scaling import read_batch
from step_work import INSTRUCTION, LORA_ALPHA, LORA_RANK, Work

from orapo.policy.loading import load_policy
from orapo.policy.model import Policy
from orapo.policy.settings import LoraSettings, ModelSettings

SIDES = {"plain": False, "compiled": True}
PASSES = ("reference", "update")


def one_pass(policy: Policy, work: Work, has_gradient: bool) -> Callable[[], None]:
    """A function that scores K completions of each study, all studies at once."""
    device = policy.device
    batch = read_batch(policy, work).to(device)
    generator = torch.Generator().manual_seed(0)
    vocabulary = len(policy.tokenizer)
    drawn = torch.randint(300, min(1000, vocabulary), (work.prompts, work.k, work.tokens), generator=generator)
    completions = [list(study) for study in drawn.to(device)]

    def run() -> None:
        with nullcontext() if has_gradient else torch.no_grad():
            logps = policy(batch, completions)
            if has_gradient:
                torch.stack([torch.stack(study) for study in logps]).mean().backward()
                policy.zero_grad(set_to_none=False)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run


def seconds(run: Callable[[], None]) -> float:
    """Of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(settings: ModelSettings, work: Work, device: str, rounds: int) -> dict[str, dict[str, float]]:
    """Per pass: seconds of both sides, those of the first time, and the median of the ratios in turns."""
    torch.set_num_threads(work.threads)
    policies = {side: load_policy(replace(settings, compile=compiles)).to(device) for side, compiles in SIDES.items()}
    results: dict[str, dict[str, float]] = {}
    for name in PASSES:
        runs = {side: one_pass(policy, work, name == "update") for side, policy in policies.items()}
        first = {side: seconds(run) for side, run in runs.items()}
        for run in runs.values():
            run()
        turns = [{side: seconds(run) for side, run in runs.items()} for _ in range(rounds)]
        results[name] = {
            **{side: statistics.median(turn[side] for turn in turns) for side in SIDES},
            **{f"{side}_first": first[side] for side in SIDES},
            "ratio": statistics.median(turn["plain"] / turn["compiled"] for turn in turns),
        }
    return results


def show(results: Mapping[str, Mapping[str, float]]) -> None:
    """A table on the terminal."""
    table = Table("pass", "plain, s", "compiled, s", "plain / compiled", "first compiled, s")
    for name, numbers in results.items():
        values = [f"{numbers[key]:.3f}" for key in ("plain", "compiled")]
        table.add_row(name, *values, f"{numbers['ratio']:.2f}", f"{numbers['compiled_first']:.1f}")
    Console().print(table)


def main() -> None:
    """Measures one size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="mid", help="of a random policy")
    parser.add_argument("--folder", help="a policy instead: a folder or a hub name")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--lora", action="store_true", help="train an adapter on the language model instead of all")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--image", type=int, default=224, help="pixels per side")
    parser.add_argument("--k", type=int, default=8, help="completions per study")
    parser.add_argument("--tokens", type=int, default=96, help="of every completion")
    parser.add_argument("--prompts", type=int, default=2, help="studies")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    arguments = parser.parse_args()
    lora = LoraSettings(LORA_RANK, LORA_ALPHA) if arguments.lora else None
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder
        if folder is None:
            write_policy(arguments.size, Path(temporary))
            folder = temporary
        work = Work(
            folder=folder,
            image=arguments.image,
            prompts=arguments.prompts,
            k=arguments.k,
            tokens=arguments.tokens,
            threads=arguments.threads,
            lora=arguments.lora,
            micro=arguments.prompts,
        )
        settings = ModelSettings(folder, INSTRUCTION, arguments.dtype, lora, train_vision=lora is None)
        results = measure(settings, work, arguments.device, arguments.rounds)
    show(results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
