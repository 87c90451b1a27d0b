"""What the micro-batches of a training step share: what was judged, the mixture, and this process's part in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from orapo.objective.orapo import OrapoObjective
from orapo.training.drawing import Drawn
from orapo.training.micro_batches import MicroBatch
from orapo.training.step import JudgedRollouts, Rollouts, Told


@dataclass(frozen=True)
class Update:
    """What all micro-batches and inner steps of a training step share.

    Attributes:
        rollouts: of this process's studies, or None for an objective without rollouts.
        judged: the kept studies of all processes with their rollouts; likewise.
        weight: the oracle's share of each of these, or of each study of the batch when nothing is judged.
        rows: from a study's place in this process's batch to its row in ``judged`` and ``weight``.
        num_studies: rows; the loss is the mean over them.
        num_passes: forward and backward passes that every process runs where the weights are shared out.
        tokens_per_study: for a policy loss that averages over the tokens of all rows, their mean number; else None.
    """

    rollouts: Rollouts | None
    judged: JudgedRollouts | None
    weight: Tensor
    rows: Mapping[int, int]
    num_studies: int
    num_passes: int
    tokens_per_study: float | None

    def rows_of(self, micro: MicroBatch) -> list[int]:
        """The rows of a micro-batch's studies."""
        return [self.rows[place] for place in micro.indices]


def make_update(
    objective: OrapoObjective, drawn: Drawn, judged: JudgedRollouts | None, rank: int, num_passes: int
) -> Update:
    """What the update needs of a step.

    Args:
        objective: gives the weight where nothing is judged, and says which tokens count.
        drawn: in all processes.
        judged: what the objective made of it, or None for an objective without rollouts.
        rank: of this process.
        num_passes: that every process runs.
    """
    num_studies = len(drawn.studies if judged is None else judged.studies)
    return Update(
        rollouts=drawn.rollouts,
        judged=judged,
        weight=objective.fixed_weight(num_studies) if judged is None else judged.mixing.weight,
        rows=_rows(drawn.told, judged, rank),
        num_studies=num_studies,
        num_passes=num_passes,
        tokens_per_study=None if judged is None else _tokens_per_study(objective, judged),
    )


def _rows(told: Sequence[Told], judged: JudgedRollouts | None, rank: int) -> dict[int, int]:
    """From the place of a study in this process's batch to its row among the kept studies of all processes."""
    first = sum(len(one.studies) for one in told[:rank])
    own = range(first, first + len(told[rank].studies))
    kept = own if judged is None else judged.kept
    return {place - first: row if judged is not None else place for row, place in enumerate(kept) if place in own}


def _tokens_per_study(objective: OrapoObjective, judged: JudgedRollouts) -> float | None:
    """Of all studies of the step, whichever micro-batch or process holds them."""
    num_tokens = torch.tensor([[len(ids) for ids in group.token_ids] for group in judged.groups])
    finished = torch.tensor([group.finished for group in judged.groups])
    counted = objective.loss_tokens(num_tokens, judged.rewards.cpu(), finished)
    return None if counted is None else counted.sum().item() / len(judged.groups)
