"""One vLLM server over HTTP: what passes by itself is waited for, what doesn't is one line."""

import json
import logging
import os
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from orapo.errors import RunPaused, SettingError
from orapo.policy.vllm.settings import ServerSettings

log = logging.getLogger(__name__)

_PASSING = frozenset({408, 425, 429, 502, 503, 504})
"""Statuses that say "later"; a 500 may be a hiccup or a fault of the request, and is tried a few times only."""
_TRIES_AT_500 = 3
_LONGEST_REASON = 200
_jitter = random.Random()
"""Own generator: the training's is left alone."""


class Refused(Exception):
    """The server won't do what it was asked, and would not later.

    Attributes:
        status: of HTTP.
        reason: one line, in the server's words.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"HTTP {status}: {reason}")
        self.status = status
        self.reason = reason


class Stopped(RunPaused):
    """Waiting on had become pointless, for a reason that another thread has."""


@dataclass
class ServerClient:
    """Speaks to the server; safe to use from several threads.

    Attributes:
        settings: address, limits, key.
        first_delay_seconds: before the second try; each further delay is twice as long, up to ``max_delay_seconds``.
        max_delay_seconds: longest delay.
    """

    settings: ServerSettings
    first_delay_seconds: float = 1.0
    max_delay_seconds: float = 30.0
    _http: httpx.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self._http = httpx.Client(
            base_url=settings.api_base.rstrip("/") + "/",
            timeout=httpx.Timeout(settings.timeout_seconds, connect=min(10.0, settings.timeout_seconds)),
            headers=_headers(settings.api_key_variable),
            # A proxy of the environment is meant for the world outside and would be shown the images; a certificate
            # that it names is kept.
            trust_env=False,
            transport=httpx.HTTPTransport(limits=httpx.Limits(max_connections=settings.max_concurrent + 1)),
        )

    def check(self, model: str) -> None:
        """Looks whether the server is there, serves ``model`` and takes adapters; asks once.

        Raises:
            RunPaused: it does not answer.
            SettingError: it serves something else, refuses the key, or takes no adapters.
        """
        base = self.settings.api_base
        try:
            served = self.served_models(tries_once=True)
            taken = self._send("POST", "load_lora_adapter", {"lora_name": "", "lora_path": ""})
        except Refused as refused:
            raise SettingError(
                f"rollout.server.api_base {base}: the server refuses to list its models: {refused}"
            ) from None
        except httpx.HTTPError as error:
            raise RunPaused(
                f"no vLLM server answers at rollout.server.api_base {base} ({type(error).__name__}); start it as "
                "docs/vllm.md says"
            ) from None
        if model not in served:
            raise SettingError(
                f"the server at {base} does not serve {model!r}; it serves {', '.join(served) or 'nothing'}: start it "
                "with that model, or give its name as rollout.server.model"
            )
        if taken.status_code in (404, 405):
            raise SettingError(
                f"the server at {base} takes no adapters; start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its "
                "environment and with --enable-lora"
            )

    def served_models(self, tries_once: bool = False) -> tuple[str, ...]:
        """Names of the base model and of the adapters that are loaded.

        Raises:
            Refused: by the server.
            RunPaused: it stays silent, unless ``tries_once``, which lets httpx's errors through.
        """
        answer = self._asked_once("GET", "models", None) if tries_once else self._asked("GET", "models", None, None)
        cards = answer.get("data") if isinstance(answer, dict) else None
        return tuple(str(card["id"]) for card in cards or () if isinstance(card, dict) and "id" in card)

    def post(self, path: str, body: Mapping[str, Any], stop: threading.Event | None = None) -> Any:
        """Posts JSON, waits out what passes by itself, and gives the answer's JSON, or None where it is no JSON.

        Args:
            path: below the address.
            body: what is sent.
            stop: set by another thread when waiting on has become pointless.

        Raises:
            Refused: by the server.
            RunPaused: no answer within the pause limit.
        """
        return self._asked("POST", path, body, stop)

    def _asked(self, method: str, path: str, body: Mapping[str, Any] | None, stop: threading.Event | None) -> Any:
        began, tries, tries_at_500 = time.monotonic(), 0, 0
        while True:
            try:
                return self._asked_once(method, path, body)
            except httpx.HTTPError as error:
                reason = f"{type(error).__name__} at {path}"
            except Refused as refused:
                tries_at_500 += refused.status == 500
                if refused.status not in _PASSING and not (refused.status == 500 and tries_at_500 < _TRIES_AT_500):
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
            if tries == 1:
                log.warning("rollout server %s: %s; trying again", self.settings.api_base, reason)
            time.sleep(delay)

    def _asked_once(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        response = self._send(method, path, body)
        if response.status_code != 200:
            raise Refused(response.status_code, _reason(response))
        try:
            return response.json()
        except json.JSONDecodeError:
            return None

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        return self._http.request(method, path, json=body)


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


def _reason(response: httpx.Response) -> str:
    """The server's own message on one line; never anything of what was sent."""
    try:
        content = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return response.reason_phrase or "no reason given"
    error = content.get("error", content) if isinstance(content, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    line = " ".join(str(message or "no reason given").split())
    # A complaint about a field may repeat the field, and the longest of them is an image.
    return "the server's message repeats what was sent" if "base64" in line else line[:_LONGEST_REASON]
