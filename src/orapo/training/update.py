"""Update: score micro-batches by the policy, combine the losses, accumulate the gradients."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from orapo.errors import NonFiniteError
from orapo.objective.orapo import OrapoObjective
from orapo.objective.tensors import ObjectiveOutput, ScoredGroups
from orapo.policy.model import Policy
from orapo.policy.scoring import CompletionLogps
from orapo.training.experience import Experience, naming_studies
from orapo.training.micro_batches import filler, micro_batches, num_passes, study_completions
from orapo.training.sharding import is_sharded


@dataclass(frozen=True)
class Losses:
    """The losses of one inner step, over all processes.

    Attributes:
        outputs: of every micro-batch, on the CPU and without graph.
        grad_norm: of the gradients before clipping.
        learning_rate: that the optimiser step used.
    """

    outputs: tuple[ObjectiveOutput, ...]
    grad_norm: float
    learning_rate: float


class BackwardPasses:
    """Accumulates the gradient of the mixed loss, one micro-batch after another."""

    def __init__(
        self,
        policy: Policy,
        objective: OrapoObjective,
        temperature: float,
        size: int,
        num_ranks: int,
        backward: Callable[[Tensor], None],
    ) -> None:
        """Joins the parts.

        Args:
            policy: what trains; its weights may be sharded across the processes.
            objective: combines the losses.
            temperature: of all log-probabilities, > 0.
            size: studies scored at a time, at least 1.
            num_ranks: how many processes train together.
            backward: runs the backward pass of a loss, at the trainer's precision.
        """
        self._policy = policy
        self._objective = objective
        self._temperature = temperature
        self._size = size
        self._num_ranks = num_ranks
        self._backward = backward

    def run(self, experience: Experience) -> list[ObjectiveOutput]:
        """Runs one forward and backward pass per micro-batch of this process; equations (1)-(7), (11), (12).

        Returns:
            The losses of each, on the CPU and without graph.

        Raises:
            NonFiniteError: a log-probability or loss is NaN or infinite.
        """
        batch = experience.batch
        own = [experience.rollouts[row] for row in experience.own_rows.values()] if experience.rollouts else []
        completions = study_completions(batch, tuple(experience.own_rows), own, self._objective.needs_oracle)
        parts = micro_batches(completions, self._size)
        outputs: list[ObjectiveOutput] = []
        failure: NonFiniteError | None = None
        with naming_studies(batch.studies), without_autocast_cache():
            for part in parts:
                try:
                    outputs.append(self._pass(experience, part, [completions[place] for place in part]))
                except NonFiniteError as error:
                    if not is_sharded(self._policy):
                        raise
                    # The others need this process in their passes through the layers.
                    failure = failure or error
            for _ in range(num_passes(self._policy, experience.most_own_rows, self._size) - len(parts)):
                self._backward(0.0 * _total(self._policy(*filler(batch))))
            if failure is not None:
                raise failure
        return outputs

    def _pass(
        self, experience: Experience, places: Sequence[int], completions: Sequence[Sequence[Tensor]]
    ) -> ObjectiveOutput:
        batch = experience.batch.select(places)
        logps: CompletionLogps = self._policy(batch, completions, self._temperature)
        # Gradients are summed over micro-batches and processes: the mean over all studies of the step. Where weights
        # are sharded, torch takes the mean over processes, so that the sum needs their number.
        num_ranks = self._num_ranks if is_sharded(self._policy) else 1
        share = len(places) * num_ranks / len(experience.studies)
        with naming_studies(batch.studies):
            try:
                scored = scored_groups(experience, places, logps, self._objective)
                output = self._objective.loss(scored, _weight(experience, places, self._objective))
                if not bool(torch.isfinite(output.loss)):
                    raise NonFiniteError(f"the loss is {output.loss.item()}")
            except NonFiniteError:
                if is_sharded(self._policy):
                    self._backward(0.0 * _total(logps))
                raise
        self._backward(output.loss * share)
        return _without_graph(output)


@contextmanager
def without_autocast_cache() -> Iterator[None]:
    """Within the block, autocast caches no bfloat16 copy of the weights, which would cost two bytes a weight.

    Each pass then rounds the weights again, which costs one read of them.
    """
    was_enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(was_enabled)


def scored_groups(
    experience: Experience, places: Sequence[int], logps: CompletionLogps, objective: OrapoObjective
) -> ScoredGroups:
    """A micro-batch in the objective's form: padded, with the rewards of its studies.

    Args:
        experience: of the step.
        places: of the B studies in this process's batch.
        logps: the policy's, per study and completion, [T]; an oracle report stands last.
        objective: decides which tensors are needed.
    """
    rows = [experience.own_rows[place] for place in places]
    reference = [experience.ref_logps[place] for place in places] if experience.ref_logps else None
    oracle = oracle_reference = oracle_mask = None
    if objective.needs_oracle:
        oracle, oracle_mask = (pad([study[-1:] for study in logps])[:, 0] for pad in (pad_groups, group_mask))
        oracle_reference = None if reference is None else pad_groups([study[-1:] for study in reference])[:, 0]
    if not experience.rollouts:
        assert oracle is not None
        assert oracle_mask is not None
        return ScoredGroups.without_rollouts(oracle, oracle_mask, oracle_reference)
    groups = [experience.rollouts[row] for row in rows]
    num_rollouts, device = len(groups[0].token_ids), experience.rewards.device
    sampler = [group.sampler_logps for group in groups if group.sampler_logps is not None]
    return ScoredGroups(
        policy_logps=pad_groups([study[:num_rollouts] for study in logps]),
        old_logps=pad_groups([group.old_logps for group in groups]).to(device),
        ref_logps=None if reference is None else pad_groups([study[:num_rollouts] for study in reference]),
        completion_mask=group_mask([study[:num_rollouts] for study in logps]),
        rewards=experience.rewards[rows],
        oracle_policy_logps=oracle,
        oracle_ref_logps=oracle_reference,
        oracle_mask=oracle_mask,
        finished=torch.tensor([group.finished for group in groups], device=device),
        tokens_per_study=_tokens_per_study(experience, objective),
        compared=None if experience.compared is None else experience.compared[rows],
        is_zero=None if experience.is_zero is None else experience.is_zero[rows],
        sampler_logps=pad_groups(sampler).to(device) if sampler else None,
    )


def pad_groups(groups: Sequence[Sequence[Tensor]]) -> Tensor:
    """B groups of K tensors [T_k] to [B, K, T], zeros after each completion's end; T is the longest."""
    flat = pad_sequence([completion for group in groups for completion in group], batch_first=True)
    return flat.reshape(len(groups), -1, flat.shape[1])


