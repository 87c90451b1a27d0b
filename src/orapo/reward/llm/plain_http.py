"""What a chat-completions server sends, brought down to its plain parts before litellm and its models read it.

Servers send content as a list of parts, counts of tokens as text, error pages of megabytes. litellm meets the first two
with a warning that quotes the content, and spends minutes on the third.
"""

import json
from typing import Any

import httpx

MOST_TOKENS = 10_000_000
"""No call takes more; a count above it is no count."""

_LONGEST_BODY = 4_000_000
_LONGEST_ERROR = 4000
_OF_ANOTHER_FORM = ("content-encoding", "content-length", "transfer-encoding")
_TEXT_PARTS = ("text", "output_text", None)


class PlainClient(httpx.AsyncClient):
    """An HTTP client that reads at most 4 MB of a success and 4 kB of an error, and hands on plain completions."""

    def __init__(self) -> None:
        """Keeps no connection open between calls: an event loop may end, and another one go on with this client."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        super().__init__(limits=limits, follow_redirects=True)

    async def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        """The response, read whole; raises httpx.ReadError where a success is longer than 4 MB."""
        response = await super().send(request, stream=True, **options)
        try:
            body = await _body(response)
        finally:
            await response.aclose()
        if response.is_success and request.url.path.endswith("/chat/completions"):
            body = plain_completion(body)
        headers = [(name, value) for name, value in response.headers.items() if name not in _OF_ANOTHER_FORM]
        plain = httpx.Response(response.status_code, headers=headers, content=body, request=request)
        plain.elapsed = response.elapsed
        return plain


async def _body(response: httpx.Response) -> bytes:
    longest = _LONGEST_BODY if response.is_success else _LONGEST_ERROR
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > longest:
            if response.is_success:
                raise httpx.ReadError(f"the answer is longer than {longest} bytes")
            break
    return bytes(body[:longest])


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
        return content.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
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
