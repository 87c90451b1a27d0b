"""``orapo evaluate``: scores what writes reports."""

import datetime
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from orapo.errors import SettingError
from orapo.experiment.command_line import run_command
from orapo.experiment.evaluate_config import ApiSettings, Evaluation, read_evaluation
from orapo.experiment.machine import refuse_unwritable
from orapo.stopping import Stopped

FLAGS = ("--export", "--against")
"""Options that may also be written as flags: ``--export radeval`` is ``export=radeval``."""


SWITCHES = {"--page": "page=true", "--show-private": "show_private=true"}
"""Flags without a value."""


def main() -> None:
    """Composes the config, evaluates, and exits."""
    run_command(evaluate_command, "evaluate", with_overrides_for_flags, tells_hydra=False)


def with_overrides_for_flags(arguments: Sequence[str]) -> list[str]:
    """The arguments with our flags written as Hydra's overrides; all else stays as it is."""
    written, waiting = [], list(arguments)
    while waiting:
        argument = waiting.pop(0)
        flag, equals, value = argument.partition("=")
        if argument in SWITCHES:
            written.append(SWITCHES[argument])
        elif flag not in FLAGS:
            written.append(argument)
        elif equals:
            written.append(f"{flag[2:]}={value}")
        else:
            written.append(f"{flag[2:]}={waiting.pop(0) if waiting else ''}")
    return written


def evaluate_command(config: DictConfig) -> None:
    """Checks the config, then imports what is heavy and evaluates."""
    overrides = list(HydraConfig.get().overrides.task)
    evaluation = read_evaluation(config, overrides)
    if isinstance(system := evaluation.settings.system, ApiSettings):
        from orapo.experiment.api_endpoint import check_privacy

        check_privacy(system)
    folder = evaluation_folder(evaluation)
    if folder.exists():
        raise SettingError(f"{folder} exists already; choose another name")
    refuse_unwritable(folder, "the evaluation's folder")
    # Lightning and transformers take seconds to import: a misspelt key has been refused by now.
    from orapo.experiment.evaluate import evaluate

    try:
        evaluate(evaluation, folder)
    except Stopped as stop:
        told = f"what is written so far lies in {folder}" if folder.exists() else "no evaluation is written"
        raise stop.error(f"; {told}") from None


def evaluation_folder(evaluation: Evaluation) -> Path:
    """Where the evaluation goes: into the run's folder, or below ``paths.evaluations``; microseconds keep two apart."""
    time = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    if evaluation.kind == "run":
        return Path(evaluation.config.run) / "evaluation" / time
    return Path(evaluation.config.paths.evaluations) / evaluation.name / time
