"""Gets one valid answer from one endpoint: limits before the call, checks after it, further tries around both."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

from orapo.errors import SettingError
from orapo.remote.cache import Answer
from orapo.remote.call_errors import CallError, CallErrorKind, InvalidAnswer
from orapo.remote.retry import ActiveTimer, GaveUp, RetryPolicy
from orapo.remote.totals import CallTotals
from orapo.reward.llm.endpoint import Completion, Endpoint
from orapo.reward.llm.limits import Budget, Limits
from orapo.reward.llm.prompts import Request

Accept = Callable[[Completion], str]
"""What is kept of a completion; raises ``InvalidAnswer`` where it's no answer."""


@dataclass(slots=True)
class Usage(CallTotals):
    """Totals since a client was made.

    Attributes:
        paid_calls: those that gave a valid answer, each to a different question.
        prompt_tokens: of all answers, valid or not.
        completion_tokens: of all answers, valid or not.
        cost_usd: US dollars, timeouts at their estimate.
        offline_reports: reports that were read offline in the model's stead.
        dropped_reports: reports without an answer.
    """

    paid_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    offline_reports: int = 0
    dropped_reports: int = 0


@dataclass(slots=True)
class _Bill:
    """The tokens and cost of a call, at first an estimate."""

    cost_usd: float
    tokens: int
    is_due: bool = False


class RetryingClient:
    """Asks one endpoint.

    Args:
        endpoint: the model.
        limits: of this endpoint.
        retry: how often one question is asked.
        budget: shared with the other endpoints.
        usage: what is done is added here.
        is_last: there's nobody else to ask: an open breaker is waited for, not passed over.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        limits: Limits,
        retry: RetryPolicy,
        budget: Budget,
        usage: Usage,
        *,
        is_last: bool = True,
    ) -> None:
        self.endpoint = endpoint
        self._limits = limits
        self._retry = retry
        self._budget = budget
        self._usage = usage
        self._is_last = is_last

    async def ask(self, request: Request, accept: Accept) -> Answer:
        """An accepted answer to one request.

        Raises:
            GaveUp: none within the tries and seconds allowed, or the endpoint is left alone for now.
            CallError: a setting is wrong, so that no request can succeed.
            BudgetSpent: the call could exceed the budget.
            SettingError: a budget, and a price that nobody knows.
        """
        if self._budget.max_cost_usd is not None and self.endpoint.is_external and not self.endpoint.price_is_known:
            raise SettingError(
                f"judge: max_cost_usd is {self._budget.max_cost_usd:g} but the price of {self.endpoint.model} is "
                "unknown; set prices (US dollars per million tokens, in and out)"
            )
        timer, tries = ActiveTimer(), count()

        async def attempt(correction: str | None) -> Answer:
            asked = request if correction is None else request.corrected(correction)
            completion = await self._call(asked, timer, failures=next(tries))
            try:
                text = accept(completion)
            except InvalidAnswer as error:
                raise InvalidAnswer(_explained(error.reason, completion, self.endpoint)) from None
            self._usage.paid_calls += 1
            tokens = completion.prompt_tokens, completion.completion_tokens
            return Answer(text, completion.model, *tokens, completion.cost_usd)

        try:
            return await self._retry.run(attempt, lambda kind: self._usage.retries.update([kind]), timer)
        except GaveUp as error:
            raise GaveUp(f"{self.endpoint.model}: {error.reason}", error.failure) from None

    async def _call(self, request: Request, timer: ActiveTimer, failures: int) -> Completion:
        async with self._turn(timer, failures), self._paid(request, timer) as bill:
            self._usage.calls += 1
            # Until its end is known: a call that times out, or is cut off by us, may cost all the same.
            bill.is_due = True
            try:
                completion = await self.endpoint.complete(request)
            except CallError as error:
                bill.is_due = error.may_be_billed
                raise
            bill.cost_usd, bill.tokens = completion.cost_usd, completion.prompt_tokens + completion.completion_tokens
        self._usage.prompt_tokens += completion.prompt_tokens
        self._usage.completion_tokens += completion.completion_tokens
        return completion

    @asynccontextmanager
    async def _paid(self, request: Request, timer: ActiveTimer) -> AsyncIterator[_Bill]:
        """Budget and rate: both are charged the estimate before the call and its real size afterwards."""
        estimate = self.endpoint.estimate_tokens(request)
        tokens = sum(estimate)
        bill = _Bill(self.endpoint.cost(*estimate), tokens)
        with timer.paused():
            reserved = await self._budget.reserve(bill.cost_usd)
        taken = 0
        try:
            with timer.paused():
                await self._limits.requests.take()
                await self._limits.tokens.take(tokens)
            taken = tokens
            yield bill
        finally:
            cost = bill.cost_usd if bill.is_due else 0.0
            self._limits.tokens.settle(taken, bill.tokens if bill.is_due else 0)
            self._budget.settle(reserved, cost)
            self._usage.cost_usd += cost

    @asynccontextmanager
    async def _turn(self, timer: ActiveTimer, failures: int) -> AsyncIterator[None]:
        """One of the calls under way, once the breaker lets it pass; the breaker is told how it ended."""
        breaker, semaphore = self._limits.breaker, self._limits.semaphore
        while True:
            with timer.paused():
                await semaphore.acquire(failures)
            delay = breaker.admit()
            if not delay:
                break
            semaphore.release()
            if not self._is_last or timer() + delay >= self._retry.deadline_seconds:
                raise GaveUp(f"left alone for {delay:.1f} s after several outages")
            await asyncio.sleep(delay)
        try:
            yield
        except CallError as error:
            (breaker.failed if error.kind is CallErrorKind.UNAVAILABLE else breaker.succeeded)()
            raise
        except BaseException:
            breaker.abandoned()
            raise
        else:
            breaker.succeeded()
        finally:
            semaphore.release()


def _explained(reason: str, completion: Completion, endpoint: Endpoint) -> str:
    if not completion.is_cut_off:
        return reason
    return f"the answer was cut off at max_output_tokens ({endpoint.max_output_tokens}); be brief ({reason})"
