"""train.py with a second's stand-in for training, which also acts in the worker processes of a sweep.

It writes a line to started.txt for every job that trains, and fails for some values of alpha until there is a file
called mended. Everything around training is the real thing.
"""

import os
import sys
import time
import types
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from orapo.errors import DataError, RunPaused
from orapo.experiment.command_line import run_command
from orapo.experiment.sweeps.resume import resumed_sweep
from orapo.experiment.train_command import train_command

STARTED = "started.txt"
FOREIGN, OWN, PAUSED = 0.41, 0.42, 0.43


def task(config: DictConfig) -> float | None:
    """What train.py runs, but for training."""

    def train(config: DictConfig, folder: Path) -> None:
        OmegaConf.save(config, folder / "config.yaml", resolve=True)
        alpha = config.objective.alpha
        told = (alpha, os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("OMP_NUM_THREADS"))
        with Path(STARTED).open("a") as file:
            file.write(" ".join(map(str, told)) + "\n")
        if not Path("mended").exists():
            if alpha == FOREIGN:
                raise ZeroDivisionError("words of a foreign error")
            if alpha == OWN:
                raise DataError("studies.csv: no such file")
            if alpha == PAUSED:
                raise RunPaused("no judge answers")
        time.sleep(float(os.environ.get("SECONDS_OF_A_JOB", "0")))
        if alpha > 0.9:
            return
        (folder / "validation.csv").write_text(f"step,macro_f1\n0,0.01\n2,{1 - abs(alpha - 0.25)}\n")
        (folder / "summary.json").write_text('{"trained": {"clinical": {"macro": {"f1": 0.5}}}}')

    module = types.ModuleType("orapo.experiment.run")
    module.train = train  # type: ignore[attr-defined]
    sys.modules["orapo.experiment.run"] = module
    return train_command(config)


if __name__ == "__main__":
    run_command(task, rewrite=resumed_sweep)
