"""Asks language models about reports: cached answers, fallbacks, and what happens when no model answers."""

import json
import logging
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Generic, Literal, TypeVar

from pydantic import PositiveFloat

from orapo.errors import OrapoError, RunPaused, SettingError
from orapo.records import FailedJudgement
from orapo.remote.background import Pending, gather_or_cancel
from orapo.remote.cache import Answer, AnswerCache, CacheMiss, cache_key
from orapo.remote.call_errors import CallError, InvalidAnswer
from orapo.remote.pause import Pause
from orapo.remote.retry import GaveUp, RetryPolicy
from orapo.reward.llm.endpoint import Completion, Endpoint
from orapo.reward.llm.json_text import read_object
from orapo.reward.llm.limits import Budget, Limits, LimitSettings
from orapo.reward.llm.litellm_client import import_what_draws_random_numbers
from orapo.reward.llm.prompts import Request
from orapo.reward.llm.retrying_client import RetryingClient, Usage
from orapo.settings import checked

log = logging.getLogger(__name__)

OnFailure = Literal["pause", "offline_judge", "drop_study"]
FIRST_PAUSE_SECONDS = 10.0

Item = TypeVar("Item", bound=Hashable)
T = TypeVar("T")


class JudgeUnavailable(RunPaused):
    """Reports stayed without an answer for longer than the run may pause."""


class JudgeRejected(OrapoError):
    """The provider refuses every request: the key, the model or a parameter is wrong."""


class JudgeRevoked(JudgeRejected, RunPaused):
    """The provider refuses all requests after having answered in this run: the training so far is worth keeping."""


