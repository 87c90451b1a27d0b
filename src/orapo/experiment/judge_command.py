"""Why a report earns what it earns, two judges compared, what a run's judge will cost.

Takes the same overrides as orapo train (reward=fact_score_llm reward.model=...), so that what is looked at is what a
run would use.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from typing import Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 when all is well, 1 for a user's error, 75 when the judge can't answer now."""
    parser = ArgumentParser(prog="orapo judge", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    _add(commands, "report", "judges one report, and says why it earns what it earns", _report_options)
    _add(commands, "compare", "sets the offline judge beside the configured one", _compare_options)
    _add(commands, "estimate", "says before a run what its judge will cost", None)
    parsed = parser.parse_args(arguments)
    # torch and lightning take seconds to import: the arguments have been read by now.
    from orapo.experiment.judge_tasks import run_task

    return run_task(parsed)


def _add(commands: Any, name: str, text: str, add_options: Callable[[ArgumentParser], None] | None) -> None:
    parser: ArgumentParser = commands.add_parser(name, help=text, description=f"{text.capitalize()}.")
    if add_options is not None:
        add_options(parser)
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="as for orapo train, for example reward.f_beta=1"
    )


def _report_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--report", required=True, metavar="FILE", help="the generated report: a text file, - for stdin"
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="the study's labels: JSON from observation to 1, 0, -1 or null, or a CSV with one row; none: no reward",
    )


def _compare_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--reports",
        required=True,
        metavar="FILE",
        help="reports with labels: test_reports.jsonl or rollouts.jsonl of a run",
    )
    parser.add_argument("--num", type=int, default=None, metavar="N", help="the first N reports only")
