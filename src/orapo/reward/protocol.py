"""The interfaces of reward and judge. Both take batches, so that network calls can run at once."""

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
    """Judgements that are made while the caller does something else."""

    def result(self) -> list[Judged | FailedJudgement]:
        """Waits for all judgements; one entry per report, in the order of the reports.

        Raises:
            RunPaused: no judge is available now, and the settings say to wait for one.
        """
        ...


class Judge(Protocol):
    """Reads generated reports without seeing the oracle, so that the truth can't leak into the facts."""

    def start(self, reports: Sequence[str]) -> PendingJudgements:
        """Starts to read; a judge that asks over a network returns at once."""
        ...

    def totals(self) -> Mapping[str, float]:
        """What judging has used so far, by name (calls, tokens, cost ...); empty for a judge that costs nothing."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to know, for example what was spent."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        ...


class PendingRewards(Protocol):
    """Rewards whose judgements are still being made."""

    def result(self) -> list[RewardBreakdown | FailedJudgement]:
        """One entry per report, total in [0, 1]; a failed judgement has no reward, not a reward of zero.

        Raises:
            RunPaused: as for ``PendingJudgements``.
        """
        ...


Combine = Literal["sum", "normalised"]
"""How advantages see the terms: their weighted sum, or each normalised within its group and then summed."""


class Reward(Protocol):
    """The reward of generated reports, given their studies."""

    @property
    def judge(self) -> Judge:
        """The judge that reads the facts of the reports."""
        ...

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of each term by name, above 0; the weights sum to 1."""
        ...

    @property
    def combine(self) -> Combine:
        """How advantages combine the terms; the reward is always the weighted sum."""
        ...

    @property
    def zero_term(self) -> str | None:
        """The term that decides what counts as a reward of zero, equation (8); None where no term does."""
        ...

    def start(self, reports: Sequence[str], studies: Sequence[Study]) -> PendingRewards:
        """Starts to judge; ``studies`` has one entry per report (repeated for each rollout)."""
        ...

    def totals(self) -> Mapping[str, float]:
        """The totals of judge and terms so far, added up by name."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to know of judge and terms: numbers by name."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        ...
