"""Rollouts one step ahead: a server samples the next batch, by the old weights, while this batch is updated."""

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import torch

from orapo.batches import RolloutGroup, StudyBatch
from orapo.errors import RunPaused
from orapo.policy.rollout_source import BackgroundSource
from orapo.policy.settings import SamplingSettings

Groups = tuple[RolloutGroup, ...]

_SEEDS = 2**48


@dataclass(frozen=True)
class _Sampled:
    """The rollouts of one step, sampled or still being sampled.

    Attributes:
        study_ids: of this process's share of the step's batch.
        seeds: of its studies.
        groups: as sampled; None where they were missing when the checkpoint was saved.
    """

    study_ids: tuple[str, ...]
    seeds: tuple[int, ...]
    groups: Future[Groups] | None


class RolloutsAhead:
    """Rollouts that are begun one step early; those of two steps are kept until the later step is over."""

    def __init__(self, source: BackgroundSource, sampling: SamplingSettings) -> None:
        """Begins nothing yet.

        Args:
            source: of rollouts.
            sampling: how they are sampled.
        """
        self._source = source
        self._sampling = sampling
        self._steps: dict[int, _Sampled] = {}
        self._step = 0

    def take(self, batch: StudyBatch, step: int, seeds: Sequence[int] | None) -> Groups:
        """The rollouts of this step: those begun in the step before, or sampled now if there are none.

        Args:
            batch: of the step.
            step: its number, from 0.
            seeds: as for ``begin``.

        Raises:
            RunPaused: the sampler is unavailable for now.
        """
        self._step = step
        self._steps = {number: one for number, one in self._steps.items() if number >= step}
        begun = self._steps.get(step)
        if begun is None or begun.study_ids != _ids(batch):
            self.begin(batch, step, seeds)
        elif begun.groups is None:
            self.begin(batch, step, begun.seeds)
        begun = self._steps[step]
        assert begun.groups is not None
        return self._source.finish(batch, begun.groups.result(), self._sampling)

    def begin(self, batch: StudyBatch, step: int, seeds: Sequence[int] | None) -> None:
        """Begins to sample by the present weights.

        Args:
            batch: of the step.
            step: its number, from 0.
            seeds: of each study; None draws them from torch's state, which a checkpoint keeps.
        """
        if seeds is None:
            seeds = torch.randint(_SEEDS, (len(batch),)).tolist()
        groups = self._source.begin(batch, self._sampling, seeds)
        self._steps[step] = _Sampled(_ids(batch), tuple(seeds), groups)

    def end_step(self) -> None:
        """Ends the step: a checkpoint now continues with the next one."""
        self._step += 1

    def state_dict(self) -> dict[str, Any]:
        """The rollouts of the step that a resumed run begins with, once they have arrived; empty if none were begun.

        Where sampling is unavailable for now, the state holds the seeds without rollouts.
        """
        begun = self._steps.get(self._step)
        if begun is None:
            return {}
        groups = []
        if begun.groups is not None:
            with suppress(RunPaused):
                groups = [asdict(group) for group in begun.groups.result()]
        return {"step": self._step, "study_ids": begun.study_ids, "seeds": begun.seeds, "groups": groups}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        if not state:
            return
        groups: Future[Groups] | None = None
        if state["groups"]:
            groups = Future()
            groups.set_result(tuple(RolloutGroup(**group) for group in state["groups"]))
        self._steps = {state["step"]: _Sampled(tuple(state["study_ids"]), tuple(state["seeds"]), groups)}
        self._step = state["step"]


def _ids(batch: StudyBatch) -> tuple[str, ...]:
    return tuple(study.study_id for study in batch.studies)
