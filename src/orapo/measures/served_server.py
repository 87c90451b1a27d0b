"""One metric server over HTTP: retries, a concurrency limit, checked answers, and what a refusal means for the run."""

import asyncio
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx

from orapo.errors import DataError, OrapoError, RunPaused
from orapo.foreign import parse_json
from orapo.measures.served_batches import Pair
from orapo.measures.served_settings import ServedSettings
from orapo.remote.call_errors import CallError, CallErrorKind, kind_of, quotable, retry_after
from orapo.remote.http import BoundedClient
from orapo.remote.retry import ActiveTimer, RetryPolicy
from orapo.remote.semaphore import PrioritySemaphore
from orapo.remote.totals import CallTotals

VERSIONS_HEADER = "metric-versions"


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


class MetricServer:
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
        self._http = BoundedClient(
            timeout=httpx.Timeout(settings.timeout_seconds, connect=min(10.0, settings.timeout_seconds)),
            uses_proxies=False,  # it would be shown the reports
        )
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
        """The values of each pair, finite, by metric.

        Raises:
            GaveUp: no answer within the tries and seconds allowed.
            MetricServerRejected: the request is refused, or what came is no value.
        """
        timer, tries = ActiveTimer(), count()

        async def attempt(_: str | None) -> dict[str, list[float]]:
            with timer.paused():
                await self._semaphore.acquire(next(tries))
            try:
                self._usage.calls += 1
                return await self._asked_values(pairs, metrics)
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
            answer = _json(await self._called("GET", "health", None, ()))
        except CallError as error:
            if error.kind is CallErrorKind.REJECTED:
                raise self.rejected(error.reason) from None
            raise
        served = answer.get("metrics") if isinstance(answer, dict) else None
        if not isinstance(served, dict) or not all(isinstance(version, str) for version in served.values()):
            raise self.rejected("GET /health has no versions of metrics; is it a metric server?")
        for name, metric in self._settings.metrics.items():
            if name not in served:
                raise self.rejected(f"it has no metric {name!r}; it has {_listed(served) or 'none'}")
            if metric.version not in ("", served[name]):
                raise self.rejected(f"{name} is {served[name]!r}; served.metrics.{name}.version is {metric.version!r}")
        return {name: served[name] for name in self._settings.metrics}

    async def _asked_values(self, pairs: Sequence[Pair], metrics: tuple[str, ...]) -> dict[str, list[float]]:
        """The answer to one call, of the versions that were asked for; one that names none passes."""
        refs, hyps = [ref for ref, _ in pairs], [hyp for _, hyp in pairs]
        response = await self._called("POST", "score", {"refs": refs, "hyps": hyps, "metrics": metrics}, (*refs, *hyps))
        for name, version in _named_versions(response).items():
            if name in metrics and version != self._versions[name]:
                raise _rejected(f"{name} was {self._versions[name]!r} before and is another version now")
        answer = _json(response)
        if not isinstance(answer, dict):
            raise _rejected("the answer is no JSON object")
        return {name: _values(name, answer.get(name), len(pairs)) for name in metrics}

    async def _called(self, method: str, path: str, body: object, private: tuple[str, ...]) -> httpx.Response:
        """A successful response that is JSON."""
        address = f"{self._settings.api_base.rstrip('/')}/{path}"
        try:
            # In ASCII: no text is too strange to be sent.
            content = None if body is None else json.dumps(body).encode()
            headers = {"Content-Type": "application/json"}
            async with asyncio.timeout(self._settings.timeout_seconds):  # httpx limits each wait for bytes only
                response = await self._http.request(method, address, content=content, headers=headers)
        except (TimeoutError, httpx.TimeoutException):
            raise CallError("no answer in time", CallErrorKind.UNAVAILABLE) from None
        except httpx.HTTPError as error:
            raise CallError(f"not available ({type(error).__name__})", CallErrorKind.UNAVAILABLE) from None
        if not response.is_success:
            reason = f"status {response.status_code}{_told(response, private)}"
            raise CallError(reason, kind_of(response.status_code), retry_after(response.headers))
        if _json(response) is None:
            raise CallError("the answer is no JSON", CallErrorKind.UNAVAILABLE)
        return response

    def _count_retry(self, kind: str) -> None:
        self._usage.retries.update([kind])


def _values(name: str, values: object, count: int) -> list[float]:
    if values is None:
        raise _rejected(f"the answer lacks {name}")
    if not isinstance(values, list) or len(values) != count:
        got = f"{len(values)} values" if isinstance(values, list) else "no list"
        raise _rejected(f"{name}: {got} came back where {count} were asked for")
    for place, value in enumerate(values):
        if not _is_finite(value):
            shown = value if isinstance(value, float) else type(value).__name__
            raise _rejected(f"{name}: value {place} is {shown}; it must be a finite number")
    return [float(value) for value in values]


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _rejected(reason: str) -> CallError:
    """Not tried again: a metric that gives no number gives none the second time."""
    return CallError(reason, CallErrorKind.REJECTED)


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()  # a value out of bounds is told apart from an answer that is none
    except (ValueError, RecursionError):
        return None


def _told(response: httpx.Response, private: tuple[str, ...]) -> str:
    """The server's own reason, where it quotes none of what was sent."""
    answer = _json(response)
    told = quotable(str(answer.get("error", "")), private) if isinstance(answer, dict) else ""
    return f": {told}" if told else ""


def _named_versions(response: httpx.Response) -> dict[str, str]:
    try:
        versions = parse_json(response.headers.get(VERSIONS_HEADER, "{}"), "the header")
    except DataError:
        return {}
    return versions if isinstance(versions, dict) else {}


def _listed(names: Iterable[str]) -> str:
    return " ".join(", ".join(names).split())[:300]
