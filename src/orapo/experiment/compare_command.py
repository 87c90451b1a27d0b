"""``orapo compare``: runs, sweeps and evaluations side by side."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orapo.errors import OrapoError, SettingError
from orapo.whole_file import write_whole

if TYPE_CHECKING:
    from orapo.comparison.compare import Comparison
    from orapo.comparison.cross import CrossTable
    from orapo.comparison.tables import Table


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares; returns the exit code. A user's error is one line on standard error."""
    asked = _parser().parse_args(arguments)
    # Hydra and numpy take most of a second to import, and --help has been answered by now.
    from orapo.comparison.compare import DEFAULT_SORT, compare_runs
    from orapo.comparison.cross import cross_table, shown_tables
    from orapo.comparison.tables import comparison_tables
    from orapo.comparison.text_table import print_tables
    from orapo.experiment.command_line import EXIT_ERROR
    from orapo.experiment.machine import refuse_unwritable
    from orapo.experiment.train_settings import CHANGEABLE

    try:
        if asked.show_private and not asked.cases:
            raise SettingError("--show-private is of --cases, which is not given")
        for option in ("csv", "latex", "plots", "page", "cases"):
            if (path := getattr(asked, option)) is not None:
                if option != "plots" and path.is_dir():
                    raise SettingError(f"--{option} is {str(path)!r}, a folder; name a file")
                refuse_unwritable(path if option == "plots" else path.parent, f"the folder of --{option}")
        comparison = compare_runs(
            asked.paths,
            sort=DEFAULT_SORT if asked.sort is None else asked.sort,
            baseline=asked.baseline,
            with_published=asked.published,
            ignored=CHANGEABLE,
        )
        crossed = cross_table(comparison) if asked.cross else None
        tables = list(comparison_tables(comparison) if crossed is None else shown_tables(crossed))
        print_tables(tables, (*comparison.problems, *(() if crossed is None else crossed.problems)))
        for path in _write(comparison, crossed, tables, asked):
            print(f"written: {path}")
    except (OrapoError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_ERROR
    return 0


def _write(
    comparison: "Comparison", crossed: "CrossTable | None", tables: "list[Table]", asked: argparse.Namespace
) -> list[Path]:
    written: list[Path] = []
    # pandas and matplotlib take seconds to import: only who asks for files pays for it.
    if asked.csv or asked.latex:
        from orapo.comparison.table_files import comparison_rows, cross_rows, latex_tables, write_csv

        if asked.csv:
            write_csv(comparison_rows(comparison) if crossed is None else cross_rows(crossed), asked.csv)
            written.append(asked.csv)
        if asked.latex:
            written.append(_write_text(asked.latex, latex_tables(tables)))
    if asked.plots:
        from orapo.comparison.cross import cross_figure
        from orapo.comparison.pictures import comparison_pictures
        from orapo.evaluation.figures import save_figure

        pictures = comparison_pictures(comparison) if crossed is None else {"cross": cross_figure(crossed)}
        for name, figure in pictures.items():
            written.append(asked.plots / f"{name}.png")
            save_figure(figure, written[-1])
    if asked.page:
        from orapo.comparison.cross import shown_tables
        from orapo.comparison.results_page import results_page

        if crossed is not None:
            # A page has room for all columns side by side.
            tables = list(shown_tables(crossed, len(crossed.columns)))
        written.append(_write_text(asked.page, results_page(comparison, tables)))
    if asked.cases:
        written.append(_write_text(asked.cases, _case_page(comparison, shows_private=asked.show_private)))
    return written


def _case_page(comparison: "Comparison", *, shows_private: bool) -> str:
    from orapo.comparison.cases import case_systems, shown_groups
    from orapo.experiment.case_images import data_section, page_with_images
    from orapo.experiment.targets import build

    groups = shown_groups(comparison)
    if left_out := sum(bool(group.finished) for group in comparison.groups) - len(groups):
        print(f"--cases shows {len(groups)} groups, the baseline first; {left_out} more are left out")
    systems, (data, *others) = case_systems(groups), [data_section(group.finished[0]) for group in groups]
    is_private = any(one.get("is_private") is not False for one in (data, *others))
    return page_with_images(
        systems,
        lambda: build(data.source, "data.source"),
        is_private=is_private,
        shows_private=shows_private,
        uncertain_is_positive=data.get("uncertain_is_positive") is True,
    )


def _write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="orapo compare",
        description="Runs, sweeps and evaluations side by side; see docs/compare.md.",
        allow_abbrev=False,
    )
    told = "a run, a sweep, a folder of evaluate.py, or a folder above"
    parser.add_argument("paths", metavar="FOLDER", nargs="+", type=Path, help=told)
    told_of_sort = "a score, reward, last_step, name ...; macro_f1 if not given, and an unknown one is told all"
    parser.add_argument("--sort", metavar="KEY", help=told_of_sort)
    parser.add_argument("--baseline", metavar="NAME", help="group to compare with: its label, a part of it, or a run")
    parser.add_argument("--published", action="store_true", help="add the paper's rows")
    told_of_cross = "what was rewarded against what was measured, in place of the other tables, in every file too"
    parser.add_argument("--cross", action="store_true", help=told_of_cross)
    parser.add_argument("--csv", metavar="FILE", type=Path, help="write groups, runs, evaluations and published rows")
    parser.add_argument("--latex", metavar="FILE", type=Path, help="write the tables")
    parser.add_argument("--plots", metavar="FOLDER", type=Path, help="write curves, observations and effects as PNG")
    parser.add_argument("--page", metavar="FILE", type=Path, help="write tables and curves as one self-contained page")
    told_of_cases = "write every test study of the first systems as one page: images, reports, facts, observations"
    parser.add_argument("--cases", metavar="FILE", type=Path, help=told_of_cases)
    told_of_private = "of private data, let --cases show reports, pictures and study ids"
    parser.add_argument("--show-private", action="store_true", help=told_of_private)
    return parser
