"""Runs grouped by what differs in their configs except the seed."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from orapo.comparison.evaluation_folder import Evaluation
from orapo.comparison.run_folder import VALIDATION_KEYS, Run
from orapo.comparison.run_state import RunState
from orapo.comparison.scores import LOWEST_FIRST, SCORES
from orapo.comparison.statistics import Spread
from orapo.comparison.swept import shown_value, swept_settings
from orapo.errors import SettingError

IGNORED_KEYS = frozenset({"seed", "run_name", "resume"})
IGNORED_SECTIONS = ("paths.", "logger.", "callbacks.", "examiner.")
"""What is written where, and how often, is no difference between runs."""

ABSENT = "absent"
FOLLOWS_SEED = "the run's seed"
"""Value of a setting that the config ties to the run's seed, such as the draw of the training studies."""

SORT_KEYS = (*SCORES, "last_step", "name")


@dataclass(frozen=True)
class Group:
    """Runs of one config, apart from the seed; or one evaluation.

    Attributes:
        label: what sets it apart from the other groups.
        runs: in the order found.
        values: swept setting to this group's value.
    """

    label: str
    runs: tuple[Run, ...]
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.state is RunState.FINISHED)

    @property
    def evaluation(self) -> Evaluation | None:
        """None for a group of runs."""
        first = self.runs[0]
        return first if isinstance(first, Evaluation) else None

    def spread(self, key: str) -> Spread:
        """Mean and SD over the runs that have this score."""
        return Spread.of([score(run, key) for run in self.runs])

    def state_counts(self) -> dict[RunState, int]:
        """The number of runs in each state, in the order of ``RunState``."""
        states = [run.state for run in self.runs]
        return {state: states.count(state) for state in RunState if state in states}


def score(run: Run, key: str) -> float:
    """One score of a run; NaN where the run has none."""
    if key == "last_step":
        return float(run.last_step)
    curve = SCORES[key].curve
    if not curve:
        return run.scores.get(key, math.nan)
    _, values = run.curves.get(curve, (None, np.empty(0)))
    num_last = 1 if curve in VALIDATION_KEYS else max(1, len(values) // 10)
    return float(values[-num_last:].mean()) if len(values) else math.nan


def group_runs(found: Sequence[Run], ignored: Collection[str] = ()) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    """Groups in the order of their first runs, and the names of the settings by which they differ.

    An evaluation is a group of its own, after those of runs: no setting of training describes it.

    Args:
        found: of one or several sweeps.
        ignored: further settings that don't tell runs apart.
    """
    runs = [run for run in found if not isinstance(run, Evaluation)]
    with_settings = [run for run in runs if run.settings]
    columns = _differing_columns(with_settings, ignored)
    grouped: dict[tuple[str, ...], list[Run]] = {}
    for place, run in enumerate(with_settings):
        grouped.setdefault(tuple(marks[place] for marks in columns.values()), []).append(run)
    members = [tuple(group) for group in grouped.values()]
    swept = swept_settings(members, list(columns))
    values = [{name: column[place] for name, column in swept.items()} for place in range(len(members))]
    groups = [Group(_label(own, group), group, own) for own, group in zip(values, members, strict=True)]
    # A run that was refused or killed before it wrote its config belongs to no group, and is shown.
    groups += [Group(f"(no config) {run.name}", (run,)) for run in runs if not run.settings]
    groups.sort(key=lambda group: runs.index(group.runs[0]))
    groups += [Group(one.title, (one,)) for one in found if isinstance(one, Evaluation)]
    labels = _unique([group.label for group in groups])
    return tuple(replace(group, label=label) for group, label in zip(groups, labels, strict=True)), tuple(swept)


def _label(values: Mapping[str, Any], group: Sequence[Run]) -> str:
    told = ", ".join(f"{name}={shown_value(value)}" for name, value in values.items())
    return told or str(group[0].settings.get("run_name", group[0].name))


def _unique(labels: Sequence[str]) -> list[str]:
    """Numbers groups that the shown settings don't tell apart: two groups never share a label."""
    found: list[str] = []
    for label in labels:
        own, number = label, 1
        while own in found:
            number += 1
            own = f"{label} ({number})"
        found.append(own)
    return found


def _differing_columns(runs: Sequence[Run], ignored: Collection[str]) -> dict[str, list[str]]:
    """Each setting that differs between runs, with a text per run that is equal where two runs agree."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    ignored = {*IGNORED_KEYS, *ignored}
    columns = {key: _marks(runs, key) for key in keys if key not in ignored and not key.startswith(IGNORED_SECTIONS)}
    return {key: marks for key, marks in columns.items() if len(set(marks)) > 1}


def _marks(runs: Sequence[Run], key: str) -> list[str]:
    marks = [_mark(run.settings.get(key, ABSENT)) for run in runs]
    if not key.endswith(".seed") or len(set(marks)) == 1:
        return marks
    # A fixed seed may equal one run's by chance; one that is tied to the run's seed does so for several.
    equal = [run.settings.get(key) == run.seed for run in runs]
    is_tied = len({run.seed for run, is_equal in zip(runs, equal, strict=True) if is_equal}) > 1
    return [FOLLOWS_SEED if is_tied and is_equal else mark for mark, is_equal in zip(marks, equal, strict=True)]


def _mark(value: Any) -> str:
    # 1 and 1.0 are the same setting; True is not 1.
    return repr(float(value)) if isinstance(value, int) and not isinstance(value, bool) else repr(value)


def sorted_groups(groups: Sequence[Group], key: str) -> tuple[Group, ...]:
    """Best first: highest, or lowest for times and rates of failure; groups without the number last.

    Raises:
        SettingError: an unknown key.
    """
    if key not in SORT_KEYS:
        raise SettingError(f"--sort is {key!r}; allowed: {', '.join(SORT_KEYS)}")
    if key == "name":
        return tuple(sorted(groups, key=lambda group: group.label))

    def place(group: Group) -> tuple[bool, float]:
        mean = group.spread(key).mean
        return math.isnan(mean), mean if key in LOWEST_FIRST else -mean

    return tuple(sorted(groups, key=place))


def choose_baseline(groups: Sequence[Group], name: str | None) -> Group:
    """The group to compare with: the named one, else the first found that has finished runs, else the first.

    Args:
        groups: in the order found.
        name: a label, a part of exactly one label, or a run's folder.

    Raises:
        SettingError: no group, or several, by this name.
    """
    if name is None:
        return next((group for group in groups if group.finished), groups[0])
    exact = [group for group in groups if name == group.label or _holds(group, name)]
    found = exact or [group for group in groups if name in group.label]
    if len(found) != 1:
        what = "no group" if not found else f"{len(found)} groups"
        raise SettingError(f"--baseline {name!r} names {what}; the groups are: {'; '.join(g.label for g in groups)}")
    return found[0]


def _holds(group: Group, name: str) -> bool:
    return any(name.rstrip("/") in (str(run.folder), run.name, run.folder.name) for run in group.runs)
