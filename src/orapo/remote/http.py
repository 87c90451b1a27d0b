"""An HTTP client with size limits: servers send error pages of megabytes, or never stop."""

import ssl
from collections.abc import AsyncIterator
from functools import cached_property
from importlib.util import find_spec
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx

from orapo.remote.address import is_external

LONGEST_ANSWER = 4_000_000
ACCEPTED = "gzip, deflate"
"""Asked for in every request: httpx asks for br and zstd too where their packages are installed."""
_LONGEST_ERROR = 4000
_OF_ANOTHER_FORM = ("content-encoding", "content-length", "transfer-encoding")


class BoundedClient(httpx.AsyncClient):
    """Reads at most 4 MB of a success and 4 kB of an error; goes where it is sent, and no redirect leads elsewhere.

    Keeps no connection open between calls: an event loop may end, and another one continue with this client.

    Args:
        uses_proxies: whether to use those of the environment, for addresses that aren't on this machine.
        options: of ``httpx.AsyncClient``.
    """

    def __init__(self, *, uses_proxies: bool, **options: Any) -> None:
        super().__init__(transport=FreshConnections(uses_proxies=uses_proxies), follow_redirects=False, **options)

    async def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        """The response, read whole; raises httpx.ReadError where a success is longer than 4 MB."""
        request.headers["Accept-Encoding"] = ACCEPTED
        response = await super().send(request, stream=True, **options)
        try:
            check_encoding(response)
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
        """The part of a success's body that is kept; all of it, unless a subclass limits it."""
        del request
        return body


def check_encoding(response: httpx.Response) -> None:
    """Refuses a body that a few bytes of the wire may fill the memory with: packed twice, or by more than a thousand.

    Raises:
        httpx.DecodingError: names what is accepted.
    """
    encoding = ", ".join(response.headers.get_list("content-encoding"))
    if encoding.strip().lower() not in ("", "identity", *ACCEPTED.split(", ")):
        raise httpx.DecodingError("the answer must be plain, gzip or deflate", request=response.request)


class FreshConnections(httpx.AsyncBaseTransport):
    """A connection of its own for each request.

    httpcore's pool never lets go of one whose request was cancelled while it connected: one for a few dozen calls that
    take too long, for as long as a run lasts.

    Args:
        uses_proxies: as for ``BoundedClient``.
    """

    def __init__(self, *, uses_proxies: bool) -> None:
        self._uses_proxies = uses_proxies

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends the request and closes its connection after the response, or after an error."""
        proxy = proxy_of(request.url) if self._uses_proxies else None
        transport = httpx.AsyncHTTPTransport(verify=self._certificates, proxy=proxy)
        try:
            response = await transport.handle_async_request(request)
        except BaseException:
            await transport.aclose()
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _LastStream(response.stream, transport)
        return response

    @cached_property
    def _certificates(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()


def proxy_of(url: httpx.URL) -> str | None:
    """The proxy that the environment names for an address.

    None for one on this machine, named in NO_PROXY or not: what may not leave it would be shown to the proxy.
    """
    if not is_external(str(url)) or proxy_bypass(url.host):
        return None
    proxies = _proxies()
    return proxies.get(url.scheme) or proxies.get("all")


def unusable_proxy() -> str:
    """The variable of the environment that names a proxy which can't be used; "" where there is none."""
    allowed = ("http", "https", *(("socks5", "socks5h") if find_spec("socksio") else ()))
    for name, proxy in _proxies().items():
        try:
            url = httpx.Proxy(proxy).url
        except (ValueError, httpx.InvalidURL):
            url = httpx.URL()
        if url.scheme not in allowed or not url.host:
            return f"{name.upper()}_PROXY"
    return ""


def _proxies() -> dict[str, str]:
    found = {name: proxy for name, proxy in getproxies().items() if proxy and name in ("http", "https", "all")}
    return {name: proxy if "://" in proxy else f"http://{proxy}" for name, proxy in found.items()}


class _LastStream(httpx.AsyncByteStream):
    """The body of a response whose connection is closed after it."""

    def __init__(self, stream: httpx.AsyncByteStream, transport: httpx.AsyncHTTPTransport) -> None:
        self._stream = stream
        self._transport = transport

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._transport.aclose()


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
