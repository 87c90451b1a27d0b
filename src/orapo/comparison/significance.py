"""Is a group better than the baseline: over the test studies (paired bootstrap) and over the seeds (t test)."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from orapo.comparison.groups import Group, score
from orapo.comparison.run_folder import Run
from orapo.comparison.scores import SCORES
from orapo.comparison.statistics import TTest, holm, paired_t_test, welch_t_test
from orapo.errors import DataError
from orapo.evaluation.answers import ACCURACY, answer_measures
from orapo.evaluation.clinical import READINGS, clinical_measures, positive_matrix, reading_of
from orapo.evaluation.report_pairs import read_report_pairs
from orapo.evaluation.resampling import Bootstrap, Difference, Draws, Measures, mean_of, renamed

BOOTSTRAP = Bootstrap(num_resamples=1000, seed=0)
TESTED = ("macro_f1", "micro_f1", "accuracy")
"""Of reports the first two, of questions the last."""
OTHER_STUDIES = "other test studies, or another truth, than the baseline's: not comparable"


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
    base = _tested(baseline, problems) if others else ""
    found = {}
    for group in others:
        own = base if isinstance(base, str) else _tested(group, problems)
        if isinstance(own, str) or isinstance(base, str):
            found[group.label] = Significance({}, _over_seeds(group, baseline), {}, str(own))
        elif own.studies != base.studies:
            found[group.label] = Significance({}, {}, {}, OTHER_STUDIES)
        else:
            differences = BOOTSTRAP.differences(own.draws, base.draws)
            found[group.label] = Significance(differences, _over_seeds(group, baseline), {})
    return _adjusted(found), problems


class Tested(NamedTuple):
    """The studies of a group's finished runs, as of ``_measured``, and the draws of their mean scores."""

    studies: Hashable
    draws: Draws


def _tested(group: Group, problems: list[str]) -> Tested | str:
    """A group's finished runs, all on the same studies, or why there is nothing to test."""
    studies, measures = set(), []
    for run in group.finished:
        if not run.reports.is_file():
            return f"{run.name} has no {run.reports.name}"
        try:
            own, of_run = _measured(run)
        except DataError as error:
            problems.append(str(error))
            return f"{run.reports.name} can't be read"
        studies.add(own)
        measures.append(of_run)
    if not measures:
        return "no finished run"
    if len(studies) > 1:
        return "its runs were tested on different studies"
    return Tested(studies.pop(), BOOTSTRAP.draw(mean_of(measures)))


def _measured(run: Run) -> tuple[Hashable, Measures]:
    """The studies in the order of their ids, and the tested scores, under the run's own reading of uncertain labels.

    The studies are equal where two runs were tested on the same ones with the same truth.
    """
    pairs = sorted(read_report_pairs(run.reports), key=lambda pair: pair.study_id)
    answers = [pair.answer for pair in pairs if pair.answer is not None]
    if answers:
        studies = tuple((pair.study_id, answer.expected) for pair, answer in zip(pairs, answers, strict=True))
        return studies, renamed(answer_measures(answers), {ACCURACY: ACCURACY})
    reading = reading_of(run.settings.get("data.uncertain_is_positive") is True)
    true = positive_matrix([pair.oracle_states for pair in pairs], uncertain_is_positive=READINGS[reading])
    states = [pair.generated_states for pair in pairs], [pair.oracle_states for pair in pairs]
    measures = clinical_measures(*states, (reading,))
    names = {key: f"{reading}/{SCORES[key].measure}" for key in TESTED if key != ACCURACY}
    return (*(pair.study_id for pair in pairs), true.tobytes()), renamed(measures, names)


def _over_seeds(group: Group, baseline: Group) -> dict[str, TTest]:
    tests = {}
    for key in TESTED:
        # Runs of the same seed twice make these shorter than their groups: then nothing is paired.
        ours, theirs = ({run.seed: score(run, key) for run in side.finished} for side in (group, baseline))
        if any(map(math.isnan, (*ours.values(), *theirs.values()))):
            continue
        shared = [seed for seed in ours if seed in theirs]
        if len(shared) >= 2 and len(ours) == len(group.finished) and len(theirs) == len(baseline.finished):
            tests[key] = paired_t_test([ours[seed] for seed in shared], [theirs[seed] for seed in shared])
            continue
        first, second = ([score(run, key) for run in side.finished] for side in (group, baseline))
        if len(first) >= 2 and len(second) >= 2:
            tests[key] = welch_t_test(first, second)
    return tests


def _adjusted(found: Mapping[str, Significance]) -> dict[str, Significance]:
    by_key = {
        key: holm([one.studies[key].p_value if key in one.studies else math.nan for one in found.values()])
        for key in TESTED
    }
    return {
        label: replace(one, adjusted_p={key: adjusted[place] for key, adjusted in by_key.items()})
        for place, (label, one) in enumerate(found.items())
    }
