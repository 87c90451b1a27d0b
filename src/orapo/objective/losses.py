"""The interfaces of policy losses and oracle losses, which the objective is built from."""

from typing import Protocol, runtime_checkable

from pydantic import PlainValidator
from torch import Tensor

from orapo.objective.tensors import ScoredGroups, StudyLoss


class PolicyLoss(Protocol):
    """Learns from the rewards of a study's own rollouts."""

    @property
    def needs_reference(self) -> bool:
        """Whether the loss reads the rollouts' log-probabilities under the frozen reference."""

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """The loss of each study, [B]."""


class OracleLoss(Protocol):
    """Learns from the radiologist's report."""

    @property
    def needs_reference(self) -> bool:
        """Whether the loss reads log-probabilities under the frozen reference."""

    @property
    def needs_rollouts(self) -> bool:
        """Whether the loss reads the study's rollouts."""

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """The loss of each study, [B]."""


@runtime_checkable
class BatchTokenMean(Protocol):
    """A policy loss that averages over the tokens of the whole batch rather than study by study.

    A micro-batch, or one rank of several, sees only its own studies. So the caller that splits a batch sums
    ``loss_tokens`` over all of it and gives each part the mean per study as ``ScoredGroups.tokens_per_study``.
    """

    def loss_tokens(self, num_tokens: Tensor, rewards: Tensor, finished: Tensor) -> Tensor:
        """The number of tokens that each study adds to the mean, [B]; ``rewards`` are those that advantages see."""


@runtime_checkable
class DynamicSampling(Protocol):
    """A policy loss that leaves out groups whose rollouts all earned the same, and has them sampled again."""

    @property
    def max_redraws(self) -> int | None:
        """How often such a group is sampled again; None for a loss that keeps it."""


def part(example: str, method: str = "__call__") -> PlainValidator:
    """Marks a setting that holds an object with this method, such as a loss.

    A name, a mapping, or a class that isn't yet an object is refused.
    """

    def check(value: object) -> object:
        if isinstance(value, type) or not callable(getattr(value, method, None)):
            raise ValueError(f"is {value!r}; it must be an object such as {example}")
        return value

    return PlainValidator(check)
