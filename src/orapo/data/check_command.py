"""``orapo data check``: says before a run which parts of a data set are there, and names every problem."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from orapo.display import visible

if TYPE_CHECKING:
    from orapo.data.check import CheckReport

MOST_PROBLEMS_SHOWN = 50


class CheckedSet(NamedTuple):
    """A data set that can be checked.

    Attributes:
        help: one line.
        settings: the class of its settings, or a function that gives several; imported once it is asked for, since
            numpy would hold up --help.
        options: settings that the command line gives, each with the environment variable that stands in, or "", or None
            where it may be left out.
        has_columns: whether the user can rename columns.
        num_opened: images that are opened without --images; None for all.
    """

    help: str
    settings: str
    options: Mapping[str, str | None]
    has_columns: bool = False
    num_opened: int | None = 20


_PLUS_ROOT = {"root": "ORAPO_CHEXPERT_PLUS_ROOT"}
CHECKED_SETS = {
    "chexpert_plus": CheckedSet(
        "CheXpert Plus: table, images, CheXbert labels", "orapo.data.chexpert_plus.ChexpertPlus", _PLUS_ROOT
    ),
    "mimic_cxr": CheckedSet(
        "MIMIC-CXR-JPG 2.0.0 or 2.1.0 with the reports of MIMIC-CXR",
        "orapo.data.mimic_cxr.MimicCxr",
        {"root": "ORAPO_MIMIC_ROOT", "reports": "ORAPO_MIMIC_REPORTS"},
    ),
    "gold": CheckedSet(
        "radiologists' labels of CheXpert's valid and test studies", "orapo.data.chexpert_gold.parts_there", _PLUS_ROOT
    ),
    "annotation": CheckedSet(
        "an annotation.json of R2Gen or CXPMRG-Bench with its images",
        "orapo.data.annotation.Annotation",
        {"annotation": "", "root": ""},
    ),
    "rexgradient": CheckedSet(
        "ReXGradient-160K: metadata and pictures",
        "orapo.data.json_studies.RexGradient",
        {"root": "ORAPO_REXGRADIENT_ROOT"},
    ),
    "iu_xray": CheckedSet(
        "IU X-Ray in either of its layouts", "orapo.data.iu_xray.IuXray", {"root": "ORAPO_IU_XRAY_ROOT"}
    ),
    "rexrank": CheckedSet(
        "an input file of the leaderboard ReXrank",
        "orapo.data.json_studies.RexRank",
        {"json": "", "root": "ORAPO_REXRANK_ROOT"},
    ),
    "questions": CheckedSet(
        "questions with checkable answers: every row, every image",
        "orapo.data.questions.Questions",
        {"path": "", "root": None},
        has_columns=True,
        num_opened=None,
    ),
    "hf_dataset": CheckedSet(
        "a Hugging Face data set", "orapo.data.hf_dataset.HfDataset", {"path": ""}, has_columns=True
    ),
    "study_table": CheckedSet(
        "a table of your own: every row, every image",
        "orapo.data.study_table.StudyTable",
        {"csv": "", "root": ""},
        has_columns=True,
        num_opened=None,
    ),
}
_OPTIONS = {
    "root": "folder of the data set, or the one that image paths start from",
    "reports": "folder of MIMIC-CXR, or mimic-cxr-reports.zip; looked for in the root if not given",
    "annotation": "the JSON file",
    "csv": "the table",
    "path": "a file or folder, or a name of the hub",
    "json": "the input file of the leaderboard",
}

_COLUMN = "the table's own name of a column, for example report=impression; may be repeated"


def add_check_command(parser: ArgumentParser) -> None:
    """Declares ``check DATA_SET`` and its options."""
    data_sets = parser.add_subparsers(dest="data_set", required=True, metavar="DATA_SET")
    for name, checked in CHECKED_SETS.items():
        aliases = ["chexpert_gold"] if name == "gold" else []
        options = data_sets.add_parser(name, help=checked.help, description=checked.help, aliases=aliases)
        for option, variable in checked.options.items():
            told = _OPTIONS[option] + (f"; ${variable} if not given" if variable else "")
            default = os.environ.get(variable) if variable else None
            options.add_argument(f"--{option}", default=default, help=told, required=variable == "")
        if checked.has_columns:
            options.add_argument(
                "--column", action="append", default=[], metavar="NAME=OWN_NAME", type=_renaming, help=_COLUMN
            )
        options.add_argument(
            "--images", action="store_true", help="open and compare every image: some may be there twice"
        )
        options.set_defaults(run=lambda arguments, checked=checked: _run(checked, arguments))


def print_report(report: "CheckReport") -> int:
    """Prints what was found; 0 when the data set can be used, 1 when there are problems."""
    print(visible(report.data_set))
    for line in report.found:
        print(visible(f"  found    {line}"))
    width = max(map(len, report.counts), default=0)
    for name, count in report.counts.items():
        print(f"  {name:<{width}}  {count:>9,}")
    for line in report.notes:
        print(visible(f"  note     {line}"))
    for line in report.problems[:MOST_PROBLEMS_SHOWN]:
        print(visible(f"  PROBLEM  {line}"))
    if len(report.problems) > MOST_PROBLEMS_SHOWN:
        print(f"  PROBLEM  ... and {len(report.problems) - MOST_PROBLEMS_SHOWN:,} more")
    print(f"problems: {len(report.problems):,}" if report.problems else "no problem found")
    return 1 if report.problems else 0


def _run(checked: CheckedSet, arguments: Namespace) -> int:
    from orapo.data.check import check_data_set, check_questions
    from orapo.data.questions import Questions

    module, _, name = checked.settings.rpartition(".")
    given = {option: getattr(arguments, option) for option in checked.options}
    if checked.has_columns:
        given["columns"] = dict(arguments.column)
    made = getattr(import_module(module), name)(**given)
    num_opened = None if arguments.images else checked.num_opened
    reports = [
        check_questions(settings)
        if isinstance(settings, Questions)
        else check_data_set(settings, num_opened=num_opened, compare_images=arguments.images)
        for settings in (made if isinstance(made, list) else [made])
    ]
    return max(map(print_report, reports))


def _renaming(text: str) -> tuple[str, str]:
    name, equals, own = text.partition("=")
    if not (name and equals and own):
        raise ValueError(text)
    return name, own
