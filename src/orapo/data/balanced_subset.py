"""Chooses a training subset in which rare observations are as frequent as common ones, as far as the data allow."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence

from pydantic import NonNegativeInt, PositiveInt

from orapo.chexpert import OBSERVATIONS, Observation, label_state_to_code, positive_observations
from orapo.data.source import StudyEntry
from orapo.data.splits import seeded_rank
from orapo.data.subset_manifest import SubsetManifest
from orapo.errors import DataError
from orapo.settings import settings

__all__ = ["RULE", "BalancedSubset", "SubsetManifest"]

logger = logging.getLogger(__name__)

NUM_CANDIDATES = 128
"""Studies compared at each step; 1 leaves the commonest observation three times as frequent as the rarest."""

RULE = (
    "studies are put in a random order by a seeded hash of their id; again and again, the observation with the fewest "
    f"positives so far takes, of its first {NUM_CANDIDATES} studies left, the one whose positive observations are "
    "rarest so far on average; studies without any positive observation come last"
)


def _every_study(study_id: str) -> bool:
    return True


@settings
class BalancedSubset:
    """Greedy choice of studies by their positive labels.

    Every observation waits its turn, "No Finding" too, and that one gets ahead of another only when the other has no
    study left. Depends on the seed and the set of studies, not on their order; 400 studies are the first 400 of the
    1,000 chosen from the same pool with the same seed.

    Attributes:
        num_studies: how many to choose, at least 1.
        seed: another seed gives another subset.
        uncertain_is_positive: whether uncertain labels count as positive; say the same as the reward does.
        allow_fewer: a pool smaller than ``num_studies`` is used whole, with a note in log and manifest; False refuses.
    """

    num_studies: PositiveInt
    seed: NonNegativeInt
    uncertain_is_positive: bool = False
    allow_fewer: bool = True

    def choose(
        self,
        studies: Sequence[StudyEntry],
        *,
        is_usable: Callable[[str], bool] = _every_study,
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
        ordered = sorted(studies, key=lambda study: seeded_rank(study.study_id, self.seed, "subset"))
        positives = self._positives(ordered)
        choice = _GreedyChoice(positives, is_usable)
        if len(positives) >= self.num_studies:
            chosen = choice.take(self.num_studies)
        else:
            chosen = [study_id for study_id in positives if choice.accepts(study_id)]
        return SubsetManifest(
            study_ids=tuple(chosen),
            num_requested=self.num_studies,
            num_pool=len(studies),
            num_unusable=choice.num_unusable,
            positives_before=_count(positives.values()),
            positives_after=_count(positives[study_id] for study_id in chosen),
            seed=self.seed,
            uncertain_is_positive=self.uncertain_is_positive,
            rule=RULE,
            note=self._note(len(studies), len(chosen), choice.num_unusable),
            source_digest=_pool_digest(studies) if source_digest is None else source_digest,
        )

    def _positives(self, studies: Sequence[StudyEntry]) -> dict[str, frozenset[Observation]]:
        # Large sources share one mapping among the thousands of studies with the same states: it is read once.
        of_labels: dict[int, frozenset[Observation]] = {}
        positives = {}
        for study in studies:
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
        self._check_number(len(studies), len(studies), 0)

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


class _GreedyChoice:
    """The state of one choice: what each observation has, and what is left of its queue."""

    def __init__(self, positives: dict[str, frozenset[Observation]], is_usable: Callable[[str], bool]) -> None:
        """Takes the positive observations of each study, in the seeded order."""
        self.num_unusable = 0
        self._positives = positives
        self._is_usable = is_usable
        self._count = dict.fromkeys(OBSERVATIONS, 0)
        self._taken: set[str] = set()
        queues: dict[Observation, list[str]] = {observation: [] for observation in OBSERVATIONS}
        for study_id, present in positives.items():
            for observation in present:
                queues[observation].append(study_id)
        self._num_in_pool = {observation: len(queue) for observation, queue in queues.items()}
        self._queues = {observation: iter(queue) for observation, queue in queues.items()}
        self._windows: dict[Observation, list[str]] = {observation: [] for observation in OBSERVATIONS}

    def take(self, num_studies: int) -> list[str]:
        """Ids in the order of choice; ``num_studies`` is at most the number of studies."""
        chosen: list[str] = []
        open_observations = set(OBSERVATIONS)
        while len(chosen) < num_studies and open_observations:
            # Ties go to the observation with fewer studies in the pool: it is the first to run dry.
            neediest = min(open_observations, key=lambda o: (self._count[o], self._num_in_pool[o], o))
            candidates = self._candidates(neediest)
            if not candidates:
                open_observations.remove(neediest)
                continue
            study_id = min(candidates, key=self._mean_count)
            self._taken.add(study_id)
            if self.accepts(study_id):
                chosen.append(study_id)
                self._count_positives(study_id)
        unlabelled = (study_id for study_id, present in self._positives.items() if not present)
        while len(chosen) < num_studies and (study_id := next(unlabelled, "")):
            if self.accepts(study_id):
                chosen.append(study_id)
        return chosen

    def accepts(self, study_id: str) -> bool:
        """Whether the study can be used; counts those that can't."""
        accepted = self._is_usable(study_id)
        self.num_unusable += not accepted
        return accepted

    def _candidates(self, observation: Observation) -> list[str]:
        window = [study_id for study_id in self._windows[observation] if study_id not in self._taken]
        for study_id in self._queues[observation]:
            if study_id not in self._taken:
                window.append(study_id)
            if len(window) >= NUM_CANDIDATES:
                break
        self._windows[observation] = window
        return window

    def _mean_count(self, study_id: str) -> float:
        # The mean, not the sum: several rare findings in one study are welcome.
        present = self._positives[study_id]
        return sum([self._count[observation] for observation in present]) / len(present)

    def _count_positives(self, study_id: str) -> None:
        for observation in self._positives[study_id]:
            self._count[observation] += 1


def _count(positives: Iterable[frozenset[Observation]]) -> dict[Observation, int]:
    counts = dict.fromkeys(OBSERVATIONS, 0)
    for present in positives:
        for observation in present:
            counts[observation] += 1
    return counts


def _pool_digest(studies: Sequence[StudyEntry]) -> str:
    digest = hashlib.sha256()
    for study in sorted(studies, key=lambda study: study.study_id):
        codes = [label_state_to_code(study.labels[observation]) for observation in OBSERVATIONS]
        digest.update(json.dumps([study.study_id, codes]).encode())
    return digest.hexdigest()
