"""Evaluate: ``python evaluate.py run=RUN_FOLDER`` (or ``checkpoint=``, ``reports=``, ``system=api system.model=``)."""

import sys
from pathlib import Path

from orapo.experiment.command_line import run_command
from orapo.experiment.evaluate_command import evaluate_command, with_overrides_for_flags

if __name__ == "__main__":
    sys.argv[1:] = with_overrides_for_flags(sys.argv[1:])
    run_command(evaluate_command, Path(__file__).parent / "conf", "evaluate")
