"""A client of HTTP/2 on a socket of its own, for tests of one worker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.http2_client import (
    Peer,
    Received,
    Setting,
)
from tests.unit.serve.fakes import (
    CRATE_KEY,
    INDEX_KEY,
    Bench,
)

SMALL = b"small content\n" * 20
LARGE = os.urandom(700_001)
DEADLINE_S = 5.0
LIBCURL_TAKES_BYTES = 32_768  # behind a 101, in one read; else the transfer fails
WIDE = {Setting.INITIAL_WINDOW_SIZE: 1 << 20}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Client:
    """A `Peer` on a socket of its own."""

    def __init__(
        self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.peer = peer
        self.reader = reader
        self.writer = writer
        self.is_closed = False  # by the server

    def send(self) -> None:
        self.writer.write(self.peer.take())

    async def until(self, claim: Callable[[], bool]) -> None:
        """Talk to the server until `claim` holds."""
        async with asyncio.timeout(DEADLINE_S):
            self.send()
            while not claim():
                data = await self.reader.read(1 << 16)
                if not data:
                    self.is_closed = True
                    assert claim(), f"closed: {self.peer.responses} {self.peer.goaways}"
                self.peer.receive(data)
                self.send()

    async def get(self, path: str, *fields: tuple[str, str], method: str = "GET") -> Received:
        response = self.peer.responses[self.peer.ask(path, fields, method=method)]
        await self.until(lambda: response.is_over)
        return response

    async def until_closed(self) -> None:
        """Read to the end that the server makes."""
        async with asyncio.timeout(DEADLINE_S):
            while data := await self.reader.read(1 << 16):
                self.peer.receive(data)
        self.is_closed = True


@asynccontextmanager
async def connected(
    bench: Bench, peer: Peer | None = None, *, before: bytes = b""
) -> AsyncIterator[Client]:
    """A client that has begun by prior knowledge; `before`: what a proxy sends first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    writer.write(before)
    client = Client(peer or Peer(), reader, writer)
    client.peer.begin()
    client.send()
    try:
        yield client
    finally:
        writer.close()


def keep_both(bench: Bench) -> None:
    bench.reader.keep(INDEX_KEY, SMALL)
    bench.reader.keep(CRATE_KEY, LARGE)


def assert_whole(response: Received, content: bytes) -> None:
    assert (response.status, response.is_complete, response.reset_code) == (200, True, None)
    assert response.content == content


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not claim():
            await asyncio.sleep(0.001)