class LlmClient:
    """Asks language models: cached, rate-limited, within a budget, and again after failures.

    Making one opens nothing, calls nobody and needs no key. One object may serve several batches at once; all calls run
    on one background thread.

    Args:
        endpoint: the model to ask.
        cache: answers that are already paid for.
        fallbacks: asked in this order where the endpoints before have no valid answer.
        limits: of each endpoint.
        retry: how often one question is asked of one endpoint.
        budget: what may be spent; its state belongs to the checkpoint.
        on_failure: for reports without a valid answer. "pause": they are asked about again after growing delays, and
            the run stops with ``JudgeUnavailable`` after ``pause_limit_seconds``; "offline_judge": what reads them
            offline does, and they are dropped where nothing can; "drop_study": they get a ``FailedJudgement``.
        pause_seconds: the first pause, above 0; each further one is twice as long.
        pause_limit_seconds: at least ``pause_seconds``.

    Raises:
        SettingError: a value out of range, or an unknown policy.
    """

    @checked
    def __init__(
        self,
        endpoint: Endpoint,
        cache: AnswerCache,
        *,
        fallbacks: Sequence[Endpoint] = (),
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
        self.budget = budget if budget is not None else Budget()
        self._usage = Usage()
        self._cache = cache
        self._on_failure = on_failure
        self._pause_seconds, self._pause_limit_seconds = pause_seconds, pause_limit_seconds
        limits, retry = limits or LimitSettings(), retry or RetryPolicy()
        self._clients = [
            RetryingClient(each, Limits(limits), retry, self.budget, self._usage, is_last=each is self.endpoints[-1])
            for each in self.endpoints
        ]

    @property
    def is_external(self) -> bool:
        """Whether a report may leave this machine."""
        return any(endpoint.is_external for endpoint in self.endpoints)

    @property
    def usage(self) -> Usage:
        """A copy of the totals so far."""
        return deepcopy(self._usage)

    def start(
        self,
        items: Sequence[Item],
        ask: Callable[[Item], Awaitable[T]],
        offline: Callable[[Sequence[Item]], Sequence[T]] | None = None,
    ) -> "PendingAnswers[Item, T]":
        """Starts to ask about each item and returns at once; equal items are asked about once.

        Args:
            items: reports, or what stands beside them.
            ask: what comes of one item, by ``answer``.
            offline: what comes of them where ``on_failure`` is "offline_judge"; None where only a model can say.
        """
        import_what_draws_random_numbers()
        distinct = tuple(dict.fromkeys(items))
        self._usage.duplicates += len(items) - len(distinct)
        return PendingAnswers(Pending(self._answer_all(distinct, ask, offline), self._add_wait), tuple(items))

    async def answer(self, request: Request, read: Callable[[str], T]) -> tuple[T, str]:
        """The first valid answer, as parsed by ``read``, and the model that gave it.

        Raises:
            GaveUp: no endpoint gave a valid answer.
            CacheMiss: the cache may only be read, and lacks an answer.
            JudgeRejected: a setting is wrong; ``JudgeRevoked`` where it was right before.
            BudgetSpent: the next call could exceed the budget.
        """
        failures: list[GaveUp] = []
        miss: CacheMiss | None = None
        for client in self._clients:
            try:
                answer = await self._answer_of(client, request, read)
                return read(answer.text), answer.model
            except GaveUp as error:
                failures.append(error)
            except CacheMiss as error:
                miss = miss or error
        if miss is not None:
            raise miss
        raise GaveUp("; ".join(dict.fromkeys(error.reason for error in failures)))

    async def _answer_of(self, client: RetryingClient, request: Request, read: Callable[[str], object]) -> Answer:
        endpoint = client.endpoint

        def accept(completion: Completion) -> str:
            read(completion.text)
            return json.dumps(read_object(completion.text, tuple(request.schema.model_fields)), ensure_ascii=False)

        async def ask() -> Answer:
            try:
                return await client.ask(request, accept)
            except CallError as error:
                reason = f"judge: {endpoint.model}: {error.reason}"
            rejected = JudgeRevoked if self._usage.paid_calls else JudgeRejected
            raise rejected(f"{reason}; correct the key, the model or its settings and resume the run")

        key = cache_key(
            endpoint.cache_identity, request.prompt_digest, request.stage, request.subject, endpoint.answer_settings
        )
        answer, is_hit = await self._cache.get_or_ask(key, ask)
        if not is_hit:
            return answer
        self._usage.cache_hits += 1
        try:
            read(answer.text)
        except InvalidAnswer as error:  # stored by a version with other checks
            if self._cache.mode == "read_only":
                raise GaveUp(f"a stored answer is not valid any more ({error.reason})") from None
            return await ask()
        return answer

    def _add_wait(self, seconds: float) -> None:
        self._usage.seconds_waited += seconds

    async def _answer_all(
        self,
        items: Sequence[Item],
        ask: Callable[[Item], Awaitable[T]],
        offline: Callable[[Sequence[Item]], Sequence[T]] | None,
    ) -> dict[Item, T | FailedJudgement]:
        outcomes = await _outcomes(items, ask)
        pause = Pause("judge", self._pause_seconds, self._pause_limit_seconds)
        while (failed := _failures(outcomes)) and self._on_failure == "pause":
            why = _summary(failed, len(outcomes))
            if not await pause.wait(why):
                raise JudgeUnavailable(
                    f"judge: no judgement after {self._pause_limit_seconds:g} s for {why}; resume the run when the "
                    "provider answers, or set on_failure to offline_judge or drop_study"
                )
            outcomes.update(await _outcomes(list(failed), ask))
        if failed and self._on_failure == "offline_judge" and offline is not None:
            log.warning("judge: the offline judge reads %s", _summary(failed, len(outcomes)))
            outcomes.update(zip(failed, offline(list(failed)), strict=True))
            self._usage.offline_reports += len(failed)
        elif failed:
            log.warning("judge: left without a judgement: %s", _summary(failed, len(outcomes)))
            self._usage.dropped_reports += len(failed)
        return outcomes


class PendingAnswers(Generic[Item, T]):
    """Answers that are computed in the background.

    Args:
        pending: what came of each item.
        items: as given.
    """

    def __init__(self, pending: Pending[dict[Item, T | FailedJudgement]], items: tuple[Item, ...]) -> None:
        self._pending = pending
        self._items = items

    def result(self) -> list[T | FailedJudgement]:
        """Waits for all answers; one entry per item, in order. Ctrl-C ends the wait and the calls.

        Raises:
            JudgeRejected: a setting is wrong; ``JudgeRevoked`` where it was right before.
            JudgeUnavailable: reports stayed without an answer for longer than the run may pause.
            BudgetSpent: the next call could exceed the budget.
            CacheMiss: the cache may only be read, and lacks an answer.
        """
        outcomes = self._pending.result()
        return [outcomes[item] for item in self._items]


async def _outcomes(items: Sequence[Item], ask: Callable[[Item], Awaitable[T]]) -> dict[Item, T | FailedJudgement]:
    async def one(item: Item) -> T | FailedJudgement:
        try:
            return await ask(item)
        except GaveUp as error:
            return FailedJudgement(error.reason)

    return dict(zip(items, await gather_or_cancel(map(one, items)), strict=True))


def _failures(outcomes: Mapping[Item, Any]) -> dict[Item, FailedJudgement]:
    return {item: outcome for item, outcome in outcomes.items() if isinstance(outcome, FailedJudgement)}


def _summary(failed: Mapping[Any, FailedJudgement], total: int) -> str:
    """How many, and why, without their text: "3 of 60 reports (not available (status 503), at try 8)"."""
    reasons = list(dict.fromkeys(failure.reason for failure in failed.values()))
    more = f"; and {len(reasons) - 1} other reasons" if len(reasons) > 1 else ""
    return f"{len(failed)} of {total} reports ({reasons[0]}{more})"
