"""``orapo doctor``: what works on this machine, and what to do about the rest, a line each."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from platform import python_version

from orapo.errors import OrapoError
from orapo.experiment import doctor_machine as machine


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line for each finding; 0 when training is possible, else 1."""
    parser = ArgumentParser(
        prog="orapo doctor",
        description="Says what works on this machine, and what to do about the rest. 0: training is possible; else 1.",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="as for orapo train, for example paths.logs=FOLDER"
    )
    overrides = parser.parse_args(arguments).overrides
    print(f"orapo {version('orapo')}, Python {python_version()}")
    num_problems = 0
    try:
        for finding in _findings(overrides):
            print(f"  {finding.mark:<8} {finding.part:<10} {finding.told}", flush=True)
            num_problems += finding.mark == machine.PROBLEM
    except OrapoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"training is not possible: {num_problems} problems" if num_problems else "training is possible")
    return 1 if num_problems else 0


def _findings(overrides: Sequence[str]) -> Iterator[machine.Finding]:
    packages = list(machine.check_packages())
    yield from packages
    if any(finding.mark == machine.PROBLEM for finding in packages):
        # What is wrong with a package shows up anywhere else.
        return
    from orapo.experiment.command_line import compose_config
    from orapo.experiment.doctor_access import check_data, check_extras, check_keys

    logs = Path(compose_config(overrides).paths.logs)
    yield from machine.check_torch()
    yield from machine.check_cpu()
    yield from machine.check_disk(logs)
    yield from machine.check_hub()
    yield from check_keys()
    yield from check_data()
    yield from check_extras()
