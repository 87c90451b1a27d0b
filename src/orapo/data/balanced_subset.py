"""Chooses a training subset: balanced, at random, or of studies that the base policy fails on.

Balanced over the observations; questions, over their groups: what a study counts for are its classes.
"""

import hashlib
import json
import logging
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, islice
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from orapo.chexpert import OBSERVATIONS, label_state_to_code, positive_observations
from orapo.data.ranking import read_ranking
from orapo.data.source import StudyEntry
from orapo.data.splits import seeded_rank
from orapo.data.subset_manifest import SubsetManifest
from orapo.errors import DataError, SettingError
from orapo.settings import Fraction, Text, settings

__all__ = ["RULE", "BalancedSubset", "SubsetManifest"]

logger = logging.getLogger(__name__)

NUM_CANDIDATES = 128
"""Studies compared at each step; 1 leaves the commonest observation three times as frequent as the rarest."""

RULE = (
    "studies are put in a random order by a seeded hash of their id; again and again, the observation with the fewest "
    f"positives so far takes, of its first {NUM_CANDIDATES} studies left, the one whose positive observations are "
    "rarest so far on average; studies without any positive observation come last"
)


RULES = {
    "balanced": RULE,
    "random": "studies are taken in a random order by a seeded hash of their id",
    "hard": (
        "studies are taken from the highest zero-reward rate of the base policy downwards; where not all studies of "
        f"one rate are needed: {RULE}"
    ),
}
"""In words, for the manifest."""

Tier = list[StudyEntry]
Classes = frozenset[str]
"""Of one study: its positive observations, or its question's group."""


