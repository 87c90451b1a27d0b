"""An HTTP client that isn't drowned: servers send error pages of megabytes, or never stop."""

from typing import Any

import httpx

LONGEST_ANSWER = 4_000_000
_LONGEST_ERROR = 4000
_OF_ANOTHER_FORM = ("content-encoding", "content-length", "transfer-encoding")


class BoundedClient(httpx.AsyncClient):
    """Reads at most 4 MB of a success and 4 kB of an error.

    Keeps no connection open between calls: an event loop may end, and another one go on with this client.

    Args:
        options: of ``httpx.AsyncClient``.
    """

    def __init__(self, **options: Any) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        super().__init__(limits=limits, **options)

    async def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        """The response, read whole; raises httpx.ReadError where a success is longer than 4 MB."""
        response = await super().send(request, stream=True, **options)
        try:
            body = await _body(response)
        finally:
            await response.aclose()
        if response.is_success:
            body = self.plain(request, body)
        headers = [(name, value) for name, value in response.headers.items() if name not in _OF_ANOTHER_FORM]
        read = httpx.Response(response.status_code, headers=headers, content=body, request=request)
        read.elapsed = response.elapsed
        return read

    def plain(self, request: httpx.Request, body: bytes) -> bytes:
        """What is handed on of a success; all of it, unless a subclass says otherwise."""
        del request
        return body


async def _body(response: httpx.Response) -> bytes:
    longest = LONGEST_ANSWER if response.is_success else _LONGEST_ERROR
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > longest:
            if response.is_success:
                raise httpx.ReadError(f"the answer is longer than {longest} bytes")
            break
    return bytes(body[:longest])
