"""However a connection ends that had a large queue in the kernel, its place is given back."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mirror.accounting.layout import Outcome
from mirror.route.route import ContentClass
from mirror.serve.hot_contents import LARGEST_BYTES
from mirror.serve.send_queues import MOST
from mirror.serve.writability import Writability
from tests.http2_client import Peer, Setting
from tests.tls_files import client_context, make_server
from tests.unit.serve.fakes import CRATE_KEY, CRATE_TARGET, Bench, running_worker
from tests.unit.serve.flights import until
from tests.unit.serve.h2_client import PREFACE, connected

CONTENT = os.urandom(5_000_000)
GET = f"GET {CRATE_TARGET} HTTP/1.1\r\nHost: m\r\n"
AT_ONCE = 3


def queues_of(bench: Bench) -> Writability:
    return bench.worker._shared.writability


def is_left(bench: Bench) -> bool:
    """Whether nobody has a place, and nobody is waited for."""
    return repr(queues_of(bench).queues) == "<SendQueues 0 large>" and not queues_of(bench)._ready


async def take(client: socket.socket, size_bytes: int) -> None:
    loop = asyncio.get_running_loop()
    while size_bytes > 0:
        taken = len(await loop.sock_recv(client, 1 << 20))
        assert taken
        size_bytes -= taken


async def take_all(bench: Bench, client: socket.socket) -> None:
    while await asyncio.get_running_loop().sock_recv(client, 1 << 20):
        pass


async def close(bench: Bench, client: socket.socket) -> None:
    client.close()


async def reset(bench: Bench, client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


async def stop_reading(bench: Bench, client: socket.socket) -> None:
    """Until the deadline has passed, and what may be granted besides."""
    for _ in range(40):
        bench.clock.advance(30)
        bench.worker.tick()


async def become_http2(bench: Bench, client: socket.socket) -> None:
    """Take all, ask for HTTP/2 on the same connection, which keeps the place, and close."""
    await take(client, len(CONTENT))
    upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n"
    head = f"GET /livez HTTP/1.1\r\nHost: m\r\n{upgrade}\r\n"
    await asyncio.get_running_loop().sock_sendall(client, head.encode() + PREFACE)
    await until(lambda: "H2Connection" in repr(bench.worker.connections))
    assert repr(queues_of(bench).queues) != "<SendQueues 0 large>"
    client.close()


async def cut_short(bench: Bench, client: socket.socket) -> None:
    """The file loses its end; whoever still reads is cut."""
    os.truncate(bench.reader._blob(bench.reader.entries[CRATE_KEY].entry.digest), 3_900_000)
    await take_all(bench, client)


@pytest.mark.parametrize(
    ("end", "lines"),
    [
        pytest.param(close, "", id="client-closes"),
        pytest.param(reset, "", id="client-resets"),
        pytest.param(stop_reading, "", id="client-stops-reading"),
        pytest.param(become_http2, "", id="becomes-http2"),
        pytest.param(cut_short, "", id="file-is-cut-short"),
        pytest.param(take_all, "Connection: close\r\n", id="last-answer"),
    ],
)
async def test_place_is_given_back(
    tmp_path: Path, end: Callable[[Bench, socket.socket], Awaitable[None]], lines: str
) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, CONTENT)
        clients = []
        for _ in range(AT_ONCE):
            client = socket.create_connection(("127.0.0.1", bench.port))
            client.setblocking(False)
            clients.append(client)
            client.send(f"{GET}{lines}\r\n".encode())
        await until(lambda: repr(queues_of(bench).queues) == f"<SendQueues {AT_ONCE} large>")
        async with asyncio.timeout(20):
            await asyncio.gather(*(end(bench, client) for client in clients))
        await until(lambda: is_left(bench))
        for client in clients:
            client.close()


@pytest.mark.parametrize("is_reset", [False, True], ids=["closes", "resets"])
async def test_http2_has_a_place_too_and_gives_it_back(tmp_path: Path, is_reset: bool) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, CONTENT)
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 1 << 24})
        async with connected(bench, peer) as client:
            peer.h2.increment_flow_control_window(1 << 24)
            peer.ask(CRATE_TARGET)
            client.send()  # and nothing is read
            await until(lambda: repr(queues_of(bench).queues) == "<SendQueues 1 large>")
            if is_reset:
                sock = client.writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await until(lambda: is_left(bench))


async def test_tls_has_a_place_too_and_gives_it_back(tmp_path: Path) -> None:
    made = make_server(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.private_key)
    async with running_worker(tmp_path, tls=context) as bench:
        bench.reader.keep(CRATE_KEY, CONTENT)
        _, writer = await asyncio.open_connection(
            "127.0.0.1",
            bench.tls_port,
            ssl=client_context(made.authority),
            server_hostname="localhost",
            limit=1,
        )
        writer.write(f"{GET}\r\n".encode())  # and little is read
        await until(lambda: repr(queues_of(bench).queues) == "<SendQueues 1 large>")
        writer.transport.abort()
        await until(lambda: is_left(bench))


async def test_end_of_the_worker_gives_all_back(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, CONTENT)
        clients = [socket.create_connection(("127.0.0.1", bench.port)) for _ in range(MOST + 2)]
        for client in clients:
            client.send(f"{GET}\r\n".encode())
        await until(lambda: repr(queues_of(bench).queues) == f"<SendQueues {MOST} large>")
        bench.running.cancel()
        await until(bench.running.done)
        assert is_left(bench)
        for client in clients:
            client.close()


@pytest.mark.parametrize("length", [1_000_000, 5_000_000], ids=["from-memory", "from-its-file"])
async def test_client_that_cannot_be_waited_for_is_cut_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    def wait(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many")

    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, CONTENT[:length])
        for _ in range(2):
            assert (await bench.exchange(f"{GET}\r\n".encode())).endswith(CONTENT[:length][-9:])
        contents = bench.worker._shared.contents
        await until(lambda: not contents.is_loading)
        assert len(contents._kept) == (length <= LARGEST_BYTES)
        monkeypatch.setattr(Writability, "wait", wait)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(f"{GET}\r\n".encode())
        received = await reader.read()
        writer.close()
        await until(lambda: bench.count_of("crate", "hit", "cut") == 1)
        sent_bytes = len(received.partition(b"\r\n\r\n")[2])
        assert 0 < sent_bytes < length
        assert bench.count(ContentClass.CRATE, Outcome.HIT) == (3, 2 * length + sent_bytes)
