"""When a language model doesn't answer: the errors that stop a run, and how failed reports are summed up."""

from collections.abc import Mapping

from orapo.errors import OrapoError, RunPaused
from orapo.records import FailedJudgement
from orapo.reward.protocol import Judged

Outcomes = dict[str, Judged | FailedJudgement]
"""What came of each report."""


class JudgeUnavailable(RunPaused):
    """Reports stayed without an answer for longer than the run may pause."""


class JudgeRejected(OrapoError):
    """The provider refuses every request: the key, the model or a parameter is wrong."""


class JudgeRevoked(JudgeRejected, RunPaused):
    """It does so after it has answered in this run: what is trained so far is worth keeping."""


def failures_in(outcomes: Outcomes) -> dict[str, FailedJudgement]:
    """The reports without a judgement."""
    return {report: outcome for report, outcome in outcomes.items() if isinstance(outcome, FailedJudgement)}


def summary(failed: Mapping[str, FailedJudgement], total: int) -> str:
    """How many, and why, without their text: "3 of 60 reports (not available (status 503), at try 8)"."""
    reasons = list(dict.fromkeys(failure.reason for failure in failed.values()))
    more = f"; and {len(reasons) - 1} other reasons" if len(reasons) > 1 else ""
    return f"{len(failed)} of {total} reports ({reasons[0]}{more})"
