"""What a worker has counted, and a client that sends what it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.unit.serve.fakes import (
    INDEX_TARGET,
    Bench,
    is_whole,
)

SMALL = b"small content\n" * 20
LARGE = os.urandom(300_000)
HEAD = f"GET {INDEX_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n".encode()
TAGGED = 'GET {} HTTP/1.1\r\nHost: m\r\nIf-None-Match: "{}"\r\n\r\n'

Served = Counter[tuple[str, str, str]]  # class, outcome, column


def served(bench: Bench, group: str = "other") -> Served:
    """What the cells say of one group, without zeros."""
    bench.worker.accounts.settle()
    named = bench.counters.layout.named(tuple(bench.counters.view))
    return Counter(
        {
            (name[2], name[3], name[4]): value
            for name, value in named.items()
            if name[0] == "served" and name[1] == group
        }
    )


def column(bench: Bench, name: str) -> int:
    return sum(value for key, value in served(bench).items() if key[2] == name)


def total(bench: Bench, name: str) -> int:
    return bench.counters.view[bench.counters.layout.row("total", name)]


def latencies(bench: Bench) -> Counter[tuple[str, str]]:
    """Answers by path and class."""
    named = bench.counters.layout.named(tuple(bench.counters.view))
    found: Counter[tuple[str, str]] = Counter()
    for name, value in named.items():
        if name[0] == "latency" and name[3] != "sum_us":
            found[name[1], name[2]] += value
    return found


class Wire:
    """A client that counts what it gets."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.received_bytes = 0

    async def ask(self, raw: bytes) -> bytes:
        """Send one GET; its whole answer."""
        self._writer.write(raw)
        received = b""
        async with asyncio.timeout(5):
            while not is_whole(received):
                piece = await self._reader.read(1 << 20)
                assert piece, received
                received += piece
        self.received_bytes += len(received)
        return received


@asynccontextmanager
async def wire(bench: Bench, client: str = "127.0.0.1") -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port, local_addr=(client, 0))
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def reset(writer: asyncio.StreamWriter) -> None:
    """Leave without a word: a client that only closes may still be reading."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
