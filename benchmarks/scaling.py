"""How time and memory of a training step's two parts grow with K, image size, report length and batch size.

Sampling, and log-probabilities with their gradient, are measured apart; scoring also the plain way, which repeats
the prompt for every rollout. Every point is a process of its own, so that its peak memory is its own.

Usage: python benchmarks/scaling.py --json FILE --plot FILE
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from random_policy import random_words, write_policy
from rich.console import Console
from rich.table import Table
from step_pace import peak_memory, reset_peak_memory
from step_work import INSTRUCTION, Work

from orapo.batches import StudyBatch
from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.data.collate import Collate
from orapo.evaluation.figures import new_figure, save_figure
from orapo.policy.loading import load_policy
from orapo.policy.model import Policy
from orapo.policy.settings import ModelSettings, SamplingSettings
from orapo.records import Split, Study

AXES: Mapping[str, tuple[int, ...]] = {
    "k": (2, 4, 8, 16, 32),
    "image": (112, 224, 336, 448),
    "tokens": (32, 64, 128, 256),
    "prompts": (1, 2, 4, 8, 16),
}
TITLES = {
    "k": "K, rollouts per study",
    "image": "image, pixels per side",
    "tokens": "report, tokens",
    "prompts": "B, studies per step",
}
WAYS = {
    "sampling": ("#0072B2", "o", "sampling, prompt shared"),
    "shared": ("#009E73", "s", "scoring with gradient, prompt shared"),
    "repeated": ("#D55E00", "^", "scoring with gradient, prompt repeated"),
}


@dataclass(frozen=True)
class Point:
    """What one way cost at one size: CPU seconds, and bytes beyond what the loaded policy takes."""

    axis: str
    value: int
    way: str
    cpu_seconds: float
    peak_bytes: int


def read_batch(policy: Policy, work: Work) -> StudyBatch:
    """Studies of noise."""
    labels = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
    collate = Collate(policy.processor, policy.prompt, work.tokens)
    rows = []
    for index, image in enumerate(work.images()):
        name = str(index)
        study = Study(name, name, Split.TRAIN, (f"{name}.png",), ("PA",), random_words(8, index), labels)
        rows.append((study, (image,)))
    return collate(rows)


def sample(policy: Policy, batch: StudyBatch, work: Work) -> None:
    """K rollouts of each study, all of them at once as in training."""
    settings = SamplingSettings(per_study=work.k, max_new_tokens=work.tokens, min_new_tokens=work.tokens)
    policy.roll_out(batch, settings)


def score(policy: Policy, batch: StudyBatch, work: Work) -> None:
    """Log-probabilities of K rollouts of each study and their gradient, study by study as in training."""
    generator = torch.Generator().manual_seed(0)
    for index in range(len(batch)):
        drawn = torch.randint(300, 1000, (work.k, work.tokens), generator=generator)
        logps = policy(batch.select([index]), [list(drawn)])
        torch.cat(logps[0]).mean().backward()
    policy.zero_grad(set_to_none=False)


def measure(folder: str, work: Work, way: str) -> tuple[float, int]:
    """(CPU seconds, peak bytes) of one way, after a first time that is not counted."""
    torch.set_num_threads(work.threads)
    scoring = "repeated" if way == "repeated" else "shared"
    policy = load_policy(ModelSettings(path=folder, instruction=INSTRUCTION, scoring=scoring))
    batch = read_batch(policy, work)
    run = sample if way == "sampling" else score
    # The first time pays for kernels and for the gradients' memory, which belongs to the policy.
    smallest = replace(work, k=2, tokens=2, prompts=1)
    run(policy, batch.select([0]), smallest)
    before = reset_peak_memory()
    start = time.process_time()
    run(policy, batch, work)
    return time.process_time() - start, peak_memory() - before


def measure_apart(folder: str, work: Work, way: str) -> tuple[float, int]:
    """``measure`` in a process of its own."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(measure, (folder, work, way))


def draw(points: Sequence[Point], path: Path) -> None:
    """Time above, memory below, one column for each size that grows."""
    figure = new_figure(13, 6.2)
    panels = figure.subplots(2, len(AXES))
    for column, axis in enumerate(AXES):
        for row, (key, scale) in enumerate((("cpu_seconds", 1.0), ("peak_bytes", 2**20))):
            panel = panels[row][column]
            for way, (colour, marker, label) in WAYS.items():
                chosen = [point for point in points if (point.axis, point.way) == (axis, way)]
                values = [getattr(point, key) / scale for point in chosen]
                panel.plot([p.value for p in chosen], values, color=colour, marker=marker, markersize=5, label=label)
            panel.set_xlabel(TITLES[axis], fontsize=9)
            panel.set_xticks(AXES[axis])
            panel.set_ylim(bottom=0)
            panel.grid(axis="y", color="#E4E4E4", linewidth=0.8)
            panel.tick_params(labelsize=8)
            for side in ("top", "right"):
                panel.spines[side].set_visible(False)
    panels[0][0].set_ylabel("CPU seconds, one thread", fontsize=9)
    panels[1][0].set_ylabel("peak memory beyond the policy, MB", fontsize=9)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=3, fontsize=9.5, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.94))
    save_figure(figure, path)


def show(points: Sequence[Point]) -> None:
    """One line for each size."""
    table = Table("", "", *(f"{way}\nseconds" for way in WAYS), *(f"{way}\nMB" for way in WAYS))
    for axis, values in AXES.items():
        for value in values:
            at = {point.way: point for point in points if (point.axis, point.value) == (axis, value)}
            if at:
                seconds = [f"{at[way].cpu_seconds:.2f}" for way in WAYS]
                table.add_row(TITLES[axis], str(value), *seconds, *(f"{at[w].peak_bytes / 2**20:.0f}" for w in WAYS))
    Console().print(table)


def main() -> None:
    """Measures all points, prints them, and writes and draws what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("tiny", "mid"), default="tiny")
    parser.add_argument("--axes", nargs="+", choices=tuple(AXES), default=list(AXES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    points: list[Point] = []
    with tempfile.TemporaryDirectory() as folder:
        write_policy(arguments.size, Path(folder))
        base = Work(folder, image=224, prompts=4, k=8, tokens=96, threads=arguments.threads, lora=False, micro=1)
        for axis in arguments.axes:
            for value in AXES[axis]:
                work = replace(base, **{axis: value})
                for way in WAYS:
                    print(f"{TITLES[axis]} = {value}: {way}", file=sys.stderr)
                    points.append(Point(axis, value, way, *measure_apart(folder, work, way)))
    show(points)
    if arguments.json is not None:
        content: dict[str, Any] = {
            "size": arguments.size,
            "threads": arguments.threads,
            "base": {key: getattr(base, key) for key in AXES},
            "points": [asdict(point) for point in points],
            "torch": torch.__version__,
        }
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")
    if arguments.plot is not None:
        draw(points, arguments.plot)


if __name__ == "__main__":
    main()
