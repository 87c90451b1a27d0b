"""What a policy loss and an oracle loss have in common, whichever of them the objective is built from."""

from typing import Protocol, runtime_checkable

from pydantic import PlainValidator
from torch import Tensor

from orapo.objective.tensors import ScoredGroups, StudyLoss


class PolicyLoss(Protocol):
    """Learns from the rewards of a study's own rollouts."""

    @property
    def needs_reference(self) -> bool:
        """True when the rollouts' log-probabilities under the frozen reference are read."""

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """The loss of each study, [B]."""


class OracleLoss(Protocol):
    """Learns from the radiologist's report."""

    @property
    def needs_reference(self) -> bool:
        """True when log-probabilities under the frozen reference are read."""

    @property
    def needs_rollouts(self) -> bool:
        """True when the study's rollouts are read."""

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        """The loss of each study, [B]."""


@runtime_checkable
class BatchTokenMean(Protocol):
    """A policy loss that averages over the tokens of the whole batch rather than study by study.

    A micro-batch, or one rank of several, sees only its own studies. So whoever splits a batch sums ``loss_tokens``
    over all of it and hands each part the mean per study as ``ScoredGroups.tokens_per_study``.
    """

    def loss_tokens(self, num_tokens: Tensor, rewards: Tensor, finished: Tensor) -> Tensor:
        """The tokens of each study that the mean is over, [B]; arguments [B, K], rewards as advantages see them."""


@runtime_checkable
class DynamicSampling(Protocol):
    """A policy loss that leaves out groups whose rollouts all earned the same, and has them drawn again."""

    @property
    def max_redraws(self) -> int | None:
        """How often such a group is drawn again; None for a loss that keeps it."""


def part(example: str, method: str = "__call__") -> PlainValidator:
    """Marks a setting that holds an object with this method, such as a loss.

    A name, a mapping, or a class that isn't yet an object is refused.
    """

    def check(value: object) -> object:
        if isinstance(value, type) or not callable(getattr(value, method, None)):
            raise ValueError(f"is {value!r}; it must be an object such as {example}")
        return value

    return PlainValidator(check)
