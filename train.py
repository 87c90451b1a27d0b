"""Train a policy: ``python train.py``, ``python train.py +experiment=mimic``, ``python train.py resume=RUN_FOLDER``."""

from pathlib import Path

from orapo.experiment.command_line import run_command
from orapo.experiment.train_command import train_command

if __name__ == "__main__":
    run_command(train_command, Path(__file__).parent / "conf")
