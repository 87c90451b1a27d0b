"""Commands with a Hydra config: errors in one line, exit codes, traceback on request."""

import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from orapo.errors import OrapoError, RunInterrupted, RunPaused, SettingError
from orapo.experiment.config_help import CONF
from orapo.experiment.config_keys import check_arguments, check_words, explained, in_order
from orapo.experiment.config_tree import check_targets
from orapo.experiment.processes import own_rank, scratch_folder

FULL_ERROR = "HYDRA_FULL_ERROR"
EXIT_ERROR = 1
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_PAUSED = 75
"""sysexits' EX_TEMPFAIL: nothing is wrong, try again later."""

_OUT_OF_MEMORY = (
    "out of memory; lower training.studies_per_micro_batch, rollout.per_study, rollout.max_new_tokens or "
    "training.eval_batch_size (eval_batch_size or batch_size in evaluate.py and generate.py), set "
    "model.gradient_checkpointing=true, or train an adapter (model.lora) on model.dtype=bfloat16"
)


class _PastHydra(BaseException):
    """Carries a user's error past Hydra, which catches every ``Exception`` of a task."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def run_command(
    task: Callable[[DictConfig], Any],
    config_folder: Path,
    config_name: str = "config",
    rewrite: Callable[[Sequence[str]], list[str]] | None = None,
    *,
    tells_hydra: bool = True,
) -> None:
    """Composes the config from the command line, runs ``task`` on it, and exits.

    A user's error is one line on standard error and exit code 1; ``HYDRA_FULL_ERROR=1`` shows the traceback instead.
    An interrupted run exits with 130, one that waits for its judge or its budget with 75.

    Args:
        task: is given the config.
        config_folder: of the config tree.
        config_name: of the file where composing begins.
        rewrite: makes the arguments that Hydra reads of those on the command line; None leaves them.
        tells_hydra: whether Hydra's callbacks learn of an error, as the record of a run's state must; Hydra then prints
            the overrides above its line.
    """
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    asked = os.environ.get(FULL_ERROR)
    # Hydra would print its own report and exit; the error itself is needed here.
    os.environ[FULL_ERROR] = "1"
    command = hydra.main(version_base="1.3", config_path=str(config_folder.resolve()), config_name=config_name)(
        _checked(task if tells_hydra else _without_hydra(task))
    )
    try:
        if rewrite is not None:
            sys.argv[1:] = rewrite(sys.argv[1:])
        check_arguments(sys.argv[1:], config_folder)
        sys.argv[1:] = in_order(sys.argv[1:])
        try:
            command()
        except _PastHydra as carried:
            raise carried.error from carried.error.__cause__
    except RunInterrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(exit_code(stop))
    except RunPaused as pause:
        print(f"paused: {pause}", file=sys.stderr)
        sys.exit(exit_code(pause))
    except (OrapoError, HydraException, OmegaConfBaseException) as error:
        if asked == "1":
            raise
        told = explained(error, sys.argv[1:], config_folder, config_name) or one_line(error)
        print(f"error: {told}", file=sys.stderr)
        sys.exit(EXIT_ERROR)
    except (MemoryError, RuntimeError) as error:
        if asked == "1" or not is_out_of_memory(error):
            raise
        print(f"error: {_OUT_OF_MEMORY}", file=sys.stderr)
        sys.exit(EXIT_ERROR)
    finally:
        os.environ.pop(FULL_ERROR)
        if asked is not None:
            os.environ[FULL_ERROR] = asked


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The config of a run with these overrides, outside of Hydra's command line.

    Raises:
        SettingError: an override names what there is not, or can't be read.
    """
    check_arguments(overrides, CONF)
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose("config", in_order(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise SettingError(explained(error, overrides, CONF, "config") or one_line(error)) from error
    check_targets(config)
    check_words(config)
    return config


def _checked(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    @functools.wraps(task)
    def checked(config: DictConfig) -> Any:
        check_targets(config)
        check_words(config)
        return task(config)

    return checked


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the GPU or the computer had too little; known by name, since importing torch takes seconds."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )


def _without_hydra(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    @functools.wraps(task)
    def carried(config: DictConfig) -> Any:
        try:
            return task(config)
        except (OrapoError, HydraException, OmegaConfBaseException) as error:
            raise _PastHydra(error) from None

    return carried


def exit_code(error: OrapoError) -> int:
    """Of a process that stops with this error."""
    if isinstance(error, RunInterrupted):
        return EXIT_INTERRUPTED
    return EXIT_PAUSED if isinstance(error, RunPaused) else EXIT_ERROR


def run_folder(resume: str | None, logs: str, run_name: str, time: str) -> str:
    """The folder of this run: the one to resume, or a new one below the logs.

    Of several processes the first one's is the run's; the others learn it from there.
    """
    if own_rank():
        return scratch_folder()
    return resume if resume is not None else f"{logs}/{run_name}/{time}"


def one_line(error: BaseException) -> str:
    """The message that helps: the innermost of our own errors, or the first lines of Hydra's as one line."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OrapoError):
            return str(inner)
        inner = inner.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if error.__cause__ is not None:
        lines += [line.strip() for line in str(error.__cause__).splitlines() if line.strip()]
    # omegaconf adds the key's path and the object's type on lines of their own.
    told = [line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type="))]
    return "; ".join(dict.fromkeys(told)) or type(error).__name__
