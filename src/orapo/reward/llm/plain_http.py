"""What a chat-completions server sends, brought down to its plain parts before litellm and its models read it.

Servers send content as a list of parts, counts of tokens as text, error pages of megabytes. litellm meets the first two
with a warning that quotes the content, and spends minutes on the third.
"""

import json

import httpx

from orapo.remote.call_errors import without_lone_surrogates
from orapo.remote.http import BoundedClient

MOST_TOKENS = 10_000_000
"""No call takes more; a count above it is no count."""

_TEXT_PARTS = ("text", "output_text", None)


class PlainClient(BoundedClient):
    """A client that hands on plain completions."""

    def __init__(self) -> None:
        super().__init__(follow_redirects=True)

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
