"""Why a report earns what it earns, two judges compared, what a run's judge will cost.

Takes the same overrides as orapo train (reward=fact_score_llm reward.model=...), so that what is looked at is what a
run would use.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from orapo.experiment.rank_command import count


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 when all is well, 1 for a user's error, 75 when the judge can't answer now."""
    parser = ArgumentParser(prog="orapo judge", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    report = _added(commands, "report", "judges one report, and says why it earns what it earns")
    told = "the generated report: a text file, - for stdin"
    report.add_argument("--report", required=True, metavar="FILE", help=told)
    told = "the study's labels: JSON from observation to 1, 0, -1 or null, or a CSV with one row; none: no reward"
    report.add_argument("--labels", metavar="FILE", help=told)
    compare = _added(commands, "compare", "sets the offline judge beside the configured one")
    told = "reports with labels: test_reports.jsonl or rollouts.jsonl of a run"
    compare.add_argument("--reports", required=True, metavar="FILE", help=told)
    compare.add_argument("--num", type=count, default=None, metavar="N", help="the first N reports only")
    _added(commands, "estimate", "says before a run what its judge will cost")
    parsed = parser.parse_args(arguments)
    # torch and lightning take seconds to import: the arguments have been read by now.
    from orapo.experiment.judge_tasks import run_task

    return run_task(parsed)


def _added(commands: Any, name: str, text: str) -> ArgumentParser:
    parser: ArgumentParser = commands.add_parser(name, help=text, description=f"{text.capitalize()}.")
    told = "as for orapo train, for example reward.f_beta=1"
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=told)
    return parser
