"""``orapo data check DATA_SET`` and ``orapo data miniature DATA_SET FOLDER``."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from orapo.data.check_command import add_check_command
from orapo.errors import OrapoError

MINIATURES = {
    "chexpert_plus": "CheXpert Plus, with CheXpert's gold labels",
    "mimic_cxr": "MIMIC-CXR-JPG with reports",
    "annotation": "a data set with an R2Gen-style annotation.json",
    "iu_xray": "IU X-Ray (Open-I)",
    "hf_dataset": "a Hugging Face data set",
    "rexgradient": "ReXGradient-160K",
    "rexrank": "an input file of the leaderboard ReXrank, studies.json, with its images",
    "study_table": "a table of one's own, studies.csv, with its images",
}
"""What ``orapo.data.miniature.write_miniature_NAME`` writes."""

OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "mimic_cxr": {
        "version": {"default": "2.1.0", "help": "of MIMIC-CXR-JPG: 2.0.0 or %(default)s, the default"},
        "zip_reports": {"action": "store_true", "help": "reports in mimic-cxr-reports.zip, not as files"},
    },
    "annotation": {"form": {"choices": ("mimic_cxr", "chexpert_plus"), "default": "mimic_cxr"}},
    "iu_xray": {"layout": {"choices": ("tables", "xml"), "default": "tables", "help": "default: %(default)s"}},
}
"""Of one data set alone, by the names of arguments: what ``add_argument`` takes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 when all is well, 1 when there is a problem, 2 when the command line is wrong."""
    parser = ArgumentParser(prog="orapo data", description="Look at a data set before a run needs it.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = "says what of a data set is there, counts it, and names every problem"
    add_check_command(commands.add_parser("check", help=check, description=f"{check.capitalize()}."))
    miniature = "writes a small data set of phantoms in the layout of a real one"
    _add_miniature_command(commands.add_parser("miniature", help=miniature, description=f"{miniature.capitalize()}."))
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


def _add_miniature_command(parser: ArgumentParser) -> None:
    """Declares ``miniature DATA_SET FOLDER`` and its options."""
    data_sets = parser.add_subparsers(dest="data_set", required=True, metavar="DATA_SET")
    for name, written in MINIATURES.items():
        options = data_sets.add_parser(name, help=written)
        for option, told in OPTIONS.get(name, {}).items():
            options.add_argument(f"--{option.replace('_', '-')}", **told)
        options.add_argument("folder", help="empty, or not there yet")
        options.add_argument("--num-patients", type=int, default=60, help="10 to 100,000; default: %(default)s")
        options.add_argument("--seed", type=int, default=0, help="of the phantoms; default: %(default)s")
        options.set_defaults(run=_write_miniature)


def _write_miniature(arguments: Namespace) -> int:
    from orapo.data import miniature  # numpy would hold up --help

    write = getattr(miniature, f"write_miniature_{arguments.data_set}")
    own = {option: getattr(arguments, option) for option in OPTIONS.get(arguments.data_set, {})}
    print(f"wrote {write(arguments.folder, arguments.num_patients, arguments.seed, **own)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
