"""What a reward and a judge are: batched, so that one with network calls can answer many reports at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from orapo.records import Fact, FailedJudgement, LabelVerdict, RewardBreakdown, Study


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


class PendingJudgements(Protocol):
    """Judgements that are being made while the caller does something else."""

    def result(self) -> list[Judged | FailedJudgement]:
        """Waits for the last one; one entry per report, in the order in which they were handed over.

        Raises:
            RunPaused: no judge can be had now, and the settings say to wait for one.
        """
        ...


class Judge(Protocol):
    """Reads generated reports without knowing the truth, so that it can't leak into the facts."""

    def start(self, reports: Sequence[str]) -> PendingJudgements:
        """Begins to read; a judge that asks over a network returns at once."""
        ...

    def totals(self) -> Mapping[str, float]:
        """What judging has taken so far, by name (calls, tokens, cost ...); empty for a judge that costs nothing."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know, for example what was spent."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from ``state_dict``."""
        ...


class PendingRewards(Protocol):
    """Rewards whose judgements are being made."""

    def result(self) -> list[RewardBreakdown | FailedJudgement]:
        """One entry per report, total in [0, 1]; a failed judgement is no reward, and not one of zero.

        Raises:
            RunPaused: as for ``PendingJudgements``.
        """
        ...


Combine = Literal["sum", "normalised"]
"""How advantages see the terms: their weighted sum, or each normalised within its group and then summed."""


class Reward(Protocol):
    """Says what generated reports are worth beside their studies."""

    @property
    def judge(self) -> Judge:
        """Who reads the reports' facts."""
        ...

    @property
    def weights(self) -> Mapping[str, float]:
        """Of the terms that are paid, above 0, by name; they sum to 1."""
        ...

    @property
    def combine(self) -> Combine:
        """How advantages see the terms; rewards are the weighted sum either way."""
        ...

    @property
    def zero_term(self) -> str | None:
        """The term that says what counts as a reward of zero, equation (8); None where no term says so."""
        ...

    def start(self, reports: Sequence[str], studies: Sequence[Study]) -> PendingRewards:
        """Begins to judge; ``studies`` has one entry per report (repeat it per rollout)."""
        ...

    def totals(self) -> Mapping[str, float]:
        """What judge and terms have taken so far, added up by name."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know of judge and terms, numbers by name."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from ``state_dict``."""
        ...
