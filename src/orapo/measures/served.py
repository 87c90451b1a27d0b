"""Metrics by a server: report pairs in, values out, whatever the server does in between."""

import json
from collections.abc import Mapping, Sequence

from orapo.measures.served_batches import Batches, Pair
from orapo.measures.served_server import (
    MetricServer,
    MetricServerRejected,
    MetricServerRevoked,
    MetricServerUnavailable,
    ServedUsage,
)
from orapo.measures.served_settings import ServedMetric, ServedSettings
from orapo.remote.background import Pending, gather_or_cancel
from orapo.remote.cache import Answer, AnswerCache, cache_key
from orapo.remote.pause import Pause
from orapo.remote.retry import GaveUp, RetryPolicy

__all__ = [
    "MetricServerRejected",
    "MetricServerRevoked",
    "MetricServerUnavailable",
    "PendingMetrics",
    "ServedMetric",
    "ServedMetrics",
    "ServedSettings",
]

Question = tuple[Pair, str]
"""A pair and a metric."""
PendingMetrics = Pending[dict[str, list[float]]]
"""Values under way; Ctrl-C ends the wait for them and the calls."""


class ServedMetrics:
    """Scores pairs of reports by a metric server: cached, in batches, and again after failures.

    Making one opens nothing and calls nobody. One object may serve several batches at once; all calls run on one
    background thread. Values are the server's own: ``settings.metrics[name].to_unit(value)`` maps one to [0, 1], 1 the
    best, by the metric's declared ``low``, ``high`` and ``lower_is_better``; a value outside of these is refused unless
    the metric is declared with ``clip``.

    Args:
        settings: address, metrics, limits.
        retry: another policy than the settings', for tests.
    """

    def __init__(self, settings: ServedSettings, *, retry: RetryPolicy | None = None) -> None:
        self.settings = settings
        self._usage = ServedUsage()
        retry = retry or RetryPolicy(settings.max_tries, deadline_seconds=settings.deadline_seconds)
        self._server = MetricServer(settings, retry, self._usage)
        self._cache = AnswerCache(settings.cache_path, settings.cache)

    def check(self) -> dict[str, str]:
        """The version of each metric; asks once, so that a run learns at its start that no server is there.

        Raises:
            MetricServerUnavailable: nobody answers.
            MetricServerRejected: it lacks a metric or has another version of it.
        """
        return Pending(self._server.check(), self._add_wait).result()

    def start(self, refs: Sequence[str], hyps: Sequence[str]) -> PendingMetrics:
        """Begins to score ``hyps``, each beside the reference at its place; equal pairs are scored once.

        Raises:
            ValueError: not equally many.
        """
        pairs = tuple(zip(refs, hyps, strict=True))
        self._usage.duplicates += len(pairs) - len(set(pairs))
        return Pending(self._scored(pairs), self._add_wait)

    def score(self, refs: Sequence[str], hyps: Sequence[str]) -> dict[str, list[float]]:
        """Calls ``start`` and waits for its result: by metric one finite value per pair, in order.

        Raises:
            MetricServerUnavailable: pairs stayed without a value for longer than the run may pause.
            MetricServerRejected: a metric is missing, the request is refused, or what came is no value;
                ``MetricServerRevoked`` where the server gave values before.
            CacheMiss: the cache may only be read, and lacks a value.
            DataError: the cache's file can't be used.
        """
        return self.start(refs, hyps).result()

    def totals(self) -> Mapping[str, float]:
        """The totals so far as numbers, by name: those of ``ServedUsage``."""
        return self._usage.numbers()

    def _add_wait(self, seconds: float) -> None:
        self._usage.seconds_waited += seconds

    async def _scored(self, pairs: tuple[Pair, ...]) -> dict[str, list[float]]:
        found = await self._answered(tuple(dict.fromkeys(pairs)))
        return {metric: [found[pair, metric] for pair in pairs] for metric in self.settings.metrics}

    async def _answered(self, pairs: tuple[Pair, ...]) -> dict[Question, float]:
        """The values of all questions; pauses while some have none."""
        settings, found = self.settings, dict[Question, float]()
        questions = [(pair, metric) for pair in pairs for metric in settings.metrics]
        pause: Pause | None = None
        while missing := [question for question in questions if question not in found]:
            reason = await self._ask(missing, found)
            if reason is None:
                continue
            pause = pause or Pause("metric server", settings.pause_seconds, settings.pause_limit_seconds)
            left = len({pair for pair, metric in missing if (pair, metric) not in found})
            why = f"{left} of {len(pairs)} pairs ({reason})"
            if not await pause.wait(why):
                raise MetricServerUnavailable(
                    f"metric server {settings.api_base}: no values after {settings.pause_limit_seconds:g} s for {why}; "
                    "resume the run when it answers"
                )
        return found

    async def _ask(self, questions: Sequence[Question], found: dict[Question, float]) -> str | None:
        """Adds the values that are available now; returns why others aren't, None where none is missing."""
        try:
            versions = await self._server.versions()
        except GaveUp as error:
            return error.reason
        async with Batches(self._server.score, self.settings.batch_size, len(questions)) as batches:
            values = await gather_or_cancel(self._answer(each, versions[each[1]], batches) for each in questions)
        reasons = []
        for question, value in zip(questions, values, strict=True):
            if isinstance(value, GaveUp):
                reasons.append(value.reason)
            else:
                found[question] = value
        return reasons[0] if reasons else None

    async def _answer(self, question: Question, version: str, batches: Batches) -> float | GaveUp:
        """One value, from the cache or the server."""
        pair, metric = question

        async def ask() -> Answer:
            return Answer(json.dumps(await batches.ask(pair, metric)), f"{metric} {version}", 0, 0, 0.0)

        try:
            answer, is_hit = await self._cache.get_or_ask(cache_key(version, "", metric, json.dumps(pair), {}), ask)
        except GaveUp as error:
            return error
        if is_hit:
            self._usage.cache_hits += 1
            batches.one_less()
        value, declared = float(answer.text), self.settings.metrics[metric]
        if not declared.holds(value):
            raise self._server.rejected(
                f"{metric} is {value:g}, outside of the declared {declared.low:g} to {declared.high:g}; correct "
                f"low and high of served.metrics.{metric}, or set its clip"
            )
        return value
