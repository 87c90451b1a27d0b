"""The tables of a comparison, cells as text: what the terminal, the page and LaTeX show alike."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orapo.comparison.compare import DEFAULT_SORT, Comparison
from orapo.comparison.effects import OVER_SEEDS, OVER_SETTINGS, SettingEffect
from orapo.comparison.evaluation_folder import Evaluation
from orapo.comparison.groups import Group
from orapo.comparison.published import PublishedRow, PublishedTable, comparability
from orapo.comparison.run_folder import BESIDE_REWARD, Run
from orapo.comparison.run_state import RunState
from orapo.comparison.scores import COSTS, EVALUATED, SCORES, SYSTEM
from orapo.comparison.statistics import Spread
from orapo.comparison.swept import shown_value
from orapo.evaluation.answers import ACCURACY
from orapo.evaluation.resampling import Difference

ABSENT = "–"
NOT_COMPARABLE = "not comparable"
MAX_OWN_ROWS = 5

SHOWN = ("macro_f1", "macro_precision", "macro_recall", "micro_f1", "shuffled_macro_f1")
"""The scores of the table, in its order."""

SHOWN_ANSWERS = ("accuracy", "shuffled_accuracy", "base_accuracy")
"""The same where questions were answered."""


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        title: above it.
        rows: heading to cell; every row has the same headings.
        texts: headings of the columns that hold no numbers.
        bold: rows that stand out.
        marked: cells that stand out, as row and heading.
        is_heat_map: whether each column's numbers are coloured by their size, where there is colour.
        dispensable: headings that a narrow terminal may leave out, in this order.
        notes: below it.
        warnings: below it, emphasised.
    """

    title: str
    rows: Sequence[Mapping[str, str]]
    texts: Collection[str]
    bold: Collection[int] = ()
    marked: Collection[tuple[int, str]] = ()
    is_heat_map: bool = False
    dispensable: Sequence[str] = ()
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()


def comparison_tables(comparison: Comparison) -> Iterator[Table]:
    """All tables that the comparison has something for, in their order."""
    yield _groups_table(comparison)
    if comparison.evaluations:
        yield from _evaluations_tables(comparison)
    if comparison.effects:
        yield _effects_table(comparison.effects)
    if comparison.unfinished:
        yield _unfinished_table(comparison.unfinished)
    for table in comparison.published:
        yield _published_table(table, comparison)


# ---- groups


def _groups_table(comparison: Comparison) -> Table:
    keys = score_columns(comparison)
    against_baseline = (f"Δ {SCORES[comparison.headline].heading} [95 %]", "p (studies)", "p (seeds)")
    rows = [
        {
            "group": group.label,
            "runs": _runs_cell(group),
            "step": _steps_cell(group),
            **{SCORES[key].heading: spread(group.spread(key)) for key in keys},
            **dict(zip(against_baseline, _p_cells(comparison, group), strict=True)),
        }
        for group in comparison.groups
    ]
    found = comparison.significance.items()
    best = [(place, SCORES[key].heading) for key in keys if (place := _best(comparison, key)) is not None]
    dispensable = ("macro_precision", "macro_recall", "shuffled_macro_f1", "micro_f1")
    return Table(
        title=f"{contents(comparison)}, sorted by {comparison.sort}",
        rows=rows,
        texts=("group", "runs"),
        bold=[place for place, group in enumerate(comparison.groups) if group is comparison.baseline],
        marked=best,
        dispensable=[SCORES[key].heading for key in dispensable if key != comparison.sort],
        notes=(_p_note(comparison),),
        warnings=[f"No p (studies) for {label}: {one.note}." for label, one in found if one.note],
    )


def score_columns(comparison: Comparison) -> tuple[str, ...]:
    """The keys to show: the usual ones, and the one sorted by; beside the reward what it was earned with."""
    shown = SHOWN_ANSWERS if comparison.headline in SHOWN_ANSWERS else SHOWN
    extra = [comparison.sort] if comparison.sort in SCORES and comparison.sort not in shown else []
    return (*shown, *extra, *(BESIDE_REWARD if extra == ["reward"] else ()))


def _best(comparison: Comparison, key: str) -> int | None:
    """The group that is best by a score; none for a control, nor among groups tested on other studies."""
    if SCORES[key].row != SYSTEM or key in COSTS:
        return None
    rivals = {
        place: group.spread(key).mean
        for place, group in enumerate(comparison.groups)
        if comparison.is_comparable(group) and group.spread(key).n
    }
    return max(rivals, key=rivals.__getitem__) if len(rivals) > 1 else None


def _runs_cell(group: Group) -> str:
    """How many runs; where not all are finished with their states, as in "3: 2 finished, 1 failed"."""
    counts = group.state_counts()
    if group.evaluation is not None:
        return "evaluation" if RunState.FINISHED in counts else f"evaluation: {group.runs[0].state}"
    if list(counts) == [RunState.FINISHED]:
        return str(len(group.runs))
    return f"{len(group.runs)}: " + ", ".join(f"{count} {state}" for state, count in counts.items())


