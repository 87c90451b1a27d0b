"""One metric server over HTTP: single calls, checked answers, and the kinds of failure."""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from orapo.errors import DataError
from orapo.foreign import parse_json
from orapo.remote.call_errors import CallError, CallErrorKind, kind_of, quotable, retry_after
from orapo.remote.http import BoundedClient

VERSIONS_HEADER = "metric-versions"


class MetricServer:
    """Speaks to the server; to be used on one event loop.

    Args:
        api_base: its address.
        timeout_seconds: of one call, above 0.
    """

    def __init__(self, api_base: str, timeout_seconds: float) -> None:
        self._base = api_base.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._http = BoundedClient(
            timeout=httpx.Timeout(timeout_seconds, connect=min(10.0, timeout_seconds)),
            uses_proxies=False,  # it would be shown the reports
        )

    async def versions(self) -> dict[str, str]:
        """The metrics that are ready, each with its version.

        Raises:
            CallError: no answer, or one that isn't such an object.
        """
        answer = _json(await self._called("GET", "health", None, ()))
        metrics = answer.get("metrics") if isinstance(answer, dict) else None
        if not isinstance(metrics, dict) or not all(isinstance(version, str) for version in metrics.values()):
            raise _rejected("GET /health has no versions of metrics; is it a metric server?")
        return metrics

    async def score(
        self, refs: Sequence[str], hyps: Sequence[str], metrics: Mapping[str, str]
    ) -> dict[str, list[float]]:
        """The values of each pair, finite, by metric.

        Args:
            refs: the reference texts.
            hyps: as many texts to score.
            metrics: those asked for, each with the version that it must have; an answer that names none passes.

        Raises:
            CallError: no answer, or another one than was asked for.
        """
        body = {"refs": list(refs), "hyps": list(hyps), "metrics": list(metrics)}
        response = await self._called("POST", "score", body, (*refs, *hyps))
        for name, version in _named_versions(response).items():
            if metrics.get(name, version) != version:
                raise _rejected(f"{name} was {metrics[name]!r} before and is another version now")
        answer = _json(response)
        if not isinstance(answer, dict):
            raise _rejected("the answer is no JSON object")
        return {name: _values(name, answer.get(name), len(refs)) for name in metrics}

    async def _called(self, method: str, path: str, body: object, private: tuple[str, ...]) -> httpx.Response:
        """The JSON of a successful response."""
        try:
            # In ASCII: no text is too strange to be sent.
            content = None if body is None else json.dumps(body).encode()
            headers = {"Content-Type": "application/json"}
            async with asyncio.timeout(self._timeout_seconds):  # httpx limits each wait for bytes only
                response = await self._http.request(method, f"{self._base}/{path}", content=content, headers=headers)
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
