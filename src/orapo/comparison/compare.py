"""From run folders to everything that the table, the files and the page show."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from orapo.comparison.effects import SettingEffect, setting_effects
from orapo.comparison.find_runs import find_runs
from orapo.comparison.groups import Group, choose_baseline, group_runs, sorted_groups
from orapo.comparison.published import PublishedTable, published_tables
from orapo.comparison.run_folder import SUMMARY_SCORES, Run, read_run
from orapo.comparison.run_state import RunState
from orapo.comparison.significance import Significance, against_baseline
from orapo.comparison.swept import Swept

DEFAULT_SORT = "macro_f1"
EFFECT_SCORES = (*SUMMARY_SCORES, "validation_macro_f1", "reward", "zero_reward_rate")


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        groups: sorted.
        baseline: one of them.
        swept: the settings by which they differ.
        significance: every other group against the baseline, by label.
        effects: of the swept settings on ``sort``, or on macro F1 where it is no score.
        published: the paper's tables; empty unless asked for.
        problems: files that could not be read, a line each.
        sort: what the groups are sorted by.
    """

    groups: tuple[Group, ...]
    baseline: Group
    swept: tuple[Swept, ...]
    significance: dict[str, Significance]
    effects: tuple[SettingEffect, ...]
    published: tuple[PublishedTable, ...]
    problems: tuple[str, ...]
    sort: str

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs, group by group."""
        return tuple(run for group in self.groups for run in group.runs)

    @property
    def unfinished(self) -> tuple[Run, ...]:
        """The runs without test scores."""
        return tuple(run for run in self.runs if run.state is not RunState.FINISHED)


def compare_runs(
    paths: Sequence[Path],
    *,
    sort: str = DEFAULT_SORT,
    baseline: str | None = None,
    with_published: bool = False,
    ignored: Collection[str] = (),
) -> Comparison:
    """Reads, groups, tests and sorts the runs below ``paths``.

    Args:
        paths: run folders, sweep folders or folders above them.
        sort: one of ``groups.SORT_KEYS``.
        baseline: label, or part of one, or a run's folder; None takes the first group found.
        with_published: whether to add the paper's tables.
        ignored: settings that don't tell runs apart.

    Raises:
        DataError: a path without runs.
        SettingError: an unknown sort key or baseline.
    """
    runs = [read_run(folder) for folder in find_runs(paths)]
    groups, swept = group_runs(runs, ignored)
    chosen = choose_baseline(groups, baseline)
    ordered = sorted_groups(groups, sort)
    significance, problems = against_baseline(ordered, chosen)
    key = sort if sort in EFFECT_SCORES else DEFAULT_SORT
    return Comparison(
        groups=ordered,
        baseline=chosen,
        swept=swept,
        significance=significance,
        effects=setting_effects(groups, swept, chosen, key),
        published=published_tables() if with_published else (),
        problems=tuple(problems),
        sort=sort,
    )
