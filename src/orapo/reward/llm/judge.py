"""The language-model judge: reports in, judgements out, whatever the provider does in between."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Literal

from pydantic import PositiveFloat

from orapo.errors import SettingError
from orapo.records import FailedJudgement
from orapo.remote.background import Pending
from orapo.remote.cache import AnswerCache
from orapo.remote.pause import Pause
from orapo.remote.retry import GaveUp, RetryPolicy
from orapo.reward.entailment import OfflineJudge
from orapo.reward.llm.asker import Asker
from orapo.reward.llm.budget import Budget
from orapo.reward.llm.client import import_what_draws_random_numbers
from orapo.reward.llm.endpoint import Endpoint
from orapo.reward.llm.failures import JudgeRejected, JudgeUnavailable, Outcomes, failures_in, summary
from orapo.reward.llm.limits import Limits, LimitSettings
from orapo.reward.llm.prompts import PromptsVersion, load_prompts
from orapo.reward.llm.reading import ReportReader
from orapo.reward.llm.usage import Usage
from orapo.reward.protocol import Judged
from orapo.settings import checked

__all__ = ["JudgeRejected", "JudgeUnavailable", "LlmJudge", "OnFailure", "RunningJudgements"]

log = logging.getLogger(__name__)

OnFailure = Literal["pause", "offline_judge", "drop_study"]
FIRST_PAUSE_SECONDS = 10.0


class LlmJudge:
    """Judges reports with a language model: cached, rate-limited, within a budget, and again after failures.

    Making one opens nothing, calls nobody and needs no key. One object may serve several batches at once; all calls run
    on one background thread.

    Args:
        endpoint: the model to ask.
        cache: answers that are already paid for.
        fallbacks: asked in this order where the endpoints before have no valid answer.
        prompts_version: of the packaged prompts.
        combined: one call per report, not one for the facts and one for the verdicts.
        uncertain_is_positive: as in the ground truth; the two belong together.
        limits: of each endpoint.
        retry: how often one question is asked of one endpoint.
        budget: what may be spent; its state belongs to the checkpoint.
        on_failure: for reports without a valid answer. "pause": they are asked about again after growing delays, and
            the run stops with ``JudgeUnavailable`` after ``pause_limit_seconds``; "offline_judge": the offline judge
            reads them and signs as "offline"; "drop_study": they get a ``FailedJudgement``.
        pause_seconds: the first pause, above 0; each further one is twice as long.
        pause_limit_seconds: at least ``pause_seconds``.

    Raises:
        SettingError: a value out of range, an unknown policy or version.
    """

    @checked
    def __init__(
        self,
        endpoint: Endpoint,
        cache: AnswerCache,
        *,
        fallbacks: Sequence[Endpoint] = (),
        prompts_version: PromptsVersion = "v1",
        combined: bool = False,
        uncertain_is_positive: bool = False,
        limits: LimitSettings | None = None,
        retry: RetryPolicy | None = None,
        budget: Budget | None = None,
        on_failure: OnFailure = "pause",
        pause_seconds: PositiveFloat = FIRST_PAUSE_SECONDS,
        pause_limit_seconds: PositiveFloat = 3600.0,
    ) -> None:
        if pause_limit_seconds < pause_seconds:
            raise SettingError(
                f"pause_limit_seconds is {pause_limit_seconds:g}; it must be at least pause_seconds, {pause_seconds:g}"
            )
        self.endpoints = (endpoint, *fallbacks)
        self.uncertain_is_positive = uncertain_is_positive
        self.budget = budget if budget is not None else Budget()
        self._usage = Usage()
        self._on_failure = on_failure
        self._pause_seconds, self._pause_limit_seconds = pause_seconds, pause_limit_seconds
        limits, retry = limits or LimitSettings(), retry or RetryPolicy()
        askers = [
            Asker(each, Limits(limits), retry, self.budget, self._usage, is_last=each is self.endpoints[-1])
            for each in self.endpoints
        ]
        prompts = load_prompts(prompts_version, uncertain_is_positive=uncertain_is_positive)
        self._reader = ReportReader(askers, cache, prompts, self._usage, combined=combined)

    @property
    def is_external(self) -> bool:
        """True where a report may leave this machine."""
        return any(endpoint.is_external for endpoint in self.endpoints)

    @property
    def usage(self) -> Usage:
        """A copy of the totals so far."""
        return deepcopy(self._usage)

    def totals(self) -> Mapping[str, float]:
        """The totals so far as numbers, by name."""
        return self.usage.numbers()

    def state_dict(self) -> dict[str, Any]:
        """What was spent, for a checkpoint."""
        return self.budget.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint; one of a run that had no such judge holds nothing."""
        if state:
            self.budget.load_state_dict(state)

    def judge(self, reports: Sequence[str]) -> list[Judged | FailedJudgement]:
        """One judgement per report, in the same order; raises what ``RunningJudgements.result`` raises."""
        return self.start(reports).result()

    def start(self, reports: Sequence[str]) -> "RunningJudgements":
        """Begins to judge and returns at once; equal reports are judged once."""
        import_what_draws_random_numbers()
        distinct = tuple(dict.fromkeys(reports))
        self._usage.duplicates += len(reports) - len(distinct)
        return RunningJudgements(Pending(self._judge_distinct(distinct), self._add_wait), tuple(reports))

    def _add_wait(self, seconds: float) -> None:
        self._usage.seconds_waited += seconds

    async def _judge_distinct(self, reports: Sequence[str]) -> Outcomes:
        outcomes = await self._read_all(reports)
        failed = failures_in(outcomes)
        if failed and self._on_failure == "pause":
            await self._pause(outcomes)
        elif failed and self._on_failure == "offline_judge":
            log.warning("judge: the offline judge reads %s", summary(failed, len(outcomes)))
            offline = OfflineJudge(uncertain_is_positive=self.uncertain_is_positive)
            outcomes.update(zip(failed, offline.judge(list(failed)), strict=True))
            self._usage.offline_reports += len(failed)
        elif failed:
            log.warning("judge: left without a judgement: %s", summary(failed, len(outcomes)))
            self._usage.dropped_reports += len(failed)
        return outcomes

    async def _pause(self, outcomes: Outcomes) -> None:
        """Asks again about what failed, until nothing is left or the limit is reached."""
        pause = Pause("judge", self._pause_seconds, self._pause_limit_seconds)
        while failed := failures_in(outcomes):
            if not await pause.wait(summary(failed, len(outcomes))):
                raise JudgeUnavailable(
                    f"judge: no judgement after {self._pause_limit_seconds:g} s for {summary(failed, len(outcomes))}; "
                    "resume the run when the provider answers, or set on_failure to offline_judge or drop_study"
                )
            outcomes.update(await self._read_all(list(failed)))

    async def _read_all(self, reports: Sequence[str]) -> Outcomes:
        """Outcomes by report; an error that no policy covers ends what is under way and is raised."""
        tasks = [asyncio.create_task(self._read(report)) for report in reports]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return dict(zip(reports, (task.result() for task in tasks), strict=True))

    async def _read(self, report: str) -> Judged | FailedJudgement:
        try:
            return await self._reader.read(report)
        except GaveUp as error:
            return FailedJudgement(error.reason)


class RunningJudgements:
    """Judgements under way in the background.

    Args:
        pending: outcomes by report.
        reports: as handed over.
    """

    def __init__(self, pending: Pending[Outcomes], reports: tuple[str, ...]) -> None:
        self._pending = pending
        self._reports = reports

    def result(self) -> list[Judged | FailedJudgement]:
        """Waits for the last one; one entry per report, in order. Ctrl-C ends the wait and the calls.

        Raises:
            JudgeRejected: a setting is wrong; ``JudgeRevoked`` where it was right before.
            JudgeUnavailable: reports stayed without an answer for longer than the run may pause.
            BudgetSpent: the next call could exceed the budget.
            CacheMiss: the cache may only be read, and lacks an answer.
        """
        outcomes = self._pending.result()
        return [outcomes[report] for report in self._reports]
