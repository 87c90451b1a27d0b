"""Turns pending judgements into rewards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orapo.chexpert import LabelStates
from orapo.errors import DataError
from orapo.records import FailedJudgement, RewardBreakdown, Study
from orapo.reward.protocol import Judged, PendingJudgements

RewardOf = Callable[[Judged, LabelStates], RewardBreakdown]
"""Equation (15), or another rule: the reward of one judged report against the label states of its study."""


@dataclass(frozen=True, slots=True)
class ReadyJudgements:
    """The judgements of a judge that answers at once."""

    judgements: tuple[Judged | FailedJudgement, ...]

    def result(self) -> list[Judged | FailedJudgement]:
        return list(self.judgements)


@dataclass(frozen=True, slots=True)
class RewardsToCome:
    """Pending judgements, and the rule that makes a reward of each."""

    pending: PendingJudgements
    labels: tuple[LabelStates, ...]
    reward_of: RewardOf

    def result(self) -> list[RewardBreakdown | FailedJudgement]:
        """Waits for the judgements; one entry per report, in order."""
        return [
            judged if isinstance(judged, FailedJudgement) else self.reward_of(judged, truth)
            for judged, truth in zip(self.pending.result(), self.labels, strict=True)
        ]


def rewards_only(results: Sequence[RewardBreakdown | FailedJudgement]) -> list[RewardBreakdown]:
    """The same list, after checking that every report was judged.

    Raises:
        DataError: one was not; says why.
    """
    for result in results:
        if isinstance(result, FailedJudgement):
            raise DataError(f"a report could not be judged: {result.reason}")
    return [result for result in results if isinstance(result, RewardBreakdown)]


def check_lengths(reports: Sequence[str], truths: Sequence[LabelStates | Study]) -> None:
    """Refuses label states or studies that don't belong to the reports one to one.

    Raises:
        DataError: the lengths differ.
    """
    if len(reports) != len(truths):
        raise DataError(f"reward: {len(reports)} reports and {len(truths)} sets of label states; one set per report")
