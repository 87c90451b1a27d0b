"""Commands with a Hydra config: errors in one line, exit codes, traceback on request."""

import functools
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from orapo.display import visible
from orapo.errors import OrapoError, RunInterrupted, RunPaused, RunTerminated, SettingError, first_line
from orapo.experiment.config_help import CONF
from orapo.experiment.config_keys import check_arguments, check_values, check_words, explained, in_order
from orapo.experiment.config_tree import check_targets
from orapo.experiment.machine import machine_error
from orapo.experiment.processes import own_rank, scratch_folder
from orapo.stopping import STOP_SIGNALS, Stopped

FULL_ERROR = "HYDRA_FULL_ERROR"
EXIT_ERROR = 1
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_TERMINATED = 128 + signal.SIGTERM
EXIT_PAUSED = 75
"""sysexits' EX_TEMPFAIL: nothing is wrong, try again later."""


USER_ERRORS = (OrapoError, HydraException, OmegaConfBaseException)
"""What is told in one line."""


def is_one_line(error: BaseException) -> bool:
    """Whether an error is told in one line: a user's, or the machine's."""
    return isinstance(error, USER_ERRORS) or machine_error(error) is not None


class PastHydra(BaseException):
    """Carries such an error past Hydra, which catches every ``Exception`` of a task or a callback."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def run_command(
    task: Callable[[DictConfig], Any],
    config_name: str = "config",
    rewrite: Callable[[Sequence[str]], list[str]] | None = None,
    *,
    tells_hydra: bool = True,
) -> None:
    """Composes the config from the command line, runs ``task`` on it, and exits.

    A user's error is one line on standard error and exit code 1; ``HYDRA_FULL_ERROR=1`` shows the traceback instead.
    A command that a signal interrupts exits with 130 (Ctrl-C) or 143, one that waits for its judge, its budget or its
    next turn on the machine with 75.

    Args:
        task: is given the config.
        config_name: of the file where composing begins.
        rewrite: makes the arguments that Hydra reads of those on the command line; None leaves them.
        tells_hydra: whether Hydra's callbacks learn of an error, as the record of a run's state must; one of them
            then carries it past Hydra, which would print the overrides above its line.
    """
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    # A log file on a full disk is no reason for tracebacks: what the command writes itself fails, and is told.
    logging.raiseExceptions = False
    asked = os.environ.get(FULL_ERROR)
    # Hydra would print its own report and exit; the error itself is needed here.
    os.environ[FULL_ERROR] = "1"
    checked = _Checked(task, tells_hydra=tells_hydra)
    command = hydra.main(version_base="1.3", config_path=str(CONF.resolve()), config_name=config_name)(checked)
    try:
        check_values(sys.argv[1:])
        if rewrite is not None:
            sys.argv[1:] = rewrite(sys.argv[1:])
        check_arguments(sys.argv[1:])
        sys.argv[1:] = in_order(sys.argv[1:])
        carried: Exception | None = None
        try:
            command()
        except PastHydra as past:
            carried = past.error
        if carried is not None:  # outside of the handler: what an error came from is told by its context
            raise carried
    except (RunInterrupted, RunPaused) as stop:
        print(f"paused: {stop}" if isinstance(stop, RunPaused) else stop, file=sys.stderr)
        sys.exit(exit_code(stop))
    except USER_ERRORS as error:
        if asked == "1":
            raise
        told = explained(error, sys.argv[1:], config_name) or one_line(error)
        print(f"error: {visible(told)}", file=sys.stderr)
        sys.exit(EXIT_ERROR)
    except Exception as error:
        # Before the task begins, only Hydra has run, on what was typed, and the folder was made.
        refused = machine_error(error) or (None if checked.has_begun else _not_composed(error))
        if asked == "1" or refused is None:
            raise
        print(f"error: {visible(refused)}", file=sys.stderr)
        sys.exit(EXIT_ERROR)
    finally:
        os.environ.pop(FULL_ERROR)
        if asked is not None:
            os.environ[FULL_ERROR] = asked


def reported(task: Callable[[], None]) -> int:
    """Runs the task of a command that Hydra does not run; returns its exit code. What a user can mend is one line."""
    try:
        task()
    except RunPaused as pause:
        print(f"paused: {pause}", file=sys.stderr)
        return EXIT_PAUSED
    except USER_ERRORS as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The config of a run with these overrides, outside of Hydra's command line.

    Raises:
        SettingError: an override names a key or file that doesn't exist, or can't be parsed.
    """
    check_values(overrides)
    check_arguments(overrides)
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose("config", in_order(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise SettingError(explained(error, overrides, "config") or one_line(error)) from error
    except (ValueError, TypeError, AttributeError, LookupError, AssertionError) as error:
        raise SettingError(_not_composed(error)) from error
    check_targets(config)
    check_words(config)
    return config


class _Checked:
    """A task that is given a checked config, within which signals are heard."""

    def __init__(self, task: Callable[[DictConfig], Any], *, tells_hydra: bool) -> None:
        functools.update_wrapper(self, task)
        self.has_begun = False
        self._task = task
        self._tells_hydra = tells_hydra

    def __call__(self, config: DictConfig) -> Any:
        self.has_begun = True
        try:
            return self._run(config)
        except Exception as error:
            if self._tells_hydra or not is_one_line(error):
                raise
            raise PastHydra(error) from None

    def _run(self, config: DictConfig) -> Any:
        try:
            with STOP_SIGNALS.heard():
                check_targets(config)
                check_words(config)
                return self._task(config)
        except Stopped as stop:
            raise stop.error() from stop


def _not_composed(error: Exception) -> str:
    """What Hydra and OmegaConf let through raw, as for a key within a list, or a number as the name of a group."""
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return "the current folder is gone; change into one that is there"
    return f"the overrides can't be composed: {first_line(error)}; every key stands with a comment in conf/"


def exit_code(error: OrapoError) -> int:
    if isinstance(error, RunInterrupted):
        return EXIT_TERMINATED if isinstance(error, RunTerminated) else EXIT_INTERRUPTED
    return EXIT_PAUSED if isinstance(error, RunPaused) else EXIT_ERROR


def run_folder(resume: str | None, logs: str, run_name: str, time: str) -> str:
    """The folder of this run: the one to resume, or a new one below the logs.

    Of several processes the first one's is the run's; the others learn it from there.
    """
    if own_rank():
        return scratch_folder()
    return resume if resume is not None else f"{logs}/{run_name}/{time}"


def own_error(error: BaseException) -> OrapoError | None:
    """The first error of this project in the chain of ``error``; None where there is none."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, OrapoError):
        inner = inner.__cause__
    return inner


def one_line(error: BaseException) -> str:
    """The message that helps: the first of our own errors, or the first lines of Hydra's as one line."""
    if (own := own_error(error)) is not None:
        return str(own)
    if isinstance(error, OverrideParseException):
        # Hydra names the argument in some cases only, and then with its value.
        key, is_given, _ = error.override.partition("=")
        why = "can't be read; one with blanks, brackets, quotes, commas or colons stands in quotes within quotes"
        return visible(f"the value of {key} {why}: '{key}=\"VALUE\"'" if is_given else f"{key} is no KEY=VALUE")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if error.__cause__ is not None:
        lines += [line.strip() for line in str(error.__cause__).splitlines() if line.strip()]
    # omegaconf adds the key's path and the object's type on lines of their own.
    told = [line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type="))]
    return visible("; ".join(dict.fromkeys(told))) or type(error).__name__
