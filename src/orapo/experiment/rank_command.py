"""Tells how often the base policy earns nothing on each training study, for data.subset.rule=hard.

Takes the same overrides as orapo train: the model that samples, the data, the reward, and K = rollout.per_study.
Stopped at any time, it continues where it was when it is called again; the table comes out the same.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; 0 when the table is whole, 1 for a user's error, 75 when the judge can't answer now."""
    parser = ArgumentParser(prog="orapo data rank", description=__doc__)
    parser.add_argument("--out", required=True, metavar="FILE", help="the table, a CSV; continued if it is there")
    parser.add_argument(
        "--num", type=count, default=None, metavar="N", help="so many studies, in a seeded order; all if not given"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="as for orapo train, for example model=qwen2_5_vl_3b"
    )
    parsed = parser.parse_args(arguments)
    # Hydra, and then torch, take seconds to import: the arguments have been read by now.
    from orapo.experiment.command_line import EXIT_INTERRUPTED, compose_config, reported
    from orapo.experiment.config import read_experiment

    def rank() -> None:
        experiment = read_experiment(compose_config(parsed.overrides))
        from orapo.experiment.ranking import rank_studies

        rank_studies(experiment, Path(parsed.out), parsed.num)

    code = reported(rank)
    if code == EXIT_INTERRUPTED:
        print(f"stopped; the same command continues {parsed.out}", file=sys.stderr)
    return code


def count(text: str) -> int:
    """A whole number from 1: argparse tells of any other."""
    if not 1 <= (number := int(text)) <= sys.maxsize:
        raise ValueError(text)
    return number
