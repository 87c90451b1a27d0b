"""``orapo data check``: says before a run what of a data set is there, and names every problem."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass

from orapo.data.check_report import CheckReport

MOST_PROBLEMS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class CheckedSet:
    """A data set that can be checked.

    Attributes:
        help: one line.
        add_arguments: declares its options.
        check: looks at it.
    """

    help: str
    add_arguments: Callable[[ArgumentParser], None]
    check: Callable[[Namespace], CheckReport]


def add_check_command(parser: ArgumentParser) -> None:
    """Declares ``check DATA_SET`` and its options."""
    data_sets = parser.add_subparsers(dest="data_set", required=True, metavar="DATA_SET")
    for name, checked in CHECKED_SETS.items():
        options = data_sets.add_parser(name, help=checked.help, description=checked.help)
        checked.add_arguments(options)
        options.set_defaults(run=lambda arguments, check=checked.check: print_report(check(arguments)))


def print_report(report: CheckReport) -> int:
    """Prints what was found; 0 when the data set can be used, 1 when there are problems."""
    print(report.data_set)
    for line in report.found:
        print(f"  found    {line}")
    width = max(map(len, report.counts), default=0)
    for name, count in report.counts.items():
        print(f"  {name:<{width}}  {count:>9,}")
    for line in report.notes:
        print(f"  note     {line}")
    for line in report.problems[:MOST_PROBLEMS_SHOWN]:
        print(f"  PROBLEM  {line}")
    if len(report.problems) > MOST_PROBLEMS_SHOWN:
        print(f"  PROBLEM  ... and {len(report.problems) - MOST_PROBLEMS_SHOWN:,} more")
    print(f"problems: {len(report.problems):,}" if report.problems else "no problem found")
    return 1 if report.problems else 0


def _root_option(parser: ArgumentParser, variable: str) -> None:
    parser.add_argument(
        "--root", default=os.environ.get(variable), help=f"folder of the data set; ${variable} if not given"
    )


def _chexpert_plus_options(parser: ArgumentParser) -> None:
    _root_option(parser, "ORAPO_CHEXPERT_PLUS_ROOT")


def _mimic_cxr_options(parser: ArgumentParser) -> None:
    _root_option(parser, "ORAPO_MIMIC_ROOT")
    parser.add_argument(
        "--reports", help="folder of MIMIC-CXR, or mimic-cxr-reports.zip; looked for in the root if not given"
    )


def _annotation_options(parser: ArgumentParser) -> None:
    parser.add_argument("--annotation", required=True, help="the JSON file")
    parser.add_argument("--root", required=True, help="folder that image paths start from")


def _study_table_options(parser: ArgumentParser) -> None:
    parser.add_argument("--csv", required=True, help="the table")
    parser.add_argument("--root", required=True, help="folder that image paths start from")
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="NAME=OWN_NAME",
        type=_renaming,
        help="the table's own name of a column, for example report=impression; may be repeated",
    )


def _renaming(text: str) -> tuple[str, str]:
    name, equals, own = text.partition("=")
    if not (name and equals and own):
        raise ValueError(text)
    return name, own


# Each is imported once it is asked for: numpy and pyarrow would hold up --help.
def _check_chexpert_plus(arguments: Namespace) -> CheckReport:
    from orapo.data.chexpert_plus.check import check_chexpert_plus

    return check_chexpert_plus(arguments.root)


def _check_mimic_cxr(arguments: Namespace) -> CheckReport:
    from orapo.data.mimic_cxr.check import check_mimic_cxr

    return check_mimic_cxr(arguments.root, arguments.reports)


def _check_gold(arguments: Namespace) -> CheckReport:
    from orapo.data.gold_labels import check_gold

    return check_gold(arguments.root)


def _check_annotation(arguments: Namespace) -> CheckReport:
    from orapo.data.annotations.check import check_annotation

    return check_annotation(arguments.annotation, arguments.root)


def _check_study_table(arguments: Namespace) -> CheckReport:
    from orapo.data.study_table_check import check_study_table

    return check_study_table(arguments.csv, arguments.root, columns=dict(arguments.column))


CHECKED_SETS = {
    "chexpert_plus": CheckedSet(
        "CheXpert Plus: table, images, CheXbert labels",
        _chexpert_plus_options,
        _check_chexpert_plus,
    ),
    "mimic_cxr": CheckedSet(
        "MIMIC-CXR-JPG 2.0.0 or 2.1.0 with the reports of MIMIC-CXR",
        _mimic_cxr_options,
        _check_mimic_cxr,
    ),
    "gold": CheckedSet(
        "radiologists' labels of CheXpert's valid and test studies",
        _chexpert_plus_options,
        _check_gold,
    ),
    "annotation": CheckedSet(
        "an annotation.json of R2Gen or CXPMRG-Bench with its images",
        _annotation_options,
        _check_annotation,
    ),
    "study_table": CheckedSet(
        "a table of your own: every row, every image",
        _study_table_options,
        _check_study_table,
    ),
}
