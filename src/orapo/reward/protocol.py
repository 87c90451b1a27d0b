"""What a reward and a judge are: batched, so that one with network calls can answer many reports at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orapo.chexpert import LabelStates
from orapo.records import FailedJudgement, Fact, LabelVerdict, RewardBreakdown


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judge read in one generated report.

    Attributes:
        facts: the atomic statements, equation (13).
        rejected: statements that were not read as facts, each with the reason.
        verdicts: one per observation, in the order of ``OBSERVATIONS``, equation (14).
        judge: who read it: "offline", or the model that answered; empty where a judge has no name.
    """

    facts: tuple[Fact, ...]
    rejected: Mapping[str, str]
    verdicts: tuple[LabelVerdict, ...]
    judge: str = ""


class Judge(Protocol):
    """Reads generated reports without knowing the truth, so that it can't leak into the facts."""

    def judge(self, reports: Sequence[str]) -> list[Judged]:
        """One reading per report, in the same order."""
        ...


class PendingJudgements(Protocol):
    """Judgements that are being made while the caller does something else."""

    def result(self) -> list[Judged | FailedJudgement]:
        """Waits for the last one; one entry per report, in the order in which they were handed over."""
        ...


class Reward(Protocol):
    """Says what generated reports are worth against the label states of their studies."""

    def score(self, reports: Sequence[str], labels: Sequence[LabelStates]) -> list[RewardBreakdown]:
        """One breakdown per report, total in [0, 1]; ``labels`` has one entry per report (repeat it per rollout)."""
        ...
