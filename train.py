"""Train a policy: ``python train.py``, ``... +experiment=mimic``, ``... +sweep=ablation``, ``... resume=FOLDER``."""

from pathlib import Path

from orapo.experiment.command_line import run_command
from orapo.experiment.sweeps.resume import resumed_sweep
from orapo.experiment.train_command import train_command

if __name__ == "__main__":
    run_command(train_command, Path(__file__).parent / "conf", rewrite=resumed_sweep)
