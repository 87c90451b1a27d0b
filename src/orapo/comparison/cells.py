"""How numbers are written, wherever they are shown."""

import math
from collections.abc import Mapping

from orapo.comparison.compare import Comparison
from orapo.comparison.groups import Group
from orapo.comparison.run_folder import BESIDE_REWARD, Run
from orapo.comparison.run_state import RunState
from orapo.comparison.statistics import Spread
from orapo.evaluation.resampling import Difference

ABSENT = "–"
NOT_COMPARABLE = "not comparable"

SHOWN: Mapping[str, str] = {
    "macro_f1": "macro F1",
    "macro_precision": "macro P",
    "macro_recall": "macro R",
    "micro_f1": "micro F1",
    "shuffled_macro_f1": "shuffled images, macro F1",
}
"""The scores of the table, in its order, and their headings."""

HEADINGS: Mapping[str, str] = {
    **SHOWN,
    "micro_precision": "micro P",
    "micro_recall": "micro R",
    "base_macro_f1": "before training, macro F1",
    "always_positive_macro_f1": "always-positive report, macro F1",
    "label_frequencies_macro_f1": "label frequencies, macro F1",
    "most_common_report_macro_f1": "most common report, macro F1",
    "seconds_per_study": "seconds per study",
    "seconds_per_image": "seconds per image",
    "cost_usd_per_image": "US dollars per image",
    "validation_macro_f1": "last validation, macro F1",
    "reward": "reward, last tenth",
    "zero_reward_rate": "zero-reward rate, last tenth",
    "reward_precision": "precision of rollouts, last tenth",
    "completion_tokens": "tokens per rollout, last tenth",
    "repetition": "repeated 4-grams, last tenth",
}


def score_columns(comparison: Comparison) -> tuple[str, ...]:
    """The keys to show: the usual ones, and the one sorted by; beside the reward what it was earned with."""
    extra = [comparison.sort] if comparison.sort in HEADINGS and comparison.sort not in SHOWN else []
    return (*SHOWN, *extra, *(BESIDE_REWARD if extra == ["reward"] else ()))


def counted(number: int, noun: str) -> str:
    """A number and its noun, as in "1 run" and "3 runs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def contents(comparison: Comparison) -> str:
    """As in "8 runs in 4 groups, 2 evaluations"."""
    num_groups = sum(group.evaluation is None for group in comparison.groups)
    num_evaluations = len(comparison.groups) - num_groups
    runs = f"{counted(len(comparison.runs), 'run')} in {counted(num_groups, 'group')}" if num_groups else ""
    return ", ".join(part for part in (runs, counted(num_evaluations, "evaluation") if num_evaluations else "") if part)


def number(value: float, digits: int = 3) -> str:
    """Fixed digits; ``ABSENT`` for NaN."""
    return ABSENT if math.isnan(value) else f"{value:.{digits}f}"


def spread(value: Spread) -> str:
    """Mean and SD, as in "0.341 ± 0.012"; the mean alone for one run."""
    return number(value.mean) if math.isnan(value.sd) else f"{value.mean:.3f} ± {value.sd:.3f}"


def signed(value: float) -> str:
    """With its sign; ``ABSENT`` for NaN."""
    return ABSENT if math.isnan(value) else f"{value:+.3f}"


def difference(value: Difference) -> str:
    """As in "+0.021 [+0.004, +0.037]"."""
    return f"{value.value:+.3f} {interval(value.low, value.high, is_signed=True)}"


def interval(low: float, high: float, is_signed: bool = False) -> str:
    """As in "[0.310, 0.342]"; ``ABSENT`` for NaN."""
    if math.isnan(low):
        return ABSENT
    return f"[{low:+.3f}, {high:+.3f}]" if is_signed else f"[{low:.3f}, {high:.3f}]"


def p_value(value: float) -> str:
    """Three digits, "<0.001" below that."""
    return "<0.001" if value < 0.001 else number(value)


def runs_cell(group: Group) -> str:
    """How many runs; where not all are finished with their states, as in "3: 2 finished, 1 failed"."""
    counts = group.state_counts()
    if group.evaluation is not None:
        return "evaluation" if RunState.FINISHED in counts else f"evaluation: {group.runs[0].state}"
    if list(counts) == [RunState.FINISHED]:
        return str(len(group.runs))
    return f"{len(group.runs)}: " + ", ".join(f"{count} {state}" for state, count in counts.items())


def steps_cell(group: Group) -> str:
    """Steps done: one number, or the range over the runs; an evaluation has none."""
    if group.evaluation is not None:
        return ABSENT
    steps = sorted({run.last_step for run in group.runs})
    return str(steps[0]) if len(steps) == 1 else f"{steps[0]}–{steps[-1]}"


def step_of(run: Run) -> str:
    """Steps done, as in "120 of 500"."""
    return str(run.last_step) if run.num_steps is None else f"{run.last_step} of {run.num_steps}"


def p_cells(comparison: Comparison, group: Group) -> tuple[str, str, str]:
    """Difference of macro F1 from the baseline with its interval, p over studies, p over seeds."""
    if group is comparison.baseline:
        return "baseline", "", ""
    found = comparison.significance[group.label]
    if found.is_of_other_studies:
        return NOT_COMPARABLE, ABSENT, ABSENT
    seeds = found.seeds.get("macro_f1")
    over_seeds = ABSENT if seeds is None else p_value(seeds.p)
    if "macro_f1" not in found.studies:
        return (ABSENT if seeds is None else signed(seeds.difference)), ABSENT, over_seeds
    return difference(found.studies["macro_f1"]), p_value(found.studies["macro_f1"].p_value), over_seeds


def p_over_seeds_note(comparison: Comparison) -> str:
    """How the numbers against the baseline were made."""
    kinds = {test.is_paired for found in comparison.significance.values() for test in found.seeds.values()}
    named = {
        frozenset({True}): "paired t test over shared seeds",
        frozenset({False}): "Welch's t test over seeds",
        frozenset({True, False}): "t test over seeds, paired where both sides have the same seeds",
    }.get(frozenset(kinds), "t test, needs at least 2 runs on each side")
    return (
        "± is the SD over runs. Δ is macro F1 minus the baseline's on the same test studies, 95 % interval and "
        f"p (studies) from 1,000 paired bootstrap resamples of the studies; p (seeds): {named}. "
        "p values are not adjusted for the number of groups; --csv also has Holm's."
    )
