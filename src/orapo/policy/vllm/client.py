"""One vLLM server over HTTP: transient failures are waited out, others are reported in one line."""

import logging
import math
import os
import random
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from orapo.errors import DataError, RunPaused, SettingError
from orapo.foreign import parse_json
from orapo.policy.settings import SamplingSettings
from orapo.policy.vllm.settings import ServerSettings
from orapo.remote.call_errors import quotable
from orapo.remote.http import ACCEPTED, check_encoding
from orapo.stopping import STOP_SIGNALS

log = logging.getLogger(__name__)

_PASSING = frozenset({408, 425, 429, 502, 503, 504})
"""Statuses that say "later"; a 500 may be a hiccup or a fault of the request, and is tried a few times only."""
_TRIES_AT_500 = 3
_OUTAGE_ENDS_AFTER = 60.0
"""Seconds without a failure after which the next one is worth a warning of its own."""
_LONGEST_LOOK = 2000
_LONGEST_ANSWER = 200_000_000
"""Bytes; 64 reports of 4,000 tokens with their log-probabilities have a tenth."""
_jitter = random.Random()
"""Own generator: the training's is left alone."""


OWN_WEIGHTS = "default"
"""How vLLM calls the version of the weights that it was started with."""


class Refused(Exception):
    """The server refuses a request, and would refuse it again.

    Attributes:
        status: of HTTP.
        reason: one line, in the server's words.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"HTTP {status}: {reason}")
        self.status = status
        self.reason = reason


class Stopped(RunPaused):
    """Another thread has made further waiting pointless."""


@dataclass
class ServerClient:
    """A client of the server; safe to use from several threads.

    Attributes:
        settings: address, limits, key.
        first_delay_seconds: before the second try; each further delay is twice as long, up to ``max_delay_seconds``.
        max_delay_seconds: longest delay.
    """

    settings: ServerSettings
    first_delay_seconds: float = 1.0
    max_delay_seconds: float = 30.0
    _http: httpx.Client = field(init=False, repr=False)
    _root: str = field(init=False, repr=False)
    _warned: float = field(init=False, repr=False, default=-math.inf)
    _lock: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        settings = self.settings
        self._root = settings.api_base.rstrip("/").removesuffix("/v1")
        self._http = httpx.Client(
            base_url=settings.api_base.rstrip("/") + "/",
            timeout=httpx.Timeout(settings.timeout_seconds, connect=min(10.0, settings.timeout_seconds)),
            headers={**_headers(settings.api_key_variable), "Accept-Encoding": ACCEPTED},
            # A proxy of the environment is meant for the world outside and would be shown the images; a certificate
            # that it names is kept.
            trust_env=False,
            transport=httpx.HTTPTransport(limits=httpx.Limits(max_connections=settings.max_concurrent + 1)),
        )

    def check(self, model: str, *, has_adapter: bool, sampling: SamplingSettings) -> None:
        """Checks that the server answers, serves ``model``, accepts its weights and returns the right probabilities.

        Asks once.

        Args:
            model: the name of the base model.
            has_adapter: whether an adapter is sent after each update, or all weights.
            sampling: of the run.

        Raises:
            RunPaused: it does not answer.
            SettingError: it serves something else, refuses the key, or was started with other settings than it needs.
        """
        base = self.settings.api_base
        try:
            cards = self._cards(self._asked_once("GET", "models", None))
            self._check_served(model, cards, sampling.max_new_tokens)
            self._check_takes_weights(has_adapter)
            self._check_raw_logps(model)
        except Refused as refused:
            raise SettingError(f"rollout.server.api_base {base}: the server refuses what is asked: {refused}") from None
        except httpx.HTTPError as error:
            raise RunPaused(
                f"no vLLM server answers at rollout.server.api_base {base} ({type(error).__name__}); start it as "
                "docs/vllm.md says"
            ) from None

    def _check_served(self, model: str, cards: Mapping[str, Mapping[str, Any]], max_new_tokens: int) -> None:
        base = self.settings.api_base
        if model not in cards:
            raise SettingError(
                f"the server at {base} does not serve {model!r}; it serves {', '.join(cards) or 'nothing'}: start it "
                "with that model, or give its name as rollout.server.model"
            )
        longest = cards[model].get("max_model_len")
        if isinstance(longest, int) and longest <= max_new_tokens:
            raise SettingError(
                f"rollout.max_new_tokens is {max_new_tokens}, and the server at {base} holds {longest} tokens, prompt "
                "included; start it with a larger --max-model-len"
            )

    def _check_takes_weights(self, has_adapter: bool) -> None:
        base = self.settings.api_base
        try:
            version = _weight_version(self._asked_once("GET", "/weight_info", None))
        except Refused:
            version = None
        if not has_adapter and version is None:
            raise SettingError(
                f"the server at {base} takes no new weights, which training without model.lora needs; start vLLM 0.32 "
                "or newer with VLLM_SERVER_DEV_MODE=1 in its environment"
            )
        if not has_adapter:
            return
        if version not in (None, OWN_WEIGHTS):
            raise SettingError(f"the server at {base} still has all weights of another run; start it anew")
        taken = self._send("POST", "load_lora_adapter", {"lora_name": "", "lora_path": ""})
        if taken.status_code in (404, 405):
            raise SettingError(
                f"the server at {base} takes no adapters; start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its "
                "environment and with --enable-lora"
            )

    def _check_raw_logps(self, model: str) -> None:
        """Of one token drawn from one: over the whole vocabulary it is below 0, renormalised over what is left it is 0.

        Renormalised ones make every ratio to the policy too small, by the probability that top-p, top-k and min-p keep.
        """
        told = self._asked_once("POST", "chat/completions", {**_PROBE, "model": model})
        try:
            logp = told["choices"][0]["logprobs"]["content"][0]["logprob"]
        except (KeyError, IndexError, TypeError):
            raise SettingError(
                f"the server at {self.settings.api_base} gives no log-probabilities; it must be a vLLM"
            ) from None
        if logp == 0:
            raise SettingError(
                f"the server at {self.settings.api_base} renormalises its log-probabilities after top-p and top-k; "
                "start it with --logprobs-mode raw_logprobs, which is vLLM's default"
            )

    def served_models(self) -> tuple[str, ...]:
        """Names of the base model and of the adapters that are loaded.

        Raises:
            Refused: by the server.
            RunPaused: it stays silent.
        """
        return tuple(self._cards(self._asked("GET", "models", None)))

    def model_root(self, model: str, stop: threading.Event | None = None) -> str:
        """The folder or hub name that a model which is served was loaded from; ``stop`` and errors as in ``post``."""
        return str(self._cards(self._asked("GET", "models", None, stop)).get(model, {}).get("root", model))

    def weight_version(self) -> str | None:
        """The server's name for its present weights; errors as in ``served_models``."""
        return _weight_version(self._asked("GET", "/weight_info", None))

    def post(
        self,
        path: str,
        body: Mapping[str, Any],
        stop: threading.Event | None = None,
        *,
        is_settled_by_500: bool = False,
    ) -> Any:
        """Posts JSON, waits out transient failures, and returns the response's JSON, or None where it has none.

        Args:
            path: below the address; with a leading slash below its host.
            body: what is sent.
            stop: set by another thread when waiting on has become pointless.
            is_settled_by_500: whether a status of 500 is a refusal, rather than a hiccup that may pass.

        Raises:
            Refused: by the server.
            RunPaused: no answer within the pause limit.
        """
        return self._asked("POST", path, body, stop, 1 if is_settled_by_500 else _TRIES_AT_500)

    @staticmethod
    def _cards(answer: Any) -> dict[str, Mapping[str, Any]]:
        """The entries of the server's model list, by name."""
        cards = answer.get("data") if isinstance(answer, dict) else None
        return {str(card["id"]): card for card in cards or () if isinstance(card, dict) and "id" in card}

    def _asked(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        stop: threading.Event | None = None,
        most_tries_at_500: int = _TRIES_AT_500,
    ) -> Any:
        began, tries, tries_at_500 = time.monotonic(), 0, 0
        while True:
            try:
                return self._asked_once(method, path, body)
            except httpx.HTTPError as error:
                reason = f"{type(error).__name__} at {path}"
            except Refused as refused:
                tries_at_500 += refused.status == 500
                if refused.status not in _PASSING and not (refused.status == 500 and tries_at_500 < most_tries_at_500):
                    raise
                reason = str(refused)
            tries += 1
            ceiling = min(self.max_delay_seconds, self.first_delay_seconds * 2.0 ** min(tries - 1, 30))
            delay = ceiling * _jitter.uniform(0.5, 1.0)
            waited = time.monotonic() - began
            silence = f"the rollout server {self.settings.api_base} gave no answer for {waited:.0f} s ({reason})"
            if stop is not None and stop.is_set():
                raise Stopped(silence)
            if waited + delay > self.settings.pause_limit_seconds:
                raise RunPaused(silence)
            self._warn(reason)
            ends = time.monotonic() + delay
            while (left := ends - time.monotonic()) > 0:
                STOP_SIGNALS.end_wait("the rollout server")
                time.sleep(min(left, 0.5))

    def _warn(self, reason: str) -> None:
        """Warns once an outage, however many requests meet it."""
        with self._lock:
            now = time.monotonic()
            is_new, self._warned = now - self._warned > _OUTAGE_ENDS_AFTER, now
        if is_new:
            log.warning("rollout server %s: %s; trying again", self.settings.api_base, reason)

    def _asked_once(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        response = self._send(method, path, body)
        if response.status_code != 200:
            hint = _KEY_HINT if response.status_code in (401, 403) else ""
            raise Refused(response.status_code, _reason(response, body or {}) + hint)
        return _json(response)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        url = f"{self._root}{path}" if path.startswith("/") else path
        ends = time.monotonic() + self.settings.timeout_seconds
        with self._http.stream(method, url, json=body) as response:
            check_encoding(response)
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                if time.monotonic() > ends:  # httpx limits each wait for bytes only
                    raise httpx.ReadTimeout(f"the answer took longer than {self.settings.timeout_seconds:g} s")
                if len(content) > _LONGEST_ANSWER:
                    raise httpx.ReadError(f"the answer is longer than {_LONGEST_ANSWER:,} bytes")
        return httpx.Response(response.status_code, content=bytes(content), request=response.request)


_KEY_HINT = "; rollout.server.api_key_variable names the environment variable that holds its key"

_PROBE: Mapping[str, Any] = {
    "messages": [{"role": "user", "content": "report"}],
    "temperature": 1.0,
    "top_k": 1,
    "max_completion_tokens": 1,
    "logprobs": True,
}


def _headers(api_key_variable: str | None) -> dict[str, str]:
    if api_key_variable is None:
        return {}
    key = os.environ.get(api_key_variable, "").strip()
    if not key:
        raise SettingError(
            f"rollout.server.api_key_variable: the environment variable {api_key_variable} that should hold the key is "
            "not set"
        )
    return {"Authorization": f"Bearer {key}"}


def _weight_version(answer: Any) -> str | None:
    version = answer.get("weight_version") if isinstance(answer, dict) else None
    return None if version is None else str(version)


def _reason(response: httpx.Response, body: Mapping[str, Any]) -> str:
    """The server's own message on one line, without anything that was sent."""
    content = _json(response)
    if content is None:
        return response.reason_phrase or "no reason given"
    error = content.get("error", content) if isinstance(content, dict) else None
    message = error.get("message", error.get("detail")) if isinstance(error, dict) else error
    told = str(message or "no reason given")
    # A complaint about a field may repeat the field: an image, or what the prompt tells of a patient.
    quoted = "" if "base64" in told[:_LONGEST_LOOK] else quotable(told, tuple(_texts(body.get("messages"))))
    return quoted or "the server's message repeats what was sent"


def _texts(sent: Any) -> Iterator[str]:
    """The texts of messages: contents, or parts of them."""
    for part in sent if isinstance(sent, list | tuple) else ():
        text = part.get("text") or part.get("content")
        yield from (text,) if isinstance(text, str) else _texts(text)


def _json(response: httpx.Response) -> Any:
    """The JSON of a response; None where it holds none."""
    try:
        return parse_json(response.content, "the answer")
    except DataError:
        return None