def _steps_cell(group: Group) -> str:
    """Steps done: one number, or the range over the runs; an evaluation has none."""
    if group.evaluation is not None:
        return ABSENT
    steps = sorted({run.last_step for run in group.runs})
    return str(steps[0]) if len(steps) == 1 else f"{steps[0]}–{steps[-1]}"


def _p_cells(comparison: Comparison, group: Group) -> tuple[str, str, str]:
    """Difference of the headline score from the baseline with its interval, p over studies, p over seeds."""
    if group is comparison.baseline:
        return "baseline", "", ""
    found = comparison.significance[group.label]
    if found.is_of_other_studies:
        return NOT_COMPARABLE, ABSENT, ABSENT
    key = comparison.headline
    seeds = found.seeds.get(key)
    over_seeds = ABSENT if seeds is None else p_value(seeds.p)
    if key not in found.studies:
        return (ABSENT if seeds is None else number(seeds.difference, "+")), ABSENT, over_seeds
    return difference(found.studies[key]), p_value(found.studies[key].p_value), over_seeds


def _p_note(comparison: Comparison) -> str:
    """How the numbers against the baseline were made."""
    kinds = {test.is_paired for found in comparison.significance.values() for test in found.seeds.values()}
    named = {
        frozenset({True}): "paired t test over shared seeds",
        frozenset({False}): "Welch's t test over seeds",
        frozenset({True, False}): "t test over seeds, paired where both sides have the same seeds",
    }.get(frozenset(kinds), "t test, needs at least 2 runs on each side")
    return (
        f"± is the SD over runs. Δ is {SCORES[comparison.headline].heading} minus the baseline's on the same test "
        "studies, 95 % interval and p (studies) from 1,000 paired bootstrap resamples of the studies; "
        f"p (seeds): {named}. p values are not adjusted for the number of groups; --csv also has Holm's."
    )


# ---- evaluations


def _evaluations_tables(comparison: Comparison) -> Iterator[Table]:
    """Two, narrow enough for a terminal; scores of reports, or of answers, where some were evaluated."""
    measured = {key for _, one in comparison.evaluations for key in one.estimates}
    headlines = {key: ACCURACY if SCORES[key].measure == ACCURACY else DEFAULT_SORT for key in EVALUATED}
    shown = [key for key in EVALUATED if headlines[key] in measured and key not in COSTS]
    own = [key for key in shown if SCORES[key].row == SYSTEM]
    levels = {one.settings.get("bootstrap.confidence") for _, one in comparison.evaluations}
    told = ", ".join(f"{100 * level:g} %" for level in sorted(level for level in levels if isinstance(level, float)))
    for name, keys in (("scores", own), ("controls and cost", [*shown[len(own) :], *COSTS])):
        yield Table(
            title=f"{counted(len(comparison.evaluations), 'evaluation')}: {name}",
            rows=[
                {
                    "evaluation": group.label,
                    "studies": f"{one.num_studies}{' (capped)' if one.is_capped else ''}",
                    **{SCORES[key].heading: _estimate(one, key) for key in keys},
                }
                for group, one in comparison.evaluations
            ],
            texts=("evaluation",),
            notes=(
                f"Scores of evaluate.py; brackets: {told} bootstrap over studies. What evaluate.py did not compute is "
                f"{ABSENT}; its table.txt says why.",
            ),
        )


def _estimate(evaluation: Evaluation, key: str) -> str:
    """A number with its interval, as in "0.341 [0.310, 0.372]"; ``ABSENT`` where it was not measured."""
    if key not in evaluation.estimates:
        return ABSENT
    digits, found = 4 if key in COSTS else 3, evaluation.estimates[key]
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


# ---- effects of settings


def _effects_table(effects: tuple[SettingEffect, ...]) -> Table:
    found = [(effect, one) for effect in effects for one in effect.effects]
    return Table(
        title=f"Effect of each setting on {SCORES[effects[0].score].heading}: marginal means over the other settings",
        rows=[
            {
                "setting": effect.name + ("" if effect.is_matched else " *"),
                "value": shown_value(one.value),
                "runs": str(one.num_runs),
                "mean": number(one.mean),
                "95 % of the mean": interval(one.low, one.high),
                "against the baseline's value": "reference" if one.is_reference else number(one.difference, "+"),
                "95 % of the difference": ""
                if one.is_reference
                else interval(one.difference_low, one.difference_high, "+"),
            }
            for effect, one in found
        ],
        texts=("setting", "value"),
        bold=[place for place, (_, one) in enumerate(found) if one.is_reference],
        notes=(_effects_note(effects),),
    )


