"""The comparison as CSV and as a LaTeX table."""

import csv
import math
from pathlib import Path
from typing import Any

from orapo.comparison.cells import ABSENT, score_columns
from orapo.comparison.cells import HEADINGS as SHOWN_HEADINGS
from orapo.comparison.compare import Comparison
from orapo.comparison.evaluation_cells import TABLES, estimate_cell
from orapo.comparison.evaluation_folder import Evaluation
from orapo.comparison.groups import SORT_KEYS, Group, score
from orapo.comparison.run_folder import SUMMARY_SCORES, Run
from orapo.comparison.significance import TESTED
from orapo.comparison.statistics import Spread
from orapo.comparison.swept import shown_value

NUMBERS = tuple(key for key in SORT_KEYS if key not in ("name", "last_step"))
HEADINGS = {
    "macro_f1": "F1",
    "macro_precision": "P",
    "macro_recall": "R",
    "micro_f1": "micro F1",
    "shuffled_macro_f1": "shuffled F1",
}
ESCAPES = {"\\": r"\textbackslash{}", **{c: f"\\{c}" for c in "&%$#_{}"}, "~": r"\textasciitilde{}", "^": r"\^{}"}


def write_csv(comparison: Comparison, path: Path) -> None:
    """One row a group or evaluation, one row a run, then the published rows; the column ``kind`` says which is which.

    A blank cell is a number that does not exist.
    """
    groups = [group for group in comparison.groups if group.evaluation is None]
    rows = [_group_row(comparison, group) for group in groups]
    rows += [_evaluation_row(comparison, group, group.evaluation) for group in comparison.groups if group.evaluation]
    rows += [_run_row(group, run) for group in groups for run in group.runs]
    rows += [row for table in comparison.published for row in _published_rows(table)]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.8g}"
    return "" if value is None else value


def _group_row(comparison: Comparison, group: Group) -> dict[str, Any]:
    row: dict[str, Any] = {
        "kind": "group",
        "group": group.label,
        "is_baseline": group is comparison.baseline,
        "runs": len(group.runs),
        "state": "; ".join(f"{count} {state}" for state, count in group.state_counts().items()),
        "seeds": " ".join(str(run.seed) for run in group.runs if run.seed is not None),
        "last_step": max(run.last_step for run in group.runs),
    }
    row |= {f"setting:{name}": shown_value(value) for name, value in group.values.items()}
    for key in NUMBERS:
        spread = group.spread(key)
        row |= {key: spread.mean, f"{key}_sd": spread.sd, f"{key}_n": spread.n}
    return row | _tests_against_baseline(comparison, group)


def _evaluation_row(comparison: Comparison, group: Group, evaluation: Evaluation) -> dict[str, Any]:
    row: dict[str, Any] = {
        "kind": "evaluation",
        "group": group.label,
        "is_baseline": group is comparison.baseline,
        "state": evaluation.state.value,
        "reason": evaluation.reason,
        "folder": str(evaluation.folder),
        "num_studies": evaluation.num_studies,
    }
    for key, found in evaluation.estimates.items():
        row |= {key: found.value, f"{key}_low": found.low, f"{key}_high": found.high}
    return row | _tests_against_baseline(comparison, group)


def _tests_against_baseline(comparison: Comparison, group: Group) -> dict[str, Any]:
    found = comparison.significance.get(group.label)
    if found is None:
        return {}
    row: dict[str, Any] = {"note": found.note}
    for key in TESTED:
        row |= _tests(key, found.studies.get(key), found.seeds.get(key), found.adjusted_p[key])
    return row


def _tests(key: str, studies: Any, seeds: Any, adjusted_p: float) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if studies is not None:
        row |= {
            f"{key}_difference": studies.value,
            f"{key}_difference_low": studies.low,
            f"{key}_difference_high": studies.high,
            f"{key}_p_studies": studies.p_value,
            f"{key}_p_studies_holm": adjusted_p,
        }
    if seeds is not None:
        test = "paired t" if seeds.is_paired else "Welch t"
        row |= {f"{key}_difference_seeds": seeds.difference, f"{key}_p_seeds": seeds.p, f"{key}_test_seeds": test}
    return row


def _run_row(group: Group, run: Run) -> dict[str, Any]:
    row: dict[str, Any] = {
        "kind": "run",
        "group": group.label,
        "folder": str(run.folder),
        "state": run.state.value,
        "reason": run.reason,
        "seeds": run.seed,
        "last_step": run.last_step,
        "num_steps": run.num_steps,
    }
    row |= {f"setting:{name}": shown_value(value) for name, value in group.values.items()}
    return row | {key: score(run, key) for key in NUMBERS}


