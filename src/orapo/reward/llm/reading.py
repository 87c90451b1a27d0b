"""Reads one report: the questions to ask, where their answers come from, and the judgement they make up."""

from collections.abc import Callable, Sequence
from functools import partial

from orapo.empty_reports import says_nothing
from orapo.remote.cache import Answer, AnswerCache, CacheMiss, cache_key
from orapo.remote.call_errors import InvalidAnswer
from orapo.remote.retry import GaveUp
from orapo.reward.llm.answers import nothing_mentioned, read_combined, read_facts, read_verdicts
from orapo.reward.llm.asker import Asker
from orapo.reward.llm.grounding import sentences_of
from orapo.reward.llm.prompts import Prompts, Request
from orapo.reward.llm.usage import Usage
from orapo.reward.protocol import Judged


class ReportReader:
    """Turns reports into judgements.

    Args:
        askers: in the order in which they are asked, at least one.
        cache: looked up before each of them.
        prompts: what is asked.
        usage: cache hits are added here.
        combined: one question per report, not one for the facts and one for the verdicts on them.
    """

    def __init__(
        self, askers: Sequence[Asker], cache: AnswerCache, prompts: Prompts, usage: Usage, *, combined: bool
    ) -> None:
        self._askers = askers
        self._cache = cache
        self._prompts = prompts
        self._usage = usage
        self._combined = combined

    async def read(self, report: str) -> Judged:
        """The judgement of one report; a report that says nothing isn't asked about.

        Raises:
            GaveUp: no endpoint gave a valid answer.
            CacheMiss: the cache may only be read, and lacks an answer.
            JudgeRejected: a setting is wrong.
            BudgetSpent: the next call could exceed the budget.
        """
        if says_nothing(report) or not sentences_of(report):
            return Judged((), {}, nothing_mentioned(), judge=self._askers[0].endpoint.model)
        if self._combined:
            answer = await self._answer(self._prompts.combined(report), lambda text: read_combined(text, report))
            facts, verdicts = read_combined(answer.text, report)
            return Judged(facts, {}, verdicts, judge=answer.model)
        extracted = await self._answer(self._prompts.extract(report), lambda text: read_facts(text, report))
        facts = read_facts(extracted.text, report)
        if not facts:
            return Judged((), {}, nothing_mentioned(), judge=extracted.model)
        entailed = await self._answer(self._prompts.entail(facts), lambda text: read_verdicts(text, facts))
        models = dict.fromkeys((extracted.model, entailed.model))
        return Judged(facts, {}, read_verdicts(entailed.text, facts), judge=", ".join(models))

    async def _answer(self, request: Request, check: Callable[[str], object]) -> Answer:
        """From the first endpoint that has a valid answer, stored or fresh."""
        failures: list[GaveUp] = []
        miss: CacheMiss | None = None
        for asker in self._askers:
            try:
                return await self._answer_of(asker, request, check)
            except GaveUp as error:
                failures.append(error)
            except CacheMiss as error:
                miss = miss or error
        if miss is not None:
            raise miss
        raise GaveUp("; ".join(dict.fromkeys(error.reason for error in failures)))

    async def _answer_of(self, asker: Asker, request: Request, check: Callable[[str], object]) -> Answer:
        endpoint = asker.endpoint
        key = cache_key(
            endpoint.cache_identity, request.prompt_digest, request.stage, request.subject, endpoint.answer_settings
        )
        answer, is_hit = await self._cache.get_or_ask(key, partial(asker.ask, request, check))
        if not is_hit:
            return answer
        self._usage.cache_hits += 1
        try:
            check(answer.text)
        except InvalidAnswer as error:  # stored by a version with other checks
            if self._cache.mode == "read_only":
                raise GaveUp(f"a stored answer is not valid any more ({error.reason})") from None
            return await asker.ask(request, check)
        return answer