def _effects_note(effects: tuple[SettingEffect, ...]) -> str:
    """What the intervals are of, and what a star means."""
    sources = {effect.source for effect in effects}
    parts = []
    if OVER_SEEDS in sources:
        parts.append("Intervals: bootstrap over seeds, their scatter pooled over all groups.")
    if OVER_SETTINGS in sources:
        parts.append("No setting was run with two seeds: intervals resample the combinations of the other settings.")
    if "" in sources:
        parts.append("No interval: one run a value, and nothing to resample.")
    if not all(effect.is_matched for effect in effects):
        parts.append("* not every value was run with the same other settings: its means mix their effects.")
    return " ".join(parts)


# ---- runs without scores


def _unfinished_table(runs: tuple[Run, ...]) -> Table:
    return Table(
        title=f"{counted(len(runs), 'run')} without test scores",
        rows=[
            {
                "state": run.state,
                "step": str(run.last_step) if run.num_steps is None else f"{run.last_step} of {run.num_steps}",
                "seed": ABSENT if run.seed is None else str(run.seed),
                "folder": str(run.folder),
                "why": run.reason or ABSENT,
            }
            for run in runs
        ],
        texts=("state", "folder", "why"),
    )


# ---- the paper's rows


def _published_table(table: PublishedTable, comparison: Comparison) -> Table:
    """The paper's rows and the user's own, best F1 first."""
    lines = [(row.f1 if row.f1 is not None else -1.0, False, _published_row(row)) for row in table.rows]
    for group in _own_rows(comparison, table.average):
        spreads = {kind: group.spread(f"{table.average}_{name}") for kind, name in _KINDS.items()}
        cells = {kind: spread(one) for kind, one in spreads.items()}
        own = {"system": group.label, "venue": "this comparison", **cells, "parameters": ABSENT, "trained on": ABSENT}
        lines.append((spreads["F1"].mean, True, own))
    lines.sort(key=lambda line: -line[0])
    return Table(
        title=f"Table {table.number} of the paper: {table.title} ({table.average} average; {table.test_set})",
        rows=[cells for _, _, cells in lines],
        texts=("system", "venue", "parameters", "trained on"),
        bold=[place for place, (_, is_own, _) in enumerate(lines) if is_own],
        warnings=(f"{comparability(table, comparison.groups)} {table.note}".strip(),),
    )


_KINDS = {"P": "precision", "R": "recall", "F1": "f1"}


def _published_row(row: PublishedRow) -> dict[str, str]:
    values = {kind: getattr(row, name) for kind, name in _KINDS.items()}
    mark = "≈ " if row.is_recomputed else ""
    numbers = {kind: ABSENT if value is None else f"{mark}{value:.3f}" for kind, value in values.items()}
    told = {"parameters": row.parameters or ABSENT, "trained on": row.train_size or ABSENT}
    return {"system": row.name, "venue": row.venue, **numbers, **told}


def _own_rows(comparison: Comparison, average: str) -> tuple[Group, ...]:
    """The groups that stand beside published rows: the best by this average's F1, and the baseline."""
    key = f"{average}_f1"
    scored = [group for group in comparison.groups if group.spread(key).n]
    best = sorted(scored, key=lambda group: -group.spread(key).mean)[:MAX_OWN_ROWS]
    has_more = comparison.baseline in scored and comparison.baseline not in best
    return (*best, *([comparison.baseline] if has_more else []))


# ---- numbers as text


def counted(number: int, noun: str) -> str:
    """A number and its noun, as in "1 run" and "3 runs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def contents(comparison: Comparison) -> str:
    """As in "8 runs in 4 groups, 2 evaluations"."""
    num_groups = sum(group.evaluation is None for group in comparison.groups)
    num_evaluations = len(comparison.groups) - num_groups
    runs = f"{counted(len(comparison.runs), 'run')} in {counted(num_groups, 'group')}" if num_groups else ""
    return ", ".join(part for part in (runs, counted(num_evaluations, "evaluation") if num_evaluations else "") if part)


def number(value: float, sign: str = "") -> str:
    """Three decimals, where ``sign`` is "+" with the sign of positive ones too; ``ABSENT`` for NaN."""
    return ABSENT if math.isnan(value) else f"{value:{sign}.3f}"


def spread(value: Spread) -> str:
    """Mean and SD, as in "0.341 ± 0.012"; the mean alone for one run."""
    return number(value.mean) if math.isnan(value.sd) else f"{value.mean:.3f} ± {value.sd:.3f}"


def difference(value: Difference) -> str:
    """As in "+0.021 [+0.004, +0.037]"."""
    return f"{value.value:+.3f} {interval(value.low, value.high, '+')}"


def interval(low: float, high: float, sign: str = "") -> str:
    """As in "[0.310, 0.342]"; ``ABSENT`` for NaN."""
    return ABSENT if math.isnan(low) else f"[{low:{sign}.3f}, {high:{sign}.3f}]"


def p_value(value: float) -> str:
    """Three digits, "<0.001" below that."""
    return "<0.001" if value < 0.001 else number(value)