def group_mask(groups: Sequence[Sequence[Tensor]]) -> Tensor:
    """[B, K, T], bool: True where ``pad_groups`` put a token."""
    return pad_groups([[torch.ones_like(completion, dtype=torch.bool) for completion in group] for group in groups])


def _weight(experience: Experience, places: Sequence[int], objective: OrapoObjective) -> Tensor:
    """The oracle's share of each study, [B]."""
    if experience.mixing is None:
        return objective.fixed_weight(len(places))
    return experience.mixing.weight[[experience.own_rows[place] for place in places]]


def _tokens_per_study(experience: Experience, objective: OrapoObjective) -> float | None:
    """The mean number of tokens per study over all processes, for a loss that averages over tokens."""
    num_tokens = torch.tensor([[len(ids) for ids in group.token_ids] for group in experience.rollouts])
    finished = torch.tensor([group.finished for group in experience.rollouts])
    compared = experience.rewards if experience.compared is None else experience.compared
    counted = objective.loss_tokens(num_tokens, compared.cpu(), finished)
    return None if counted is None else counted.sum().item() / len(experience.rollouts)


def _without_graph(output: ObjectiveOutput) -> ObjectiveOutput:
    """A copy on the CPU, detached."""

    def plain(values: Tensor) -> Tensor:
        return values.detach().cpu()

    return replace(
        output,
        loss=plain(output.loss),
        policy_loss=None if output.policy_loss is None else plain(output.policy_loss),
        oracle_loss=None if output.oracle_loss is None else plain(output.oracle_loss),
        weight=plain(output.weight),
        diagnostics={name: plain(values) for name, values in output.diagnostics.items()},
    )


def _total(logps: Iterable[Iterable[Tensor]]) -> Tensor:
    """The sum of all log-probabilities, to run a backward pass through them."""
    return torch.stack([completion.sum() for study in logps for completion in study]).sum()
