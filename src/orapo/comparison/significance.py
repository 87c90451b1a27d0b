"""Is a group better than the baseline: over the test studies (paired bootstrap) and over the seeds (t test)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from orapo.comparison.groups import Group, score
from orapo.comparison.report_marks import COLUMNS_PER_RUN, ReportMarks, mean_scores, read_report_marks
from orapo.comparison.statistics import TTest, holm, paired_t_test, welch_t_test
from orapo.errors import DataError
from orapo.evaluation.resampling import Array, Bootstrap, Difference, Measures

BOOTSTRAP = Bootstrap(num_resamples=1000, seed=0)
TESTED = ("macro_f1", "micro_f1")
OTHER_STUDIES = "other test studies, or another truth, than the baseline's: not comparable"
RUNS_AT_ONCE = 50
"""Runs resampled in one matrix product: 1,000 resamples of 28 counts each, 11 MB."""


@dataclass(frozen=True)
class Significance:
    """A group against the baseline, group minus baseline.

    Attributes:
        studies: tested score to its paired difference over test studies, the groups' runs held fixed; empty where they
            can't be paired.
        seeds: tested score to its t test over seeds; a score is missing where one side has fewer than 2 runs, and all
            are where the sides were tested on different studies.
        adjusted_p: of ``studies``, by Holm's method over all groups, by score.
        note: why ``studies`` is empty; empty text where it is not.
    """

    studies: Mapping[str, Difference]
    seeds: Mapping[str, TTest]
    adjusted_p: Mapping[str, float]
    note: str = ""

    @property
    def is_of_other_studies(self) -> bool:
        """Whether the two sides were tested on different studies: no number of theirs may be compared."""
        return self.note == OTHER_STUDIES


def against_baseline(groups: Sequence[Group], baseline: Group) -> tuple[dict[str, Significance], list[str]]:
    """Every other group against the baseline, by label, and what could not be read."""
    problems: list[str] = []
    others = [group for group in groups if group is not baseline]
    if not others:
        return {}, []
    base = _marks(baseline, problems)
    found: dict[str, Significance] = {}
    paired: dict[str, list[ReportMarks]] = {}
    for group in others:
        marks = [] if isinstance(base, str) else _marks(group, problems)
        note = base if isinstance(base, str) else marks if isinstance(marks, str) else ""
        if not isinstance(base, str) and not isinstance(marks, str):
            if marks[0].studies == base[0].studies:
                paired[group.label] = marks
            else:
                note = OTHER_STUDIES
        seeds = {} if note == OTHER_STUDIES else _over_seeds(group, baseline)
        found[group.label] = Significance({}, seeds, {}, note)
    if paired and not isinstance(base, str):
        for label, differences in _over_studies(paired, base).items():
            found[label] = replace(found[label], studies=differences)
    return _adjusted(found), problems


def _marks(group: Group, problems: list[str]) -> list[ReportMarks] | str:
    """The marks of a group's finished runs, all on the same studies, or why there are none."""
    marks = []
    for run in group.finished:
        try:
            read = read_report_marks(run)
        except DataError as error:
            problems.append(str(error))
            return f"{run.reports.name} can't be read"
        if read is None:
            return f"{run.name} has no {run.reports.name}"
        marks.append(read)
    if not marks:
        return "no finished run"
    if len({mark.studies for mark in marks}) > 1:
        return "its runs were tested on different studies"
    return marks


def _over_studies(
    groups: Mapping[str, Sequence[ReportMarks]], base: Sequence[ReportMarks]
) -> dict[str, dict[str, Difference]]:
    found: dict[str, dict[str, Difference]] = {label: {} for label in groups}
    for labels in _batches(groups):
        ours = _measures([list(groups[label]) for label in labels])
        theirs = _measures([list(base)], copies=len(labels))
        for name, difference in BOOTSTRAP.differences(ours, theirs).items():
            place, _, key = name.partition("/")
            found[labels[int(place)]][key] = difference
    return found


def _batches(groups: Mapping[str, Sequence[ReportMarks]]) -> list[list[str]]:
    batches: list[list[str]] = [[]]
    size = 0
    for label, marks in groups.items():
        if batches[-1] and size + len(marks) > RUNS_AT_ONCE:
            batches.append([])
            size = 0
        batches[-1].append(label)
        size += len(marks)
    return batches


def _measures(groups: Sequence[Sequence[ReportMarks]], copies: int = 1) -> Measures:
    """Scores of several groups on the same N studies, named "place/score"; one group may stand at several places."""
    runs = [mark for group in groups for mark in group]
    true = runs[0].true.astype(np.float64)
    edges = np.cumsum([true.shape[1], *(COLUMNS_PER_RUN * len(group) for group in groups)]).tolist()

    def from_sums(sums: Array) -> dict[str, Array]:
        support = sums[:, : true.shape[1]]
        scores = [mean_scores(sums[:, a:b], support) for a, b in pairwise(edges)]
        return {f"{place}/{key}": values[key] for place, values in enumerate(scores * copies) for key in TESTED}

    return Measures(np.concatenate([true, *(mark.columns() for mark in runs)], axis=1), from_sums, {})


def _over_seeds(group: Group, baseline: Group) -> dict[str, TTest]:
    tests = {}
    for key in TESTED:
        ours, theirs = _by_seed(group, key), _by_seed(baseline, key)
        shared = [seed for seed in ours if seed in theirs]
        if len(shared) >= 2 and len(ours) == len(group.finished) and len(theirs) == len(baseline.finished):
            tests[key] = paired_t_test([ours[seed] for seed in shared], [theirs[seed] for seed in shared])
            continue
        first, second = _values(group, key), _values(baseline, key)
        if len(first) >= 2 and len(second) >= 2:
            tests[key] = welch_t_test(first, second)
    return tests


def _by_seed(group: Group, key: str) -> dict[int | None, float]:
    """Runs of the same seed twice make this shorter than the group: then nothing is paired."""
    return {run.seed: score(run, key) for run in group.finished}


def _values(group: Group, key: str) -> list[float]:
    return [score(run, key) for run in group.finished]


def _adjusted(found: Mapping[str, Significance]) -> dict[str, Significance]:
    labels = list(found)
    by_key = {
        key: holm([found[label].studies[key].p_value if found[label].studies else math.nan for label in labels])
        for key in TESTED
    }
    return {
        label: replace(found[label], adjusted_p={key: by_key[key][place] for key in TESTED})
        for place, label in enumerate(labels)
    }
