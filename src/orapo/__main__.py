"""``orapo COMMAND ...``: all that the package does from a shell. train.py and the scripts beside it come here too."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import version

from orapo.credentials import refuse_keys
from orapo.display import log_visibly, visible
from orapo.errors import SettingError
from orapo.stopping import STOP_SIGNALS

HELP = ("-h", "--help")
EXIT_ERROR = 1
EXIT_BAD_COMMAND = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        does: in a line.
        module: whose ``main()`` reads ``sys.argv[1:]`` and gives the exit code, or exits; imported once the command
            is chosen: torch takes seconds.
        config: name of the file in conf/ where the command's config begins; None for a command without one.
    """

    does: str
    module: str
    config: str | None = None


COMMANDS = {
    "train": Command(
        "trains a policy, sweeps settings, continues what stopped", "orapo.experiment.train_command", "config"
    ),
    "evaluate": Command(
        "scores a run, a checkpoint, a file of reports or an API's model",
        "orapo.experiment.evaluate_command",
        "evaluate",
    ),
    "compare": Command("sets runs, sweeps and evaluations side by side", "orapo.experiment.compare_command"),
    "watch": Command("shows a run at work in the terminal", "orapo.experiment.watch_command"),
    "generate": Command("writes a report for your own image", "orapo.experiment.generate_command", "generate"),
    "label": Command("reads a table of reports: 14 CheXpert labels for each", "orapo.labeler.command"),
    "data": Command(
        "checks a data set before a run, writes a miniature of one, ranks its studies", "orapo.data.__main__"
    ),
    "judge": Command(
        "explains a report's reward, compares judges, estimates their cost", "orapo.experiment.judge_command"
    ),
    "doctor": Command(
        "says what works on this machine, and what to do about the rest", "orapo.experiment.doctor_command"
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; what the machine refuses is one line.

    Args:
        arguments: the command's name and its arguments; None takes them from the command line.

    Returns:
        The exit code; 2 for a command that there is not.
    """
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        from orapo.experiment.machine import machine_error

        told = machine_error(error)
        if told is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"error: {visible(told)}", file=sys.stderr)
        return EXIT_ERROR


def _run(arguments: Sequence[str]) -> int:
    name, *rest = arguments or ["--help"]
    if name in HELP or name == "--version":
        print(_overview() if name in HELP else f"orapo {version('orapo')}")
        return 0
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        print(f"error: orapo {name}: there is no such command; {hint}allowed: {', '.join(COMMANDS)}", file=sys.stderr)
        return EXIT_BAD_COMMAND
    command = COMMANDS[name]
    log_visibly()
    if command.config is not None and not set(HELP).isdisjoint(rest):
        from orapo.experiment.config_help import config_help

        print(f"orapo {name}: {command.does}.\n\n{config_help(name, command.config)}")
        return 0
    try:
        refuse_keys(rest)
    except SettingError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    if command.config is not None:
        STOP_SIGNALS.listen()
    if [name, *rest[:1]] == ["data", "rank"]:
        # It needs a policy and a reward, which data/ must not import.
        command, rest = Command("", "orapo.experiment.rank_command"), rest[1:]
    # Hydra reads them there.
    sys.argv = [sys.argv[0], *rest]
    code: int | None = import_module(command.module).main()
    return code or 0


def _overview() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {command.does}" for name, command in COMMANDS.items())
    return f"usage: orapo COMMAND ...\n\n{commands}\n\nEach has its own --help. Not for clinical use."


if __name__ == "__main__":  # worker processes import this file too
    sys.exit(main())
