"""Gets one valid answer from one endpoint: limits before the call, checks behind it, further tries around both."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count

from orapo.errors import SettingError
from orapo.remote.cache import Answer
from orapo.remote.call_errors import CallError, CallErrorKind, InvalidAnswer
from orapo.remote.retry import GaveUp, RetryPolicy, WorkingClock
from orapo.reward.llm.budget import Budget
from orapo.reward.llm.endpoint import Completion, Endpoint
from orapo.reward.llm.failures import JudgeRejected, JudgeRevoked
from orapo.reward.llm.json_text import read_object
from orapo.reward.llm.limits import Limits
from orapo.reward.llm.prompts import Request
from orapo.reward.llm.usage import Usage

Check = Callable[[str], object]
"""Reads an answer; raises ``InvalidAnswer`` where it isn't one."""


@dataclass(slots=True)
class _Bill:
    """What a call takes, at first by estimate."""

    cost_usd: float
    tokens: int
    is_due: bool = False


class Asker:
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
        self, endpoint: Endpoint, limits: Limits, retry: RetryPolicy, budget: Budget, usage: Usage, *, is_last: bool
    ) -> None:
        self.endpoint = endpoint
        self._limits = limits
        self._retry = retry
        self._budget = budget
        self._usage = usage
        self._is_last = is_last

    async def ask(self, request: Request, check: Check) -> Answer:
        """A valid answer to one request.

        Raises:
            GaveUp: none within the tries and seconds allowed, or the endpoint is left alone for now.
            JudgeRejected: a setting is wrong.
            BudgetSpent: the call could exceed the budget.
            SettingError: a budget, and a price that nobody knows.
        """
        if self._budget.max_cost_usd is not None and self.endpoint.is_external and not self.endpoint.price_is_known:
            raise SettingError(
                f"judge: max_cost_usd is {self._budget.max_cost_usd:g} but the price of {self.endpoint.model} is "
                "unknown; set prices (US dollars per million tokens, in and out)"
            )
        clock, tries = WorkingClock(), count()

        async def attempt(correction: str | None) -> Answer:
            asked = request if correction is None else _corrected(request, correction)
            completion = await self._call(asked, clock, failures=next(tries))
            try:
                check(completion.text)
            except InvalidAnswer as error:
                raise InvalidAnswer(_explained(error.reason, completion, self.endpoint)) from None
            self._usage.paid_calls += 1
            return Answer(
                text=json.dumps(read_object(completion.text, tuple(request.schema.model_fields)), ensure_ascii=False),
                model=completion.model,
                prompt_tokens=completion.prompt_tokens,
                completion_tokens=completion.completion_tokens,
                cost_usd=completion.cost_usd,
            )

        try:
            return await self._retry.run(attempt, lambda kind: self._usage.retries.update([kind]), clock)
        except GaveUp as error:
            raise GaveUp(f"{self.endpoint.model}: {error.reason}") from None
        except CallError as error:
            reason = f"judge: {self.endpoint.model}: {error.reason}"
        rejected = JudgeRevoked if self._usage.paid_calls else JudgeRejected
        raise rejected(f"{reason}; correct the key, the model or its settings and resume the run")

    async def _call(self, request: Request, clock: WorkingClock, failures: int) -> Completion:
        async with self._slot(clock, failures), self._paid(request, clock) as bill:
            self._usage.calls += 1
            # Until its end is known: a call that times out, or is cut off by us, may cost all the same.
            bill.is_due = True
            try:
                completion = await self._reported(request)
            except CallError as error:
                bill.is_due = error.may_be_billed
                raise
            bill.cost_usd, bill.tokens = completion.cost_usd, completion.prompt_tokens + completion.completion_tokens
        self._usage.prompt_tokens += completion.prompt_tokens
        self._usage.completion_tokens += completion.completion_tokens
        return completion

    @asynccontextmanager
    async def _paid(self, request: Request, clock: WorkingClock) -> AsyncIterator["_Bill"]:
        """Budget and rate: both are charged the estimate before the call and its real size afterwards."""
        estimate = self.endpoint.estimate_tokens(request)
        tokens = sum(estimate)
        bill = _Bill(self.endpoint.cost(*estimate), tokens)
        with clock.stopped():
            reservation = await self._budget.reserve(bill.cost_usd)
        taken = 0
        try:
            with clock.stopped():
                await self._limits.requests.take()
                await self._limits.tokens.take(tokens)
            taken = tokens
            yield bill
        finally:
            cost = bill.cost_usd if bill.is_due else 0.0
            self._limits.tokens.settle(taken, bill.tokens if bill.is_due else 0)
            self._budget.settle(reservation, cost)
            self._usage.cost_usd += cost

    @asynccontextmanager
    async def _slot(self, clock: WorkingClock, failures: int) -> AsyncIterator[None]:
        """One of the calls under way, once the breaker lets it pass."""
        while True:
            with clock.stopped():
                await self._limits.slots.acquire(failures)
            delay = self._limits.breaker.admit()
            if not delay:
                break
            self._limits.slots.release()
            if not self._is_last:
                raise GaveUp(f"left alone for {delay:.1f} s after several outages")
            await self._wait_for_probe(delay, clock)
        try:
            yield
        except CallError:
            raise  # the breaker heard of it
        except BaseException:
            self._limits.breaker.abandoned()
            raise
        finally:
            self._limits.slots.release()

    async def _wait_for_probe(self, delay: float, clock: WorkingClock) -> None:
        if clock() + delay >= self._retry.deadline_seconds:
            raise GaveUp(f"left alone for {delay:.1f} s after several outages")
        await asyncio.sleep(delay)

    async def _reported(self, request: Request) -> Completion:
        """One call whose end the breaker hears of."""
        breaker = self._limits.breaker
        try:
            completion = await self.endpoint.complete(request)
        except CallError as error:
            if error.kind is CallErrorKind.UNAVAILABLE:
                breaker.failed()
            else:
                breaker.succeeded()
            raise
        breaker.succeeded()
        return completion


def _corrected(request: Request, reason: str) -> Request:
    """The same question, with what was wrong with the last answer."""
    note = f"Your last answer could not be used: {reason}. Answer again, with the JSON object only."
    return replace(request, messages=(*request.messages, {"role": "user", "content": note}))


def _explained(reason: str, completion: Completion, endpoint: Endpoint) -> str:
    if not completion.is_cut_off:
        return reason
    return f"the answer was cut off at max_output_tokens ({endpoint.max_output_tokens}); be brief ({reason})"
