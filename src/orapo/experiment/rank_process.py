"""A process of a run beside the first one, which starts it and hands it the config: see ``processes``."""

import json
import os
import sys
import threading
import time
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from orapo.errors import OrapoError, RunInterrupted, RunPaused
from orapo.experiment.command_line import EXIT_ERROR, exit_code, one_line
from orapo.experiment.config_tree import trust
from orapo.experiment.processes import GRACE_SECONDS
from orapo.stopping import STOP_SIGNALS


def main() -> None:
    """Reads config and folder from standard input and trains."""
    STOP_SIGNALS.listen()
    message = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    for package in message["trusted"]:
        trust(package)
    config = OmegaConf.create(message["config"])
    assert isinstance(config, DictConfig)
    from orapo.experiment.run import train

    try:
        train(config, Path(message["folder"]))
    except (RunInterrupted, RunPaused) as stop:
        # The first process says it.
        sys.exit(exit_code(stop))
    except OrapoError as error:
        # What all processes know, the first one says; this one only is left.
        print(f"error: process {os.environ['RANK']}: {one_line(error)}", file=sys.stderr)
        sys.exit(EXIT_ERROR)


def _end_with_the_first() -> None:
    sys.stdin.read()
    time.sleep(GRACE_SECONDS)
    os._exit(EXIT_ERROR)


if __name__ == "__main__":
    main()
