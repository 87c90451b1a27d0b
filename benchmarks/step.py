"""A whole training step beside TRL's GRPOTrainer: rollouts, rewards, reference, forward, backward, optimiser.

Both sides train the same random policy on the same images and prompts with the same reward, K and number of tokens,
each in a process of its own. They take turns; a turn is two steps, of which the second counts: while a side waits,
caches and memory go to the others. The first turn has one step more, since a new process must first ask the system for
all of its memory. A ratio is the median over the rounds of TRL's seconds / ours. On a machine with
other work trust ratio_cpu: CPU seconds of one thread depend far less on the neighbours than wall seconds do.

TRL does no oracle reports, so "ours" is GRPO alone; "ours_with_oracle" adds the oracle report and the DPO pairs of the
whole OraPO objective. Both meet their studies for the first time; "ours_later_pass" is GRPO in a later pass over the
data, when what the frozen reference's vision tower (with LoRA, the policy's) made of the images is still there.

Usage: python benchmarks/step.py --size tiny --image 224 --k 8 --json FILE
       python benchmarks/step.py --size tiny --table --json FILE      (224 and 448 pixels, K of 4, 8 and 16)
"""

import argparse
import importlib.util
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from random_policy import LARGEST, MERGE, PATCH, SIZES, SMALLEST, image_tokens, write_policy
from rich.console import Console
from step_side import Side
from step_tables import grid_table, phase_table, title
from step_work import Done, Work, check_work

DEFAULT_PROMPTS = {"tiny": 4, "mid": 2}
UNCOUNTED = 1
"""Steps at the beginning of a turn, and one more in the first."""
GRID_IMAGES, GRID_K = (224, 448), (4, 8, 16)
VERSIONS = ("torch", "transformers", "trl", "accelerate", "peft", "lightning")


def measure(work: Work, steps: int, trl_micro: int) -> dict[str, Any]:
    """Lets all sides take turns.

    Args:
        work: one step of ours.
        steps: measured of each side, each after some that are not.
        trl_micro: studies that TRL scores at a time.

    Raises:
        SystemExit: a side broke, or the sides did not do the same work.
    """
    with (
        Side("trl", "step_trl.py", replace(work, micro=trl_micro)) as trl,
        Side("ours", "step_ours.py", work, "grpo", "first") as ours,
        Side("ours_with_oracle", "step_ours.py", work, "orapo", "first") as with_oracle,
        Side("ours_later_pass", "step_ours.py", work, "grpo", "later") as later_pass,
    ):
        sides = (trl, ours, with_oracle, later_pass)
        # Nothing loads beside a measured step.
        for side in sides:
            side.wait()
        rounds, loaded = [], {}
        for index in range(steps):
            # Forwards and backwards in turn, so that no side always follows the same other one.
            order = sides if index % 2 else sides[::-1]
            taken = {}
            for side in order:
                uncounted = [side.step() for _ in range(UNCOUNTED if rounds else UNCOUNTED + 1)]
                loaded.setdefault(side.name, uncounted[0]["memory_before_bytes"])
                taken[side.name] = side.step()
            prompt = Done(**taken["trl"]["work"])
            for name, step in taken.items():
                check_work(work, name, Done(**step["work"]), prompt)
            rounds.append(taken)
    measured = {side.name: summary([taken[side.name] for taken in rounds], loaded[side.name], work) for side in sides}
    return measured | {
        "ratio": ratio(rounds, "ours", "seconds"),
        "ratio_cpu": ratio(rounds, "ours", "cpu_seconds"),
        "ratio_with_oracle": ratio(rounds, "ours_with_oracle", "seconds"),
        "ratio_cpu_with_oracle": ratio(rounds, "ours_with_oracle", "cpu_seconds"),
        "ratio_later_pass": ratio(rounds, "ours_later_pass", "seconds"),
        "ratio_cpu_later_pass": ratio(rounds, "ours_later_pass", "cpu_seconds"),
        "ratio_is": "median over rounds of TRL's wall seconds / ours; ratio_cpu: of CPU seconds",
        "work": rounds[-1]["trl"]["work"],
    }


def ratio(rounds: list[dict[str, Any]], side: str, key: str) -> float:
    """Median over rounds of TRL's seconds / the side's."""
    return round(median(taken["trl"][key] / taken[side][key] for taken in rounds), 3)