@settings
class BalancedSubset:
    """Choice of studies, by default a greedy one by their positive labels, or by the groups of questions.

    Every observation waits its turn, "No Finding" too, and that one gets ahead of another only when the other has no
    study left. Depends on the seed and the set of studies, not on their order; 400 studies are the first 400 of the
    1,000 chosen from the same pool with the same seed.

    Attributes:
        num_studies: how many to choose, at least 1.
        seed: another seed gives another subset.
        uncertain_is_positive: whether uncertain labels count as positive; say the same as the reward does.
        allow_fewer: a pool smaller than ``num_studies`` is used whole, with a note in log and manifest; False refuses.
        rule: "balanced"; "random"; or "hard": the highest rates of ``ranking`` first, balanced within a rate.
        ranking: the table that ``orapo data rank`` writes, for "hard"; studies that aren't in it are not taken.
        least_zero_rate: in [0, 1]; studies below it are not taken by "hard".
        most_zero_rate: in [0, 1]; studies above it are not taken by "hard". Below 1 leaves out studies without any
            rewarded sample: their advantages are all 0, and only the oracle report teaches.
    """

    num_studies: PositiveInt
    seed: NonNegativeInt
    uncertain_is_positive: bool = False
    allow_fewer: bool = True
    rule: Literal["balanced", "random", "hard"] = "balanced"
    ranking: Text | None = None
    least_zero_rate: Fraction = 0.0
    most_zero_rate: Fraction = 1.0

    def __post_init__(self) -> None:
        if self.rule == "hard" and self.ranking is None:
            raise SettingError("ranking is None; rule=hard needs the table that `orapo data rank` writes")
        if self.rule != "hard" and self.ranking is not None:
            raise SettingError(f"ranking is {self.ranking!r}, and rule is {self.rule!r}; only rule=hard reads it")
        if self.least_zero_rate > self.most_zero_rate:
            raise SettingError(
                f"least_zero_rate is {self.least_zero_rate}; it must be at most most_zero_rate, {self.most_zero_rate}"
            )

    def choose(
        self,
        studies: Sequence[StudyEntry],
        *,
        is_usable: Callable[[str], bool] = lambda study_id: True,
        source_digest: str | None = None,
    ) -> SubsetManifest:
        """Chooses among the studies of one split; 230,000 take a few seconds.

        Args:
            studies: the pool, in any order.
            is_usable: asked for each study (by id) that is about to be taken, and never twice; another is taken in
                place of one that isn't. So only the reports of the chosen few need to be opened.
            source_digest: to be recorded; that of the pool's ids and labels when None.

        Raises:
            DataError: the pool is empty, smaller than ``num_studies`` where that isn't allowed, or has a study twice.
        """
        self._check_pool(studies)
        rates = {} if self.ranking is None else read_ranking(self.ranking, source_digest)
        tiers = list(self._tiers(sorted(studies, key=self._seeded), rates))
        num_candidates = sum(map(len, tiers))
        self._check_number(num_candidates, len(studies), 0)
        choice = _GreedyChoice(self.num_studies, is_usable)
        for tier in tiers:
            positives = self._positives(tier)
            num_left = self.num_studies - len(choice.chosen)
            if self.rule == "random" or len(tier) < num_left or num_candidates < self.num_studies:
                choice.take_all(positives, _ALL_REASONS[self.rule])
            else:
                choice.take(positives)
        chosen, everything, names = choice.chosen, self._positives(studies), _all_classes(studies)
        return SubsetManifest(
            study_ids=tuple(chosen),
            num_requested=self.num_studies,
            num_pool=len(studies),
            num_unusable=choice.num_unusable,
            positives_before=_count(everything.values(), names),
            positives_after=_count((everything[study_id] for study_id in chosen), names),
            seed=self.seed,
            uncertain_is_positive=self.uncertain_is_positive,
            rule=RULES[self.rule],
            note=self._note(num_candidates, len(chosen), choice.num_unusable),
            source_digest=_pool_digest(studies) if source_digest is None else source_digest,
            reasons={
                study_id: f"zero-reward rate {rates[study_id]:.4g}; {reason}" if rates else reason
                for study_id, reason in chosen.items()
            },
        )

    def _seeded(self, study: StudyEntry) -> bytes:
        return seeded_rank(study.study_id, self.seed, "subset")

    def _tiers(self, ordered: Tier, rates: Mapping[str, float]) -> Iterator[Tier]:
        """The studies that may be taken, those to be taken first in the first list."""
        if self.rule != "hard":
            yield ordered
            return
        allowed = [
            study for study in ordered if self.least_zero_rate <= rates.get(study.study_id, -1.0) <= self.most_zero_rate
        ]
        if not allowed:
            raise DataError(
                f"{self.ranking} has no study of this source with a zero-reward rate in [{self.least_zero_rate}, "
                f"{self.most_zero_rate}]"
            )
        hardest_first = sorted(allowed, key=lambda study: -rates[study.study_id])
        for _, tier in groupby(hardest_first, key=lambda study: rates[study.study_id]):
            yield list(tier)

    def _positives(self, studies: Sequence[StudyEntry]) -> dict[str, Classes]:
        # Large sources share one mapping among the thousands of studies with the same states: it is read once.
        of_labels: dict[int, Classes] = {}
        positives: dict[str, Classes] = {}
        for study in studies:
            if study.question is not None:
                positives[study.study_id] = frozenset((study.question.group,))
                continue
            key = id(study.labels)
            if key not in of_labels:
                of_labels[key] = positive_observations(study.labels, uncertain_is_positive=self.uncertain_is_positive)
            positives[study.study_id] = of_labels[key]
        return positives

    def _check_pool(self, studies: Sequence[StudyEntry]) -> None:
        if not studies:
            raise DataError("there is no study to choose a subset from; at least one is needed")
        seen: set[str] = set()
        for study in studies:
            if study.study_id in seen:
                raise DataError(f"study {study.study_id} is twice among the studies to choose from; ids must be unique")
            seen.add(study.study_id)

    def _note(self, num_pool: int, num_chosen: int, num_unusable: int) -> str:
        """For the manifest: "" when there were enough studies."""
        if num_chosen == self.num_studies:
            return ""
        if not num_chosen:
            raise DataError(f"none of the {num_pool} studies to choose from can be used")
        found = self._check_number(num_chosen, num_pool, num_unusable)
        note = f"{found}: all are used, and the labels are as balanced as they came"
        logger.warning("balanced subset: %s", note)
        return note

    def _check_number(self, num_usable: int, num_pool: int, num_unusable: int) -> str:
        unusable = f" (of {num_pool}, {num_unusable} can't be used)" if num_unusable else ""
        found = f"{num_usable} studies to choose from{unusable}, fewer than the {self.num_studies} asked for"
        if num_usable < self.num_studies and not self.allow_fewer:
            raise DataError(f"there are {found}; ask for at most {num_usable}, or set allow_fewer")
        return found


