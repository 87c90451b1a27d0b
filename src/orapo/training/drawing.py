"""Roll out and judge: the rollouts of a batch, what they earn, and groups without variance drawn again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from orapo.batches import RolloutGroup, StudyBatch
from orapo.chexpert import LabelStates
from orapo.objective.orapo import OrapoObjective
from orapo.policy.model import Policy
from orapo.policy.rollout_source import RolloutSource
from orapo.policy.settings import SamplingSettings
from orapo.records import Study
from orapo.reward.protocol import PendingRewards, Reward
from orapo.training.dynamic_sampling import flat_groups, with_redrawn
from orapo.training.naming_studies import naming_studies
from orapo.training.ranks import Ranks
from orapo.training.sharding import whole
from orapo.training.step import Rollouts, Stopwatch, Told, draw_seed, on_cpu


@dataclass(frozen=True)
class Drawn:
    """The rollouts that a step trains on, and what is known of them in all processes.

    Attributes:
        rollouts: of this process's studies, or None for an objective without rollouts.
        told: by each process, in order of rank.
        first_told: likewise, of the first draw.
        num_redrawn: groups that were drawn again, in all processes.
    """

    rollouts: Rollouts | None
    told: tuple[Told, ...]
    first_told: tuple[Told, ...]
    num_redrawn: int = 0

    @property
    def studies(self) -> list[Study]:
        """Of all processes."""
        return [study for one in self.told for study in one.studies]


class Drawing:
    """Draws the rollouts of a batch and has them judged, in all processes at once."""

    def __init__(
        self,
        policy: Policy,
        source: RolloutSource,
        reward: Reward,
        objective: OrapoObjective,
        sampling: SamplingSettings,
        ranks: Ranks,
        batch_size: int,
        seed: int,
    ) -> None:
        """Joins the parts.

        Args:
            policy: what the source samples from; its weights may be shared out among the processes.
            source: of rollouts.
            reward: judges them.
            objective: says whether rollouts are needed, and how often they are drawn again.
            sampling: how they are drawn.
            ranks: the processes.
            batch_size: B, studies of all processes.
            seed: of the draws where several processes train together.
        """
        self._policy = policy
        self._source = source
        self._reward = reward
        self._objective = objective
        self._sampling = sampling
        self._ranks = ranks
        self._batch_size = batch_size
        self._seed = seed

    def start(self, batch: StudyBatch, batch_index: int, watch: Stopwatch) -> Rollouts | None:
        """Draws K rollouts of each study and begins to judge them, once this has succeeded in all processes.

        Args:
            batch: of this process.
            batch_index: of the training step.
            watch: is told what takes how long.

        Returns:
            This process's own, or None where the objective needs none.

        Raises:
            NonFiniteError: a log-probability is NaN or infinite.
            RunPaused: no server samples.
        """

        def started() -> Rollouts | None:
            if not self._objective.needs_rollouts:
                return None
            with naming_studies(batch.studies):
                with watch.phase("rollout"):
                    groups = self._draw(batch, batch_index, range(len(batch)))
                with watch.phase("reward"):
                    return Rollouts(groups, self._start_judging(batch, groups))

        with whole(self._policy, self._ranks):
            return self._ranks.agree(started)

    def finish(self, batch: StudyBatch, batch_index: int, rollouts: Rollouts | None, watch: Stopwatch) -> Drawn:
        """Waits for the rewards; groups without variance are drawn again as often as the objective says.

        Raises:
            NonFiniteError: a reward or log-probability is NaN or infinite.
            RunPaused: no judge answers, or no server samples.
        """
        told = tuple(self._ranks.exchange(partial(self._tell, batch, rollouts, watch)))
        if rollouts is None or self._objective.max_redraws is None:
            return Drawn(rollouts, told, told)
        return self._draw_again(batch, batch_index, Drawn(rollouts, told, told), watch)

    def _draw(
        self, batch: StudyBatch, batch_index: int, places: Iterable[int], attempt: int = 0
    ) -> tuple[RolloutGroup, ...]:
        """Rollouts of these studies, which stand at ``places`` of this process's batch; draws differ by attempt."""
        if not self._ranks.is_joined:
            return self._source.roll_out(batch, self._sampling)
        # What a study draws depends on its place in the whole batch, not on the process that holds it.
        first = self._ranks.shard.of(self._batch_size).start + attempt * self._batch_size
        seeds = [draw_seed(self._seed, batch_index, first + place) for place in places]
        return self._source.roll_out(batch, self._sampling, seeds)

    def _start_judging(self, batch: StudyBatch, groups: Sequence[RolloutGroup]) -> PendingRewards:
        reports = [text for group in groups for text in group.texts]
        labels: list[LabelStates] = [study.labels for study in batch.studies for _ in range(self._sampling.per_study)]
        return self._reward.start(reports, labels)

    def _tell(self, batch: StudyBatch, rollouts: Rollouts | None, watch: Stopwatch) -> Told:
        """Waits for the rewards of this process's rollouts."""
        if rollouts is None:
            return Told(batch.studies)
        per_study = self._sampling.per_study
        with watch.phase("reward"), naming_studies(batch.studies):
            flat = rollouts.pending.result()
        judged = tuple(tuple(flat[i : i + per_study]) for i in range(0, len(flat), per_study))
        return Told(batch.studies, tuple(on_cpu(group) for group in rollouts.groups), judged)

    def _draw_again(self, batch: StudyBatch, batch_index: int, drawn: Drawn, watch: Stopwatch) -> Drawn:
        """Dynamic sampling: draws groups without variance again, up to the objective's limit."""
        assert drawn.rollouts is not None
        groups, told, num_redrawn = list(drawn.rollouts.groups), drawn.told, 0

        def redraw(attempt: int) -> Told:
            own = told[self._ranks.shard.rank]
            places = flat_groups(own.judged)
            if not places:
                return own
            part = batch.select(places)
            with watch.phase("rollout"):
                new = self._draw(part, batch_index, places, attempt)
            after = self._tell(part, Rollouts(new, self._start_judging(part, new)), watch)
            now, taken = with_redrawn(own, places, after.groups, after.judged)
            for place in taken:
                groups[place] = new[places.index(place)]
            return now

        for attempt in range(1, (self._objective.max_redraws or 0) + 1):
            num_flat = sum(len(flat_groups(one.judged)) for one in told)
            if num_flat == 0:
                break
            num_redrawn += num_flat
            with whole(self._policy, self._ranks):
                told = tuple(self._ranks.exchange(partial(redraw, attempt)))
        return Drawn(Rollouts(tuple(groups), drawn.rollouts.pending), told, drawn.first_told, num_redrawn)