def summary(steps: list[dict[str, Any]], loaded_bytes: int, work: Work) -> dict[str, Any]:
    """Medians over the measured steps of one side, whose process had so many bytes before its first."""
    seconds = median(step["seconds"] for step in steps)
    peak = max(step["peak_memory_bytes"] for step in steps)
    return {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(median(step["cpu_seconds"] for step in steps), 3),
        "phases": {name: round(median(step["phases"][name] for step in steps), 3) for name in steps[0]["phases"]},
        "tokens_per_second": round(work.prompts * work.k * work.tokens / seconds, 1),
        "peak_memory_bytes": peak,
        "memory_over_loaded_bytes": peak - loaded_bytes,
    }


def run(arguments: argparse.Namespace, folder: Path, image: int, k: int) -> dict[str, Any]:
    """One combination of image size and K, as a row of the JSON."""
    work = Work(
        folder=str(folder),
        image=image,
        prompts=arguments.prompts,
        k=k,
        tokens=arguments.tokens,
        threads=arguments.threads,
        lora=arguments.lora,
        micro=arguments.micro,
    )
    described: Mapping[str, Any] = {
        "size": arguments.size,
        "image": image,
        "image_tokens": image_tokens(image),
        "k": k,
        "tokens": arguments.tokens,
        "prompts": arguments.prompts,
        "threads": arguments.threads,
        "steps": arguments.steps,
        "lora": arguments.lora,
        "dtype": "float32",
        "micro": {"trl": arguments.trl_micro, "ours": arguments.micro},
    }
    return {**described, **measure(work, arguments.steps, arguments.trl_micro)}


def parse_arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--size", choices=DEFAULT_PROMPTS, default="tiny", help="of the random policy: 6 or 76 million parameters"
    )
    parser.add_argument("--image", type=int, default=224, help="pixels per side; 224 is 64 image tokens, 448 is 256")
    parser.add_argument("--k", type=int, default=8, help="rollouts per study, at least 2")
    parser.add_argument("--tokens", type=int, default=96, help="of every completion, at least 2")
    parser.add_argument("--prompts", type=int, help="studies per step; 4 for tiny, 2 for mid")
    parser.add_argument("--steps", type=int, default=3, help="measured of each side, each after some that are not")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lora", action="store_true", help="train an adapter on the language model instead of all")
    parser.add_argument("--micro", type=int, help="studies that ours scores at a time (default: all)")
    parser.add_argument("--trl-micro", type=int, default=1, help="studies that TRL scores at a time; 1 is its fastest")
    parser.add_argument("--table", action="store_true", help="all of 224 and 448 pixels with K of 4, 8 and 16")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    arguments = parser.parse_args()
    arguments.prompts = DEFAULT_PROMPTS[arguments.size] if arguments.prompts is None else arguments.prompts
    arguments.micro = arguments.prompts if arguments.micro is None else arguments.micro
    for name, least in (("k", 2), ("tokens", 2), ("prompts", 1), ("steps", 1), ("threads", 1), ("micro", 1)):
        if getattr(arguments, name) < least:
            parser.error(f"--{name} is {getattr(arguments, name)}; it must be at least {least}")
    cell = PATCH * MERGE
    if arguments.image % cell or not SMALLEST <= arguments.image <= LARGEST:
        parser.error(f"--image is {arguments.image}; it must be a multiple of {cell} from {SMALLEST} to {LARGEST}")
    if arguments.trl_micro < 1 or arguments.prompts % arguments.trl_micro:
        parser.error(f"--trl-micro is {arguments.trl_micro}; it must divide --prompts, which is {arguments.prompts}")
    return arguments


def main() -> None:
    """Measures, prints tables, and writes the numbers."""
    arguments = parse_arguments()
    if importlib.util.find_spec("trl") is None:
        raise SystemExit("TRL, which this compares with, is not installed: pip install -e '.[bench]'")
    console = Console()
    versions = {name: version(name) for name in VERSIONS}
    with tempfile.TemporaryDirectory() as folder:
        parameters = write_policy(arguments.size, Path(folder))
        shared = {"parameters": parameters, "vocabulary": SIZES[arguments.size].vocabulary, "versions": versions}
        console.print(f"{arguments.size}: {parameters / 1e6:.1f} M parameters, random weights, fp32")
        if not arguments.table:
            row = run(arguments, Path(folder), arguments.image, arguments.k)
            console.print(title(row), phase_table(row), sep="\n", highlight=False)
            _write(arguments.json, row | shared)
            return
        grid: list[dict[str, Any]] = []
        for image in GRID_IMAGES:
            for k in GRID_K:
                grid.append(run(arguments, Path(folder), image, k))
                # After each row: the whole grid takes long.
                _write(arguments.json, {"size": arguments.size, "grid": grid, **shared})
        console.print(title(grid[0], of_grid=True), grid_table(grid), sep="\n", highlight=False)


def _write(path: Path | None, numbers: Mapping[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
