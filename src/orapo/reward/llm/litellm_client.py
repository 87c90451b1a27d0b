"""litellm, imported late and quietly, and what chat-completions servers send it, brought down to its plain parts.

It takes seconds to import, and only the calls themselves need it. Servers send content as a list of parts, counts of
tokens as text, error pages of megabytes: litellm meets the first two with a warning that quotes the content, and spends
minutes on the third.
"""

import asyncio
import json
import logging
import os
import random
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

import httpx

from orapo.remote.call_errors import without_lone_surrogates
from orapo.remote.http import BoundedClient

MOST_TOKENS = 10_000_000
"""No call takes more; a count above it is no count."""

_SECONDS_TO_IMPORT = 60.0
_TEXT_PARTS = ("text", "output_text", None)

_TELL_WHAT_IS_SENT = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "openai", "httpx", "httpcore", "botocore")
"""Loggers whose lines can hold addresses, headers and whole prompts, at levels that the environment may ask for."""

_importing = threading.Lock()


def load_litellm() -> Any:
    """The module, imported by the first call; it neither calls out nor reads ``.env`` files nor prints advice."""
    with _importing:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
        import litellm

        litellm.suppress_debug_info = True
        litellm.telemetry = False
        if not isinstance(litellm.aclient_session, PlainClient):
            litellm.aclient_session = PlainClient(uses_proxies=True)
        for name in _TELL_WHAT_IS_SENT:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        return litellm


def import_what_draws_random_numbers() -> None:
    """Imports in the caller's thread what litellm would import in another one, and puts Python's generator back.

    Importing ``rich.style`` draws from Python's global generator. In the thread of the calls that would fall between
    two draws of the training.
    """
    state = random.getstate()
    import rich.style  # noqa: F401

    random.setstate(state)


@lru_cache
def first_call(provider: str) -> "FirstCall":
    """The gate of one provider ("openai"), the same for the whole process."""
    return FirstCall()


class FirstCall:
    """Lets the first call of a provider go alone.

    litellm imports hundreds of modules in it, for seconds in which every other call would time out.
    """

    def __init__(self) -> None:
        self._alone = asyncio.Lock()
        self._is_over = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Waits for the first call, or is it; gives the seconds to grant on top of a timeout."""
        if not self._is_over:
            async with self._alone:
                if not self._is_over:
                    try:
                        yield _SECONDS_TO_IMPORT
                    finally:
                        self._is_over = True
                    return
        yield 0.0


class PlainClient(BoundedClient):
    """A client that returns plain completions."""

    def plain(self, request: httpx.Request, body: bytes) -> bytes:
        """A chat completion's plain parts; other answers as they are."""
        return plain_completion(body) if request.url.path.endswith("/chat/completions") else body


def plain_completion(body: bytes) -> bytes:
    """A chat completion of the first choice's text, finish reason, model and usage; b"" where the body is none."""
    try:
        answer = json.loads(body, parse_int=_whole)
    except (ValueError, RecursionError):
        return b""
    if not isinstance(answer, dict) or not isinstance(answer.get("choices"), list):
        return b""
    choices = [_plain_choice(choice) for choice in answer["choices"][:1]]
    plain = {"id": "", "object": "chat.completion", "created": 0, "model": _text(answer.get("model")) or None}
    usage = _plain_usage(answer.get("usage"))
    return json.dumps(plain | {"choices": choices} | ({"usage": usage} if usage else {})).encode()


def text_of(content: object) -> str:
    """The text of a message's content: a string, or the text parts of a list; "" for anything else.

    Half of a surrogate pair, which no file can hold, becomes U+FFFD.
    """
    if isinstance(content, str):
        return without_lone_surrogates(content)
    parts = content if isinstance(content, list) else [content]
    return text_of("".join(map(_part, parts)))


def token_count(value: object) -> int | None:
    """A count of tokens as it should be, a whole number from 0 to ``MOST_TOKENS``; None for anything else."""
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None


def _part(part: object) -> str:
    if isinstance(part, dict) and part.get("type") in _TEXT_PARTS:
        part = part.get("text")
    return _text(part)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _plain_choice(choice: object) -> dict[str, object]:
    choice = choice if isinstance(choice, dict) else {}
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    return {
        "index": 0,
        "finish_reason": _text(choice.get("finish_reason")) or "stop",
        "message": {"role": "assistant", "content": text_of(content)},
    }


def _plain_usage(usage: object) -> dict[str, int]:
    """Both counts, or none: half of them would be half of the cost."""
    usage = usage if isinstance(usage, dict) else {}
    written, read = token_count(usage.get("completion_tokens")), token_count(usage.get("prompt_tokens"))
    if written is None or read is None:
        return {}
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _whole(digits: str) -> int:
    # Python refuses numbers of thousands of digits; what is no count needn't be exact.
    return int(digits) if len(digits) < 19 else -1
