"""``orapo generate``: reports for a user's own images."""

import os
import signal
import sys
from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from orapo.data.images import load_study_images
from orapo.experiment.command_line import run_command
from orapo.experiment.config_help import group_options
from orapo.experiment.generate_config import read_generation
from orapo.stopping import Stopped

PATHS = ("image", "rexrank", "image_root", "checkpoint", "base", "out")
"""Keys whose values may hold what Hydra's grammar keeps for itself: brackets, commas, equals signs."""

EXIT_NO_READER = 128 + signal.SIGPIPE


def main() -> None:
    """Composes the config, generates, and exits."""
    run_command(generate_command, "generate", with_paths_quoted, tells_hydra=False)


def with_paths_quoted(arguments: Sequence[str]) -> list[str]:
    """The arguments as Hydra reads them: paths quoted, ``model=FOLDER`` as ``checkpoint=FOLDER``.

    ``model=NAME`` with a name of the config group stays as it is.
    """
    return [_with_path_quoted(argument) for argument in arguments]


def _with_path_quoted(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if key == "model" and equals and value not in group_options("model"):
        key = "checkpoint"
    if key not in PATHS or not equals or value in ("", "null", "???"):
        return argument
    is_written_for_hydra = value[0] in "'\"[" and not os.path.exists(value)
    if is_written_for_hydra:
        return f"{key}={value}"
    quoted = value.replace("'", "\\'")
    return f"{key}='{quoted}'"


def generate_command(config: DictConfig) -> None:
    """Checks the config, then imports what is heavy and generates."""
    generation = read_generation(config, list(HydraConfig.get().overrides.task))
    if len(generation.images.studies) == 1:
        # The only study: what makes it unreadable is an error at once.
        load_study_images(generation.images.studies[0], generation.settings.longest_side, None)
    # torch and transformers take seconds to import: a misspelt key has been refused by now.
    from orapo.experiment.generate import generate

    try:
        generate(generation)
    except Stopped as stop:
        raise stop.error("; what was written so far stays") from None
    except BrokenPipeError:
        # Who read standard output has gone (`| head`): Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_NO_READER)