_ALL_REASONS = {
    "balanced": "the pool is used whole",
    "random": "random order",
    "hard": "all studies of this rate are taken",
}


class _GreedyChoice:
    """The state of one choice: what is taken, why, and how many studies each class has."""

    def __init__(self, num_studies: int, is_usable: Callable[[str], bool]) -> None:
        self.num_unusable = 0
        self.chosen: dict[str, str] = {}
        """The reason of each study, in the order of choice."""
        self._num_studies = num_studies
        self._is_usable = is_usable
        self._count: Counter[str] = Counter()

    def take_all(self, positives: Mapping[str, Classes], reason: str) -> None:
        """The first studies that can be used, in the seeded order, until there are enough."""
        for study_id, present in positives.items():
            if len(self.chosen) == self._num_studies:
                return
            self._take(study_id, present, reason)

    def take(self, positives: Mapping[str, Classes]) -> None:
        """By the classes of each study, which are given in the seeded order, until there are enough."""
        # Ordered dicts begin at the first that is left; plain ones would look at all that were removed before it.
        waiting: defaultdict[str, OrderedDict[str, None]] = defaultdict(OrderedDict)
        for study_id, present in positives.items():
            for name in present:
                waiting[name][study_id] = None
        num_in_pool = {name: len(studies) for name, studies in waiting.items()}
        while waiting and len(self.chosen) < self._num_studies:
            # Ties go to the class with fewer studies in the pool: it is the first to run dry.
            neediest = min(waiting, key=lambda name: (self._count[name], num_in_pool[name], name))
            candidates = islice(waiting[neediest], NUM_CANDIDATES)
            study_id = min(candidates, key=lambda candidate: self._mean_count(positives[candidate]))
            for name in positives[study_id]:
                del waiting[name][study_id]
                if not waiting[name]:
                    del waiting[name]
            self._take(study_id, positives[study_id], f"{neediest} had the fewest positives")
        without = {study_id: present for study_id, present in positives.items() if not present}
        self.take_all(without, "no positive observation")

    def _mean_count(self, present: Classes) -> float:
        # The mean, not the sum: several rare findings in one study are welcome.
        return sum([self._count[name] for name in present]) / len(present)

    def _take(self, study_id: str, present: Classes, reason: str) -> None:
        if self._is_usable(study_id):
            self.chosen[study_id] = reason
            self._count.update(present)
        else:
            self.num_unusable += 1


def _all_classes(studies: Sequence[StudyEntry]) -> Sequence[str]:
    """The 14 observations, or the groups of a pool's questions."""
    groups = {study.question.group for study in studies if study.question is not None}
    return sorted(groups) if groups else OBSERVATIONS


def _count(positives: Iterable[Classes], classes: Sequence[str]) -> dict[str, int]:
    counts = Counter(chain.from_iterable(positives))
    return {name: counts[name] for name in classes}


def _pool_digest(studies: Sequence[StudyEntry]) -> str:
    digest = hashlib.sha256()
    for study in sorted(studies, key=lambda study: study.study_id):
        codes = [label_state_to_code(study.labels[observation]) for observation in OBSERVATIONS if study.labels]
        if study.question is not None:
            codes = [study.question.text, study.question.answer, study.question.group]
        digest.update(json.dumps([study.study_id, codes]).encode())
    return digest.hexdigest()
