"""Score and combine: the gradient of the mixed loss, one micro-batch after another."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from orapo.batches import StudyBatch
from orapo.errors import NonFiniteError
from orapo.objective.orapo import OrapoObjective
from orapo.objective.tensors import ObjectiveOutput, ScoredGroups
from orapo.policy.model import Policy
from orapo.training.micro_batches import MicroBatch, one_study
from orapo.training.naming_studies import naming_studies
from orapo.training.padding import group_mask, pad_groups
from orapo.training.sharding import is_sharded, layer_by_layer
from orapo.training.step import without_graph
from orapo.training.update import Update


class BackwardPasses:
    """Scores micro-batches by the policy, combines the losses and adds up the gradients."""

    def __init__(
        self,
        policy: Policy,
        objective: OrapoObjective,
        temperature: float,
        num_ranks: int,
        backward: Callable[[Tensor], None],
    ) -> None:
        """Joins the parts.

        Args:
            policy: what trains; its weights may be shared out among the processes.
            objective: combines the losses.
            temperature: of all log-probabilities, > 0.
            num_ranks: how many processes train together.
            backward: runs the backward pass of a loss, at the trainer's precision.
        """
        self._policy = policy
        self._objective = objective
        self._temperature = temperature
        self._num_ranks = num_ranks
        self._backward = backward

    def run(self, batch: StudyBatch, micro_batches: Sequence[MicroBatch], update: Update) -> list[ObjectiveOutput]:
        """One forward and backward pass per micro-batch of this process.

        Returns:
            The losses of each, on the CPU and without graph.

        Raises:
            NonFiniteError: a log-probability or loss is NaN or infinite.
        """
        outputs: list[ObjectiveOutput] = []
        failure: NonFiniteError | None = None
        with naming_studies(batch.studies), layer_by_layer(self._policy):
            for micro in micro_batches:
                try:
                    outputs.append(without_graph(self._pass(micro, update)))
                except NonFiniteError as error:
                    if not is_sharded(self._policy):
                        raise
                    # The others need this process in their passes through the layers.
                    failure = failure or error
            for _ in range(update.num_passes - len(micro_batches)):
                self._backward(0.0 * _total(self._policy(*one_study(batch))))
            if failure is not None:
                raise failure
        return outputs

    def _pass(self, micro: MicroBatch, update: Update) -> ObjectiveOutput:
        logps = self._policy(micro.batch, micro.completions, self._temperature)
        weight = update.weight[update.rows_of(micro)]
        # Gradients are summed over micro-batches and processes: the mean over all studies of the step. Where weights
        # are shared out, torch takes the mean over processes, so that the sum needs their number.
        share = len(micro.indices) * (self._num_ranks if is_sharded(self._policy) else 1) / update.num_studies
        with naming_studies(micro.batch.studies):
            try:
                scored = scored_groups(micro, update, logps, self._objective.needs_oracle)
                output = self._objective.loss(scored, weight)
                if not bool(torch.isfinite(output.loss)):
                    raise NonFiniteError(f"the loss is {output.loss.item()}")
            except NonFiniteError:
                if is_sharded(self._policy):
                    self._backward(0.0 * _total(logps))
                raise
        self._backward(output.loss * share)
        return output


def scored_groups(
    micro: MicroBatch, update: Update, logps: tuple[tuple[Tensor, ...], ...], needs_oracle: bool
) -> ScoredGroups:
    """A micro-batch as the objective reads it: padded, with the rewards of its studies.

    Args:
        micro: B studies.
        update: of the step.
        logps: the policy's, per study and completion, [T].
        needs_oracle: whether the last completion of each study is its oracle report.
    """
    rollouts, judged = update.rollouts, update.judged
    num_rollouts = 0 if rollouts is None else len(rollouts.groups[0].token_ids)
    reference = micro.reference_logps
    oracle = oracle_reference = oracle_mask = None
    if needs_oracle:
        oracle = pad_groups([study[num_rollouts:] for study in logps])[:, 0]
        oracle_mask = group_mask([study[num_rollouts:] for study in logps])[:, 0]
        if reference is not None:
            oracle_reference = pad_groups([study[num_rollouts:] for study in reference])[:, 0]
    if rollouts is None or judged is None:
        assert oracle is not None
        assert oracle_mask is not None
        return ScoredGroups.without_rollouts(oracle, oracle_mask, oracle_reference)
    return ScoredGroups(
        policy_logps=pad_groups([study[:num_rollouts] for study in logps]),
        old_logps=pad_groups([rollouts.groups[i].old_logps for i in micro.indices]),
        ref_logps=None if reference is None else pad_groups([study[:num_rollouts] for study in reference]),
        completion_mask=group_mask([study[:num_rollouts] for study in logps]),
        rewards=judged.rewards[update.rows_of(micro)],
        oracle_policy_logps=oracle,
        oracle_ref_logps=oracle_reference,
        oracle_mask=oracle_mask,
        finished=torch.tensor([rollouts.groups[i].finished for i in micro.indices], device=judged.rewards.device),
        tokens_per_study=update.tokens_per_study,
    )


def _total(logps: Iterable[Iterable[Tensor]]) -> Tensor:
    """The sum of all log-probabilities, for a backward pass through them."""
    return torch.stack([completion.sum() for study in logps for completion in study]).sum()
