"""The comparison as CSV and as LaTeX tables."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from orapo.comparison.compare import Comparison
from orapo.comparison.cross import CrossTable
from orapo.comparison.evaluation_folder import Evaluation
from orapo.comparison.groups import Group, score
from orapo.comparison.published import PublishedRow, PublishedTable
from orapo.comparison.run_folder import Run
from orapo.comparison.scores import SCORES
from orapo.comparison.significance import TESTED
from orapo.comparison.swept import shown_value
from orapo.comparison.tables import ABSENT, Table
from orapo.display import spreadsheet_cell
from orapo.whole_file import write_whole

_SIGNS = {"±": r"$\pm$", "Δ": r"$\Delta$", "◆": r"$\diamond$"}


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes rows under all their keys; a blank cell is a number that does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, pd.DataFrame(rows).map(spreadsheet_cell).to_csv(index=False, float_format="%.8g"))


def comparison_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One row a group or evaluation, one row a run, then the published rows; ``kind`` says which is which."""
    groups = [group for group in comparison.groups if group.evaluation is None]
    rows = [_group_row(comparison, group) for group in groups]
    rows += [_evaluation_row(comparison, group, group.evaluation) for group in comparison.groups if group.evaluation]
    rows += [_run_row(group, run) for group in groups for run in group.runs]
    return [*rows, *(_published_row(table, row) for table in comparison.published for row in table.rows)]


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
    for key in SCORES:
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
        if (studies := found.studies.get(key)) is not None:
            row |= {
                f"{key}_difference": studies.value,
                f"{key}_difference_low": studies.low,
                f"{key}_difference_high": studies.high,
                f"{key}_p_studies": studies.p_value,
                f"{key}_p_studies_holm": found.adjusted_p[key],
            }
        if (seeds := found.seeds.get(key)) is not None:
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
    return row | {key: score(run, key) for key in SCORES}


def _published_row(table: PublishedTable, row: PublishedRow) -> dict[str, Any]:
    return {
        "kind": "published",
        "group": row.name,
        "table": table.number,
        "test_set": table.test_set,
        "is_recomputed": row.is_recomputed,
        f"{table.average}_precision": row.precision,
        f"{table.average}_recall": row.recall,
        f"{table.average}_f1": row.f1,
    }


def cross_rows(crossed: CrossTable) -> list[dict[str, Any]]:
    """One row a cell of the cross table."""
    return [
        {
            "rewarded": row.rewarded,
            "measured": name,
            "is_rewarded": name in row.measured_as,
            "difference": found.value,
            "low": found.low,
            "high": found.high,
            "p_studies": found.p_value,
            "sd_seeds": row.seeds[name].sd,
            "num_runs": row.seeds[name].n,
            "num_studies": row.num_studies,
            "is_capped": row.is_capped,
        }
        for row in crossed.rows
        for name, found in row.differences.items()
    ]


def latex_tables(tables: Iterable[Table]) -> str:
    """Each table as a booktabs tabular, marked cells in bold."""
    return "\n".join(["% needs \\usepackage{booktabs}", *map(_latex, tables)])


def _latex(table: Table) -> str:
    frame = pd.DataFrame(list(table.rows))
    columns = "".join("l" if heading in table.texts else "r" for heading in frame)
    style = frame.replace(ABSENT, "--").style.hide(axis="index")
    style = style.format(escape="latex").format_index(escape="latex", axis=1)
    for place, heading in table.marked:
        style = style.map(lambda _: "textbf:--rwrap;", subset=([place], [heading]))
    text = str(style.to_latex(hrules=True, column_format=columns))
    for sign, command in _SIGNS.items():
        text = text.replace(sign, command)
    return text
