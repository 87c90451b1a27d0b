"""Connections end with their requests, however these end, and an answer without an end is not read to it."""

import asyncio
import gzip
import os
import random
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from orapo.policy.vllm.client import ServerClient
from orapo.policy.vllm.settings import ServerSettings
from orapo.remote.http import BoundedClient

NUM_CALLS = 200


def num_sockets() -> int:
    found = 0
    for name in os.listdir("/proc/self/fd"):
        place = Path("/proc/self/fd") / name
        found += place.is_symlink() and os.readlink(place).startswith("socket:")
    return found


async def answer_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def sockets_left() -> int:
    """After calls most of which are cancelled, at any moment of them."""
    server = await asyncio.start_server(answer_late, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client, draw = BoundedClient(uses_proxies=False), random.Random(0)

    async def call() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(draw.uniform(0, 0.3)):
                await client.get(address)

    before = num_sockets()
    assert (await client.get(address)).json() == {}
    for _ in range(NUM_CALLS // 40):
        await asyncio.gather(*(call() for _ in range(40)))
    for _ in range(50):
        if num_sockets() == before:
            break
        await asyncio.sleep(0.1)
    left = num_sockets() - before
    server.close()
    return left


@pytest.mark.slow
def test_calls_that_are_cancelled_leave_no_connection() -> None:
    assert asyncio.run(sockets_left()) == 0


async def answer_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    status = (await reader.readuntil(b"\r\n\r\n")).split()[1].removeprefix(b"/")
    with suppress(ConnectionError):
        writer.write(b"HTTP/1.1 %s OK\r\n\r\n" % status)
        while True:
            writer.write(b"x" * 50_000)
            await writer.drain()
    writer.close()


async def read_for_ever(status: int) -> httpx.Response:
    server = await asyncio.start_server(answer_for_ever, "127.0.0.1", 0)
    client = BoundedClient(uses_proxies=False)
    async with server, asyncio.timeout(20):
        return await client.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{status}")


def test_an_answer_without_an_end_is_cut() -> None:
    assert asyncio.run(read_for_ever(503)).content == b"x" * 4_000
    with pytest.raises(httpx.ReadError, match="longer than 4000000 bytes"):
        asyncio.run(read_for_ever(200))


class Packed(BaseHTTPRequestHandler):
    """Answers with an empty object, packed as the path says, and with 406 who asks for more than can be read."""

    def do_GET(self) -> None:
        if self.headers["Accept-Encoding"] != "gzip, deflate":
            self.send_error(406)
            return
        encoding, content = self.path.removeprefix("/v1/").replace("-", ", "), b"{}"
        for _ in range(encoding.count("gzip")):
            content = gzip.compress(content)
        self.send_response(200)
        self.send_header("Content-Encoding", encoding)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("encoding", "is_read"), [("gzip", True), ("identity", True), ("gzip-gzip", False), ("br", False), ("zstd", False)]
)
def test_an_answer_that_is_packed_twice_or_by_more_is_not_unpacked(
    encoding: str, is_read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("httpx._client.ACCEPT_ENCODING", "gzip, deflate, br, zstd")  # where these are installed
    with ThreadingHTTPServer(("127.0.0.1", 0), Packed) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/v1"
        of_rollouts = ServerClient(ServerSettings(api_base=address))

        async def get() -> bytes:
            async with BoundedClient(uses_proxies=False) as client:
                return (await client.get(f"{address}/{encoding}")).content

        for asked in (lambda: asyncio.run(get()), lambda: of_rollouts._send("GET", encoding, None).content):
            if is_read:
                assert asked() == b"{}"
            else:
                with pytest.raises(httpx.DecodingError):
                    asked()
        server.shutdown()