def _published_rows(table: Any) -> list[dict[str, Any]]:
    return [
        {
            "kind": "published",
            "group": row.name,
            "table": table.number,
            "test_set": table.test_set,
            "is_recomputed": row.is_recomputed,
            f"{table.average}_precision": row.precision,
            f"{table.average}_recall": row.recall,
            f"{table.average}_f1": row.f1,
        }
        for row in table.rows
    ]


def latex_table(comparison: Comparison) -> str:
    """A booktabs table: groups in their order, the best of each column in bold, then the published rows.

    Evaluations stand among the groups, and with all their intervals in a second table.
    """
    columns = score_columns(comparison)
    lines = [
        "% needs \\usepackage{booktabs}",
        rf"\begin{{tabular}}{{lr{'r' * len(columns)}r}}",
        r"\toprule",
        " & ".join(["", "runs", *(escaped(HEADINGS.get(key, key)) for key in columns), "$p$"]) + r" \\",
        r"\midrule",
        *(_latex_group(comparison, group, columns) for group in comparison.groups),
    ]
    for table in comparison.published:
        title = escaped(f"Table {table.number} of the paper ({table.test_set}, {table.average} average)")
        lines += [r"\midrule", rf"\multicolumn{{{len(columns) + 3}}}{{l}}{{{title}}} \\"]
        lines += [_latex_published(row, table.average, columns) for row in table.rows]
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join([*lines, *(_latex_evaluations(comparison) if comparison.evaluations else [])])


def _latex_evaluations(comparison: Comparison) -> list[str]:
    keys = [key for _, of_table in TABLES for key in of_table]
    rows = [[group.label, *(estimate_cell(one, key) for key in keys)] for group, one in comparison.evaluations]
    return [
        rf"\begin{{tabular}}{{l{'r' * len(keys)}}}",
        r"\toprule",
        " & ".join(["", *(escaped(SHOWN_HEADINGS[key]) for key in keys)]) + r" \\",
        r"\midrule",
        *(" & ".join(escaped(cell.replace(ABSENT, "--")) for cell in row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        "",
    ]


def _latex_group(comparison: Comparison, group: Group, columns: tuple[str, ...]) -> str:
    cells = [escaped(group.label), str(len(group.finished)) if group.evaluation is None else "--"]
    for key in columns:
        text = _latex_spread(group.spread(key)) if group.evaluation is None else _latex_estimate(group.evaluation, key)
        cells.append(rf"\textbf{{{text}}}" if key in SUMMARY_SCORES and _is_best(comparison, group, key) else text)
    found = comparison.significance.get(group.label)
    tested = None if found is None else found.studies.get("macro_f1")
    p = "--" if tested is None else "$<$0.001" if tested.p_value < 0.001 else f"{tested.p_value:.3f}"
    p = p if comparison.is_comparable(group) else "other studies"
    return " & ".join([*cells, p]) + r" \\"


def _latex_spread(spread: Spread) -> str:
    if not spread.n:
        return "--"
    return f"{spread.mean:.3f}" if math.isnan(spread.sd) else rf"{spread.mean:.3f} $\pm$ {spread.sd:.3f}"


def _latex_estimate(evaluation: Evaluation, key: str) -> str:
    return estimate_cell(evaluation, key).replace(ABSENT, "--")


def _is_best(comparison: Comparison, group: Group, key: str) -> bool:
    if key.startswith(("shuffled", "always", "base", "seconds")):
        return False  # a control has no best
    if not comparison.is_comparable(group):
        return False  # nor has what was tested on other studies
    rivals = [other for other in comparison.groups if comparison.is_comparable(other)]
    means = [other.spread(key).mean for other in rivals if other.spread(key).n]
    return bool(means) and len(means) > 1 and group.spread(key).mean == max(means)


def _latex_published(row: Any, average: str, columns: tuple[str, ...]) -> str:
    printed = {f"{average}_precision": row.precision, f"{average}_recall": row.recall, f"{average}_f1": row.f1}
    numbers = ["--" if printed.get(key) is None else f"{printed[key]:.3f}" for key in columns]
    return " & ".join([escaped(row.name), "", *numbers, ""]) + r" \\"


def escaped(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return "".join(ESCAPES.get(character, character) for character in text)
