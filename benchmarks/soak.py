"""A long training run whose judge and rollout server keep failing: memory, open files and files, a line a minute.

Run: python benchmarks/soak.py --minutes 120 --folder /tmp/soak --picture docs/soak.png

Both servers run in this process on 127.0.0.1; what is measured is the training process alone, a process of its own by
the command line. Three judge calls of ten fail, in every way that ``benchmarks/judge_server.py`` knows. A tenth of the
rollout server's answers are a cut connection, a 500 or a 503 with 200 kB of noise, and every five minutes it loses its
adapters. A training process that pauses is resumed, and the pause is counted.
"""

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from orapo.policy.settings import LoraSettings, ModelSettings
from orapo.policy.tiny import base_folder
from orapo.prompt import DEFAULT_INSTRUCTION

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.judge_server import JudgeServer  # noqa: E402
from tests.vllm_server import StandInServer  # noqa: E402

SMALL = [
    "rollout=vllm",
    "reward=fact_score_llm",
    "model.lora={_target_: orapo.policy.settings.LoraSettings, rank: 4, alpha: 8}",
    "model.trainable=language",
    "data.source.num_train=2000",
    "data.source.num_validate=14",
    "data.source.num_test=14",
    "data.subset.num_studies=400",
    "data.max_report_tokens=24",
    "rollout.max_new_tokens=24",
    "training.batch_size=4",
    "training.num_steps=1000000",
    "training.validate_every_steps=50",
    "callbacks.checkpoint_every_steps=20",
    "trainer.accelerator=cpu",
    "reward.model=openai/judge",
    "reward.identity=judge",
    "reward.timeout_seconds=1.5",
    "reward.max_tries=12",
    "reward.on_failure=offline_judge",  # some drawn texts are no statement that the stand-in can repeat
]


@dataclass(frozen=True)
class Sample:
    """The training process and its folder at one moment."""

    minutes: float
    steps: int
    resident_mb: float
    threads: int
    open_files: int
    files: int
    folder_mb: float
    judge_faults: int
    server_faults: int
    pauses: int


class FailingServer(StandInServer):
    """A rollout server of which a share of the answers goes wrong; keeps no request."""

    fault_rate = 0.1
    forgets_every_seconds = 300.0
    num_faults = 0
    _forgot = time.monotonic()

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        """The status and the content of an answer."""
        self.requests.clear()
        self.log.clear()
        if time.monotonic() - self._forgot > self.forgets_every_seconds:
            self._forgot = time.monotonic()
            self.loaded.clear()
        elif path != "chat/completions" or random.random() >= self.fault_rate:
            return super().answer(path, body)
        else:
            self.num_faults += 1
            return random.choice([(0, ""), (500, {"error": {"message": "a hiccup"}}), (503, "no," * 70_000)])
        self.num_faults += 1
        return super().answer(path, body)


def main() -> None:
    """Trains for so long, samples once a minute, and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--every-seconds", type=float, default=60)
    parser.add_argument("--folder", type=Path, required=True, help="an empty place for the run and samples.csv")
    parser.add_argument("--picture", type=Path, help="where the picture is drawn; none: no picture")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True)
    samples = list(soak(asked.folder, 60 * asked.minutes, asked.every_seconds))
    if asked.picture:
        draw(samples, asked.picture)


def soak(folder: Path, seconds: float, every_seconds: float) -> Iterator[Sample]:
    """Samples of a run that trains for so many seconds; each is in ``samples.csv`` before the next is taken."""
    model = ModelSettings(base_folder(), DEFAULT_INSTRUCTION, lora=LoraSettings(rank=4, alpha=8), trainable="language")
    server = FailingServer(model, base_folder())
    with JudgeServer(fault_rate=0.3, slow_seconds=2.0, retry_after="0.05") as judge, server:
        overrides = [
            *SMALL,
            f"rollout.server.api_base={server.api_base}",
            f"reward.api_base={judge.api_base}",
            f"reward.cache_path={folder}/cache.sqlite",
        ]
        run = folder / "run"
        process = train([*overrides, f"hydra.run.dir={run}"], folder)
        began, pauses, judge_faults = time.monotonic(), 0, 0
        with (folder / "samples.csv").open("w", buffering=1) as file:
            rows = csv.writer(file)
            rows.writerow(field.name for field in fields(Sample))
            while time.monotonic() - began < seconds:
                time.sleep(every_seconds)
                if process.poll() is not None:
                    if process.returncode != 75:
                        sys.exit(f"the run ended with {process.returncode}: {folder}/log.txt")
                    pauses += 1
                    process = train([f"resume={run}"], folder)
                    continue
                calls, judge.calls = judge.calls, []
                judge_faults += sum(call.fault is not None for call in calls)
                told = process_figures(process.pid)
                files = [path for path in folder.rglob("*") if path.is_file()]
                sample = Sample(
                    minutes=round((time.monotonic() - began) / 60, 1),
                    steps=num_steps(run),
                    resident_mb=told["VmRSS"] / 1024,
                    threads=told["Threads"],
                    open_files=len(list(Path(f"/proc/{process.pid}/fd").iterdir())),
                    files=len(files),
                    folder_mb=round(sum(path.stat().st_size for path in files) / 2**20, 1),
                    judge_faults=judge_faults,
                    server_faults=server.num_faults,
                    pauses=pauses,
                )
                rows.writerow(astuple(sample))
                yield sample
        process.send_signal(signal.SIGTERM)
        print(f"SIGTERM: exit code {process.wait(120)}")


def train(overrides: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """A training process; the stand-ins need no key."""
    with (folder / "log.txt").open("ab") as log:
        command = [sys.executable, str(ROOT / "train.py"), *overrides]
        return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OPENAI_API_KEY": "none"})


def process_figures(pid: int) -> dict[str, int]:
    """Numbers of /proc/PID/status; memory in kB."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}


def num_steps(run: Path) -> int:
    """Rows of ``metrics.csv``."""
    path = run / "metrics.csv"
    return max(0, len(path.read_bytes().splitlines()) - 1) if path.exists() else 0


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Memory, open files and files over the minutes, one below the other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = {
        "resident_mb": "memory, MB",
        "open_files": "open files",
        "threads": "threads",
        "files": "files on the disk",
    }
    figure, axes = pyplot.subplots(len(panels), sharex=True, figsize=(7, 7), layout="constrained")
    for axis, (name, title) in zip(axes, panels.items(), strict=True):
        axis.plot([sample.minutes for sample in samples], [getattr(sample, name) for sample in samples])
        axis.set_ylabel(title)
        axis.set_ylim(0, 1.15 * max(axis.lines[0].get_ydata()))
    last = samples[-1]
    axes[0].set_title(
        f"{last.steps:,} steps, {last.judge_faults:,} faults of the judge, {last.server_faults:,} of the rollout server"
    )
    axes[-1].set_xlabel("minutes")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
