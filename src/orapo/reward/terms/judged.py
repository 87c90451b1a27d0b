"""Terms that compare what a judge reads with the study's label states: FactS, and the ablation's exact match."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from orapo.records import FailedJudgement, RewardBreakdown
from orapo.reward.terms.registry import Later, PendingValues, Written, register


class _Judged(ABC):
    zero_at_most: ClassVar[float | None] = 0.0
    needs_judge: ClassVar[bool] = True

    @abstractmethod
    def value(self, judged: RewardBreakdown) -> float:
        """The value of one report, from the judge's reading of it."""

    def start(self, written: Written) -> PendingValues:
        """Starts nothing: the judge is reading already."""
        return Later(
            lambda: [
                judged if isinstance(judged, FailedJudgement) else self.value(judged)
                for judged in written.judged.result()
            ]
        )


@register("facts")
@dataclass(frozen=True)
class Facts(_Judged):
    """Equation (15): F-beta of the report's facts over the 14 observations."""

    def value(self, judged: RewardBreakdown) -> float:
        return judged.total


@register("accuracy")
@dataclass(frozen=True)
class Accuracy(_Judged):
    """1 where the entailed observations are exactly the positive ones of the study, else 0.

    A report without a single fact earns 0 even where the study has no positive label: silence isn't an answer.
    """

    def value(self, judged: RewardBreakdown) -> float:
        # A present finding that is contradicted is a false negative too, so one of the two sets shows any error.
        return float(bool(judged.facts) and not judged.false_positives and not judged.false_negatives)
