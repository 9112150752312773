"""Slow heads, slow readers and content that never ends: each has its deadline, without a timer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mirror.serve.connection import Connection
from mirror.serve.shared import tune
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    Bench,
    config_with,
    listening_socket,
    parse_answer,
    running_worker,
)
from tests.unit.serve.idle_worker import FedConnection, IdleWorker
from tests.unit.serve.test_raw_requests import no_connection_left

# More than all buffers of a loopback connection hold.
CONTENT = bytes(range(251)) * 120_000
GET = f"GET {CRATE_TARGET} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n".encode()
INTERVAL_S = 60


@dataclass
class SlowReader:
    """A client with a small window that has asked and not read yet; `served` is its other end."""

    sock: socket.socket
    served: Connection

    async def take(self, size_bytes: int) -> int:
        """Read about so much, and let the server's side learn of it."""
        taken = 0
        while taken < size_bytes:
            piece = await asyncio.get_running_loop().sock_recv(self.sock, 4096)
            if not piece:
                raise EOFError
            taken += len(piece)
        await asyncio.sleep(0.002)
        return taken

    async def rest(self) -> int:
        """Read to the end, as fast as it comes."""
        taken = 0
        while piece := await asyncio.get_running_loop().sock_recv(self.sock, 65_536):
            taken += len(piece)
        return taken


@asynccontextmanager
async def slow_reader(bench: Bench) -> AsyncIterator[SlowReader]:
    loop = asyncio.get_running_loop()
    served: list[Connection] = []

    def connect() -> Connection:
        served.append(bench.worker.connect())
        return served[0]

    listening = listening_socket()
    tune(listening)
    # What the kernel takes by itself differs from machine to machine.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    server = await loop.create_server(connect, sock=listening)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
    sock.setblocking(False)
    try:
        await loop.sock_connect(sock, listening.getsockname())
        await loop.sock_sendall(sock, GET)
        async with asyncio.timeout(30):
            while not served or not served[0].is_paused:
                await asyncio.sleep(0.001)
        yield SlowReader(sock, served[0])
    finally:
        sock.close()
        server.close()
        for connection in served:
            connection.abort()
        await server.wait_closed()
        await no_connection_left(bench)


@pytest.mark.parametrize("steps", [1, 6], ids=["at-once", "in-steps"])
async def test_client_that_reads_a_few_bytes_now_and_then_is_cut(
    tmp_path: Path, steps: int
) -> None:
    """One byte a second would hold the connection for a year."""
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, CONTENT)
        async with slow_reader(bench) as client:
            for _ in range(2 * steps):
                await asyncio.get_running_loop().sock_recv(client.sock, INTERVAL_S // steps)
                bench.clock.advance(INTERVAL_S / steps)
                bench.worker.tick()
                await asyncio.sleep(0.01)
            bench.clock.advance(1)
            bench.worker.tick()
            await no_connection_left(bench)


async def test_client_as_fast_as_a_modem_is_waited_for(tmp_path: Path) -> None:
    """3500 bytes a second, half an hour long: what two connections over 56 kbit/s get each."""
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, CONTENT)
        async with slow_reader(bench) as client:
            for _ in range(180):
                await client.take(35_000)
                bench.clock.advance(10)
                bench.worker.tick()
            assert "1 connections" in repr(bench.worker)
            assert "paused" in repr(client.served)


async def test_rate_is_configured(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(min_rate=16_384, write_timeout=10)) as bench:
        bench.reader.keep(CRATE_KEY, CONTENT)
        async with slow_reader(bench) as client:
            with contextlib.suppress(EOFError, ConnectionError):
                for _ in range(5):
                    await client.take(35_000)
                    bench.clock.advance(10)
                    bench.worker.tick()
            await no_connection_left(bench)


async def test_closing_connection_is_waited_for_as_long_as_it_is_read(tmp_path: Path) -> None:
    """The last bytes wait in our kernel for minutes; cut, they would be lost with the answer."""
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, CONTENT[:400_000])
        async with slow_reader(bench) as client:
            received = 0
            while received < 380_000:
                received += await client.take(20_000)
                bench.clock.advance(6)
                bench.worker.tick()
            received += await client.rest()
            assert received > 400_000  # with the head


def test_dribbling_content_does_not_hold_a_refused_connection(tmp_path: Path) -> None:
    with IdleWorker(tmp_path) as worker, FedConnection(worker) as client:
        client.feed(b"GET / HTTP/1.1\r\nHost: m\r\nContent-Length: 1000000\r\n\r\n")
        assert parse_answer(client.sent).status == 400
        for _ in range(3):
            client.feed(b"x")
            worker.tick_after(1)
        assert client.is_aborted


def test_dribbling_empty_lines_do_not_hold_a_connection(tmp_path: Path) -> None:
    with IdleWorker(tmp_path) as worker, FedConnection(worker) as client:
        client.feed(b"\r")
        for _ in range(11):
            worker.tick_after(1)
        client.feed(b"\n")
        assert parse_answer(client.sent).status == 408
        assert parse_answer(client.sent).rest == b""


@pytest.mark.parametrize("begin", [b"", b"\r\n", b"G", b"GET /livez HTTP/1.1\r\nHost: m\r\nX: y"])
def test_head_deadline_counts_from_the_first_byte(tmp_path: Path, begin: bytes) -> None:
    with IdleWorker(tmp_path) as worker, FedConnection(worker) as client:
        client.feed(begin)
        for _ in range(9):
            worker.tick_after(1)
            client.feed(b"" if not begin else b"z" if b"X" in begin else b"")
        assert not client.sent
        assert not client.is_aborted
        worker.tick_after(2)
        assert client.is_aborted or parse_answer(client.sent).status == 408


def test_many_slow_heads_end_in_time_and_others_are_answered_meanwhile(tmp_path: Path) -> None:
    with IdleWorker(tmp_path) as worker:
        slow = [FedConnection(worker) for _ in range(60)]
        for client in slow:
            client.feed(b"GET /livez HTTP/1.1\r\nHost: m\r\n")
        answered = 0
        for _ in range(12):
            worker.tick_after(1)
            for client in slow:
                client.feed(b"X: y\r\n")
            with FedConnection(worker) as quick:
                quick.feed(b"GET /livez HTTP/1.1\r\nHost: m\r\n\r\n")
                answered += parse_answer(quick.sent).status == 200
        assert answered == 12
        assert [parse_answer(client.sent).status for client in slow] == [408] * 60
        worker.tick_after(3)
        assert all(client.is_aborted for client in slow)
        for client in slow:
            client.leave()
