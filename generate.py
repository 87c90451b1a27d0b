"""A report for one's own image: ``python generate.py image=FILE_OR_FOLDER model=RUN_OR_CHECKPOINT``."""

import sys
from pathlib import Path

from orapo.experiment.command_line import run_command
from orapo.experiment.generate_command import generate_command, with_paths_quoted

CONF = Path(__file__).parent / "conf"

if __name__ == "__main__":
    sys.argv[1:] = with_paths_quoted(sys.argv[1:], CONF / "model")
    run_command(generate_command, CONF, "generate", tells_hydra=False)
