"""Connections to an upstream are used again: their number is that of what is under way at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.unit.upstream.scripted_origin import pools_of
from tests.unit.upstream.test_pool import content_of

CONTENT = bytes(range(256)) * 4096  # above the read buffer


class CountingOrigin:
    """Answers any number of requests on a connection, and counts connections."""

    def __init__(self) -> None:
        self.connections = 0
        self.requests = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT))
                writer.write(CONTENT)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def counting_origin() -> AsyncIterator[CountingOrigin]:
    origin = CountingOrigin()
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0)
    origin.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield origin
    finally:
        server.close()


@pytest.mark.parametrize("at_once", [1, 4])
async def test_requests_one_after_the_other_share_their_connections(at_once: int) -> None:
    async with counting_origin() as origin, pools_of(origin.url) as pools:

        async def ask(rounds: int) -> None:
            for _ in range(rounds):
                async with pools["releases"].get("/x") as response:
                    assert await content_of(response) == CONTENT

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(ask(10))
        assert origin.requests == 10 * at_once
        assert origin.connections == at_once
