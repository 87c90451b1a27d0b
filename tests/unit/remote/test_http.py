"""Connections end with their requests, however these end."""

import asyncio
import os
import random
from contextlib import suppress
from pathlib import Path

import pytest

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
