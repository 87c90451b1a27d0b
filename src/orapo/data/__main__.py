"""``orapo data check DATA_SET`` and ``orapo data miniature DATA_SET FOLDER``."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from orapo.data.check_command import add_check_command
from orapo.data.miniature_command import add_miniature_command
from orapo.errors import OrapoError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 when all is well, 1 when there is a problem, 2 when the command line is wrong."""
    parser = ArgumentParser(prog="orapo data", description="Look at a data set before a run needs it.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = "says what of a data set is there, counts it, and names every problem"
    add_check_command(commands.add_parser("check", help=check, description=f"{check.capitalize()}."))
    miniature = "writes a small data set of phantoms in the layout of a real one"
    add_miniature_command(commands.add_parser("miniature", help=miniature, description=f"{miniature.capitalize()}."))
    rank = "samples from the base policy: how often it earns nothing on each training study"
    commands.add_parser("rank", help=rank)  # ``orapo data rank`` itself stands above this layer
    parsed = parser.parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
    except OrapoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
