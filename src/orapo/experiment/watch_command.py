"""``orapo watch``: a run at work, in the terminal."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from orapo.errors import OrapoError


def main(arguments: Sequence[str] | None = None) -> int:
    """Shows the run until it ends, or once where there is no terminal; returns the exit code."""
    asked = _parser().parse_args(arguments)
    from rich.console import Console
    from rich.live import Live

    from orapo.comparison.watch import is_at_work, newest_run, view
    from orapo.experiment.command_line import EXIT_ERROR, EXIT_INTERRUPTED

    console = Console()
    try:
        folder = newest_run(asked.path)
        if asked.once or not console.is_terminal:
            console.print(view(folder, shows_private=asked.show_private))
            return 0
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while is_at_work(folder):
                live.update(view(folder, shows_private=asked.show_private), refresh=True)
                time.sleep(asked.every)
        console.print(view(folder, shows_private=asked.show_private))
        return 0
    except (OrapoError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="orapo watch", description="A run at work: progress, time left, curves, the latest rollout."
    )
    parser.add_argument("path", metavar="RUN", type=Path, help="a run's folder, or one above: the run that wrote last")
    parser.add_argument("--once", action="store_true", help="show it once; so it is where there is no terminal")
    told = "seconds between two looks, at least 0.2; 2 if not given"
    parser.add_argument("--every", metavar="SECONDS", type=_seconds, default=2.0, help=told)
    told = "of private data, show the latest rollout's words"
    parser.add_argument("--show-private", action="store_true", help=told)
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.2 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is out of range; allowed: at least 0.2")
    return value
