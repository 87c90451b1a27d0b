"""Builds from run folders everything that the tables, files and pages show."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from orapo.comparison.effects import SettingEffect, setting_effects
from orapo.comparison.evaluation_folder import Evaluation, is_evaluation, read_evaluation
from orapo.comparison.groups import Group, choose_baseline, group_runs, sorted_groups
from orapo.comparison.published import PublishedTable, published_tables
from orapo.comparison.run_folder import Run, find_runs, read_run
from orapo.comparison.run_state import RunState
from orapo.comparison.scores import SCORES
from orapo.comparison.significance import Significance, against_baseline
from orapo.evaluation.answers import ACCURACY

DEFAULT_SORT = "macro_f1"
EFFECT_SCORES = tuple(key for key, one in SCORES.items() if one.summary or one.curve)


@dataclass(frozen=True)
class Comparison:
    """Runs and evaluations side by side.

    Attributes:
        groups: sorted.
        baseline: one of them.
        swept: names of the settings by which they differ.
        significance: every other group against the baseline, by label.
        effects: of the swept settings on ``sort``, or on macro F1 where it is no score.
        published: the paper's tables; empty unless asked for.
        problems: files that could not be read, a line each.
        sort: what the groups are sorted by.
        headline: the score that groups are compared by: macro F1, or accuracy where the runs answered questions.
    """

    groups: tuple[Group, ...]
    baseline: Group
    swept: tuple[str, ...]
    significance: dict[str, Significance]
    effects: tuple[SettingEffect, ...]
    published: tuple[PublishedTable, ...]
    problems: tuple[str, ...]
    sort: str
    headline: str

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs, group by group, without the evaluations."""
        return tuple(run for group in self.groups if group.evaluation is None for run in group.runs)

    @property
    def evaluations(self) -> tuple[tuple[Group, Evaluation], ...]:
        """All evaluations that could be read, each with its group."""
        finished = (group for group in self.groups if group.finished)
        return tuple((group, one) for group in finished if (one := group.evaluation) is not None)

    def is_comparable(self, group: Group) -> bool:
        """Whether the group is not known to be tested on other studies than the baseline."""
        return group is self.baseline or not self.significance[group.label].is_of_other_studies

    @property
    def unfinished(self) -> tuple[Run, ...]:
        """The runs and evaluations without test scores."""
        return tuple(run for group in self.groups for run in group.runs if run.state is not RunState.FINISHED)


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
        paths: folders of runs, sweeps or evaluations, or folders above them.
        sort: one of ``groups.SORT_KEYS``; by macro F1, questions are sorted by accuracy.
        baseline: label, or part of one, or a run's folder; None takes the first group found.
        with_published: whether to add the paper's tables.
        ignored: settings that don't tell runs apart.

    Raises:
        DataError: a path without runs and evaluations.
        SettingError: an unknown sort key or baseline.
    """
    found = [read_evaluation(one) if is_evaluation(one) else read_run(one) for one in find_runs(paths)]
    groups, swept = group_runs(found, ignored)
    chosen = choose_baseline(groups, baseline)
    scores = {key for group in groups for run in group.runs for key in run.scores}
    headline = ACCURACY if ACCURACY in scores and DEFAULT_SORT not in scores else DEFAULT_SORT
    sort = headline if sort == DEFAULT_SORT else sort
    ordered = sorted_groups(groups, sort)
    significance, problems = against_baseline(ordered, chosen)
    key = sort if sort in EFFECT_SCORES else headline
    return Comparison(
        groups=ordered,
        baseline=chosen,
        swept=swept,
        significance=significance,
        effects=setting_effects(groups, swept, chosen, key),
        published=published_tables() if with_published else (),
        problems=tuple(problems),
        sort=sort,
        headline=headline,
    )
