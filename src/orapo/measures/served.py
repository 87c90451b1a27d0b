"""Metrics by a server: report pairs in, values out, whatever the server does in between."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from orapo.errors import OrapoError, RunPaused
from orapo.measures.served_batches import Batches, Pair
from orapo.measures.served_server import MetricServer
from orapo.measures.served_settings import ServedMetric, ServedSettings
from orapo.remote.background import Pending
from orapo.remote.cache import Answer, AnswerCache, cache_key
from orapo.remote.call_errors import CallError, CallErrorKind
from orapo.remote.pause import Pause
from orapo.remote.retry import GaveUp, RetryPolicy, WorkingClock
from orapo.remote.slots import Slots

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


class MetricServerUnavailable(RunPaused):
    """Pairs stayed without a value for longer than the run may pause."""


class MetricServerRejected(OrapoError):
    """The server lacks a metric, refuses what it is sent, or answers something that is no value."""


class MetricServerRevoked(MetricServerRejected, RunPaused):
    """It does so after it has answered in this run: what is trained so far is worth keeping."""


@dataclass(slots=True)
class _Usage:
    calls: int = 0
    values: int = 0
    cache_hits: int = 0
    duplicates: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    seconds_waited: float = 0.0


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
        self._retry = retry or RetryPolicy(settings.max_tries, deadline_seconds=settings.deadline_seconds)
        self._server = MetricServer(settings.api_base, settings.timeout_seconds)
        self._cache = AnswerCache(settings.cache_path, settings.cache)
        self._slots = Slots(settings.max_concurrent)
        self._versions: dict[str, str] = {}
        self._usage = _Usage()

    def check(self) -> dict[str, str]:
        """The version of each metric; asks once, so that a run learns at its start that no server is there.

        Raises:
            MetricServerUnavailable: nobody answers.
            MetricServerRejected: it lacks a metric or has another version of it.
        """
        return Pending(self._checked(), self._add_wait).result()

    def start(self, refs: Sequence[str], hyps: Sequence[str]) -> "PendingMetrics":
        """Begins to score ``hyps``, each beside the reference at its place; equal pairs are scored once.

        Raises:
            ValueError: not equally many.
        """
        pairs = tuple(zip(refs, hyps, strict=True))
        distinct = tuple(dict.fromkeys(pairs))
        self._usage.duplicates += len(pairs) - len(distinct)
        return PendingMetrics(Pending(self._answered(distinct), self._add_wait), pairs, tuple(self.settings.metrics))

    def score(self, refs: Sequence[str], hyps: Sequence[str]) -> dict[str, list[float]]:
        """``start`` and ``PendingMetrics.result`` in one."""
        return self.start(refs, hyps).result()

    def totals(self) -> Mapping[str, float]:
        """So far: calls, values they gave, cache_hits, duplicates in a batch, retries, seconds_waited for results."""
        usage = self._usage
        return {
            "calls": float(usage.calls),
            "values": float(usage.values),
            "cache_hits": float(usage.cache_hits),
            "duplicates": float(usage.duplicates),
            "retries": float(usage.retries.total()),
            "seconds_waited": usage.seconds_waited,
        }

    def _add_wait(self, seconds: float) -> None:
        self._usage.seconds_waited += seconds

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
        """Adds the values that can be had now; why others can't, None where none is missing."""
        try:
            versions = await self._known_versions()
        except GaveUp as error:
            return error.reason
        async with Batches(self._send, self.settings.batch_size, len(questions)) as batches:
            tasks = [asyncio.create_task(self._answer(each, versions[each[1]], batches)) for each in questions]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        reasons = []
        for question, task in zip(questions, tasks, strict=True):
            value = task.result()
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
            raise self._rejected(
                f"{metric} is {value:g}, outside of the declared {declared.low:g} to {declared.high:g}; correct "
                f"low and high of served.metrics.{metric}, or set its clip"
            )
        return value

    async def _send(self, pairs: Sequence[Pair], metrics: tuple[str, ...]) -> dict[str, list[float]]:
        """One call with its further tries."""
        clock, tries = WorkingClock(), count()
        refs, hyps = [ref for ref, _ in pairs], [hyp for _, hyp in pairs]
        versions = {metric: self._versions[metric] for metric in metrics}

        async def attempt(_: str | None) -> dict[str, list[float]]:
            with clock.stopped():
                await self._slots.acquire(next(tries))
            try:
                self._usage.calls += 1
                return await self._server.score(refs, hyps, versions)
            finally:
                self._slots.release()

        try:
            values = await self._retry.run(attempt, self._count_retry, clock)
        except CallError as error:
            raise self._rejected(error.reason) from None
        self._usage.values += len(pairs) * len(metrics)
        return values

    async def _known_versions(self) -> dict[str, str]:
        """The version of each metric: the cache's values are one version's, so the server is asked first."""
        if self.settings.cache == "read_only":
            return {name: metric.version for name, metric in self.settings.metrics.items()}
        if not self._versions:
            self._versions = await self._retry.run(lambda _: self._asked_versions(), self._count_retry)
        return self._versions

    async def _asked_versions(self) -> dict[str, str]:
        try:
            served = await self._server.versions()
        except CallError as error:
            if error.kind is CallErrorKind.REJECTED:
                raise self._rejected(error.reason) from None
            raise
        for name, metric in self.settings.metrics.items():
            if name not in served:
                raise self._rejected(f"it has no metric {name!r}; it has {_listed(served) or 'none'}")
            if metric.version not in ("", served[name]):
                raise self._rejected(f"{name} is {served[name]!r}; served.metrics.{name}.version is {metric.version!r}")
        return {name: served[name] for name in self.settings.metrics}

    async def _checked(self) -> dict[str, str]:
        try:
            return await self._asked_versions()
        except CallError as error:
            raise MetricServerUnavailable(
                f"no metric server answers at {self.settings.api_base} ({error.reason}); start it as "
                "docs/metric_server.md says"
            ) from None

    def _count_retry(self, kind: str) -> None:
        self._usage.retries.update([kind])

    def _rejected(self, reason: str) -> MetricServerRejected:
        kind = MetricServerRevoked if self._usage.values else MetricServerRejected
        return kind(f"metric server {self.settings.api_base}: {reason}")


def _listed(names: Iterable[str]) -> str:
    """Names that a server gave, on one line."""
    return " ".join(", ".join(names).split())[:300]


class PendingMetrics:
    """Values under way in the background.

    Args:
        pending: values by pair and metric.
        pairs: as handed over.
        metrics: their names.
    """

    def __init__(self, pending: Pending[dict[Question, float]], pairs: tuple[Pair, ...], metrics: tuple[str, ...]):
        self._pending = pending
        self._pairs = pairs
        self._metrics = metrics

    def result(self) -> dict[str, list[float]]:
        """Waits for the last one; by metric one finite value per pair, in order. Ctrl-C ends the wait and the calls.

        Raises:
            MetricServerUnavailable: pairs stayed without a value for longer than the run may pause.
            MetricServerRejected: a metric is missing, the request is refused, or what came is no value;
                ``MetricServerRevoked`` where the server gave values before.
            CacheMiss: the cache may only be read, and lacks a value.
            DataError: the cache's file can't be used.
        """
        found = self._pending.result()
        return {metric: [found[pair, metric] for pair in self._pairs] for metric in self._metrics}
