"""``orapo compare``: runs, sweeps and evaluations side by side."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orapo.errors import OrapoError

if TYPE_CHECKING:
    from orapo.comparison.compare import Comparison


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares; returns the exit code. A user's error is one line on standard error."""
    asked = _parser().parse_args(arguments)
    # Hydra and numpy take most of a second to import, and --help has been answered by now.
    from orapo.comparison.compare import DEFAULT_SORT, compare_runs
    from orapo.comparison.text_table import print_comparison
    from orapo.experiment.command_line import EXIT_ERROR
    from orapo.experiment.train_settings import CHANGEABLE

    try:
        comparison = compare_runs(
            asked.paths,
            sort=asked.sort or DEFAULT_SORT,
            baseline=asked.baseline,
            with_published=asked.published,
            ignored=CHANGEABLE,
        )
        print_comparison(comparison)
        for path in _write(comparison, asked):
            print(f"written: {path}")
    except (OrapoError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_ERROR
    return 0


def _write(comparison: "Comparison", asked: argparse.Namespace) -> list[Path]:
    written: list[Path] = []
    # matplotlib takes seconds to import: only who asks for pictures pays for it.
    if asked.csv or asked.latex:
        from orapo.comparison.table_files import latex_table, write_csv

        if asked.csv:
            write_csv(comparison, asked.csv)
            written.append(asked.csv)
        if asked.latex:
            written.append(_write_text(asked.latex, latex_table(comparison)))
    if asked.plots or asked.page:
        from orapo.comparison.pictures import comparison_pictures, write_pictures
        from orapo.comparison.results_page import results_page

        pictures = comparison_pictures(comparison)
        if asked.plots:
            written += write_pictures(pictures, asked.plots)
        if asked.page:
            written.append(_write_text(asked.page, results_page(comparison, pictures)))
    return written


def _write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
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
    parser.add_argument("--csv", metavar="FILE", type=Path, help="write groups, runs, evaluations and published rows")
    parser.add_argument("--latex", metavar="FILE", type=Path, help="write the table of groups")
    parser.add_argument("--plots", metavar="FOLDER", type=Path, help="write curves, observations and effects as PNG")
    parser.add_argument("--page", metavar="FILE", type=Path, help="write one self-contained HTML page")
    return parser
