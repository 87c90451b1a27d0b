"""Calls to a metric server: retries, a concurrency limit, and what a refusal means for the run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from orapo.errors import OrapoError, RunPaused
from orapo.measures.served_batches import Pair
from orapo.measures.served_server import MetricServer
from orapo.measures.served_settings import ServedSettings
from orapo.remote.call_errors import CallError, CallErrorKind
from orapo.remote.retry import ActiveTimer, RetryPolicy
from orapo.remote.semaphore import PrioritySemaphore
from orapo.remote.totals import CallTotals


class MetricServerUnavailable(RunPaused):
    """Pairs stayed without a value for longer than the run may pause."""


class MetricServerRejected(OrapoError):
    """The server lacks a metric, refuses what it is sent, or answers something that is no value."""


class MetricServerRevoked(MetricServerRejected, RunPaused):
    """It does so after it has answered in this run: what is trained so far is worth keeping."""


@dataclass(slots=True)
class ServedUsage(CallTotals):
    """Totals since the client was made.

    Attributes:
        values: that the calls gave.
    """

    values: int = 0


class MetricCalls:
    """Asks one server; to be used on one event loop.

    Args:
        settings: address, metrics, limits.
        retry: how often one call is tried.
        usage: what is done is added here.
    """

    def __init__(self, settings: ServedSettings, retry: RetryPolicy, usage: ServedUsage) -> None:
        self._settings = settings
        self._retry = retry
        self._usage = usage
        self._server = MetricServer(settings.api_base, settings.timeout_seconds)
        self._semaphore = PrioritySemaphore(settings.max_concurrent)
        self._versions: dict[str, str] = {}

    async def versions(self) -> dict[str, str]:
        """The version of each metric: cached values are one version's, so the server is asked before the cache.

        Raises:
            GaveUp: no answer within the tries and seconds allowed.
            MetricServerRejected: it lacks a metric or has another version of it.
        """
        if self._settings.cache == "read_only":
            return self._declared()
        if not self._versions:
            self._versions = await self._retry.run(lambda _: self._asked_versions(), self._count_retry)
        return self._versions

    async def check(self) -> dict[str, str]:
        """The version of each metric, asked for once; where the cache is only read nobody is asked.

        Raises:
            MetricServerUnavailable: nobody answers.
            MetricServerRejected: it lacks a metric or has another version of it.
        """
        if self._settings.cache == "read_only":
            return self._declared()
        try:
            return await self._asked_versions()
        except CallError as error:
            raise MetricServerUnavailable(
                f"no metric server answers at {self._settings.api_base} ({error.reason}); start it as "
                "docs/metric_server.md says"
            ) from None

    async def score(self, pairs: Sequence[Pair], metrics: tuple[str, ...]) -> dict[str, list[float]]:
        """The values of each pair, by metric.

        Raises:
            GaveUp: no answer within the tries and seconds allowed.
            MetricServerRejected: the request is refused, or what came is no value.
        """
        timer, tries = ActiveTimer(), count()
        refs, hyps = [ref for ref, _ in pairs], [hyp for _, hyp in pairs]
        versions = {metric: self._versions[metric] for metric in metrics}

        async def attempt(_: str | None) -> dict[str, list[float]]:
            with timer.paused():
                await self._semaphore.acquire(next(tries))
            try:
                self._usage.calls += 1
                return await self._server.score(refs, hyps, versions)
            finally:
                self._semaphore.release()

        try:
            values = await self._retry.run(attempt, self._count_retry, timer)
        except CallError as error:
            raise self.rejected(error.reason) from None
        self._usage.values += len(pairs) * len(metrics)
        return values

    def rejected(self, reason: str) -> MetricServerRejected:
        """The error for a server that can't be used."""
        kind = MetricServerRevoked if self._usage.values else MetricServerRejected
        return kind(f"metric server {self._settings.api_base}: {reason}")

    def _declared(self) -> dict[str, str]:
        return {name: metric.version for name, metric in self._settings.metrics.items()}

    async def _asked_versions(self) -> dict[str, str]:
        try:
            served = await self._server.versions()
        except CallError as error:
            if error.kind is CallErrorKind.REJECTED:
                raise self.rejected(error.reason) from None
            raise
        for name, metric in self._settings.metrics.items():
            if name not in served:
                raise self.rejected(f"it has no metric {name!r}; it has {_listed(served) or 'none'}")
            if metric.version not in ("", served[name]):
                raise self.rejected(f"{name} is {served[name]!r}; served.metrics.{name}.version is {metric.version!r}")
        return {name: served[name] for name in self._settings.metrics}

    def _count_retry(self, kind: str) -> None:
        self._usage.retries.update([kind])


def _listed(names: Iterable[str]) -> str:
    return " ".join(", ".join(names).split())[:300]
