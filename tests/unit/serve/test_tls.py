"""A worker behind TLS: big and cut bodies, slow readers, how connections end, plaintext."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mirror.cli.dev_certificates import Made
from mirror.config import Serve
from mirror.serve.outlet import TLS_PIECE_BYTES
from mirror.serve.send_queues import LARGE_BYTES
from tests.tls_files import client_context, make_server
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    INDEX_KEY,
    INDEX_TARGET,
    Bench,
    config_with,
    running_worker,
)

DEADLINE_S = 20.0
CONTENT = bytes(range(256)) * 40_000  # 10 MB
# What lies between two processes: the client's and our kernel buffers (`send_queues`), and what the
# outlet holds.
UNDERWAY_BYTES = LARGE_BYTES + 2_000_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_server(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def context(made: Made) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.private_key)
    return context


@pytest.fixture
async def bench(tmp_path: Path, context: ssl.SSLContext) -> AsyncIterator[Bench]:
    async with running_worker(tmp_path, tls=context) as running:
        running.reader.keep(CRATE_KEY, CONTENT)
        running.reader.keep(INDEX_KEY, b"small\n")
        yield running


class Client:
    """A blocking TLS client whose calls run in threads, so that the worker's loop goes on."""

    def __init__(self, port: int, context: ssl.SSLContext, receive_bytes: int = 0) -> None:
        self._port, self._context, self._receive_bytes = port, context, receive_bytes
        self.secured: ssl.SSLSocket

    async def __aenter__(self) -> Client:
        await asyncio.to_thread(self._connect)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.secured.close()

    def _connect(self) -> None:
        plain = socket.socket()
        plain.settimeout(DEADLINE_S)
        if self._receive_bytes:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
        plain.connect(("127.0.0.1", self._port))
        self.secured = self._context.wrap_socket(
            plain, server_hostname="localhost", suppress_ragged_eofs=False
        )

    async def ask(self, target: str, *lines: str, method: str = "GET") -> None:
        head = "\r\n".join([f"{method} {target} HTTP/1.1", "Host: mirror.test", *lines])
        await asyncio.to_thread(self.secured.sendall, f"{head}\r\n\r\n".encode())

    async def read(self, size_bytes: int) -> bytes:
        return await asyncio.to_thread(self.secured.recv, size_bytes)

    async def read_whole(self) -> tuple[int, bytes]:
        received = b""
        while b"\r\n\r\n" not in received:
            received += await self.read(65536)
        head, _, content = received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        assert length is not None
        pieces = [content]
        missing = int(length[1]) - len(content)
        while missing > 0:
            piece = await self.read(1 << 20)
            assert piece, "the content ends before it is complete"
            pieces.append(piece)
            missing -= len(piece)
        return int(head.split(b" ")[1]), b"".join(pieces)


@pytest.fixture
def client(bench: Bench, made: Made) -> Callable[..., Client]:
    return lambda **options: Client(bench.tls_port, client_context(made.authority), **options)


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not claim():
            await asyncio.sleep(0.005)


def sent_bytes(bench: Bench) -> int:
    """Content bytes that the worker has counted as sent, of every class and outcome."""
    view = bench.counters.view
    return max(view[index] for index in range(len(view)))


async def test_big_body_arrives_whole_and_the_connection_stays(
    client: Callable[..., Client],
) -> None:
    async with client() as connected:
        for _ in range(2):
            await connected.ask(CRATE_TARGET)
            status, content = await connected.read_whole()
            assert status == 200
            assert hashlib.sha256(content).digest() == hashlib.sha256(CONTENT).digest()


async def test_slow_reader_gets_it_whole_and_never_holds_much(
    bench: Bench, client: Callable[..., Client]
) -> None:
    async with client(receive_bytes=65536) as slow:
        await slow.ask(CRATE_TARGET)
        first = await slow.read(1000)
        await until(lambda: "paused" in repr(bench.worker.connections))
        assert sent_bytes(bench) < UNDERWAY_BYTES
        head, _, begun = first.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        rest = await read_exactly(slow, len(CONTENT) - len(begun))
        assert begun + rest == CONTENT


async def read_exactly(reader: Client, size_bytes: int) -> bytes:
    pieces = []
    while size_bytes:
        piece = await reader.read(min(size_bytes, 1 << 20))
        assert piece, "close_notify: the client takes that for the end"
        pieces.append(piece)
        size_bytes -= len(piece)
    return b"".join(pieces)


async def test_connection_cut_in_a_body_never_looks_complete(
    bench: Bench, client: Callable[..., Client]
) -> None:
    async with client(receive_bytes=65536) as cut:
        await cut.ask(CRATE_TARGET)
        await cut.read(1000)
        bench.running.cancel()
        with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
            await read_exactly(cut, len(CONTENT))


async def test_close_notify_in_a_body_ends_the_exchange(
    bench: Bench, client: Callable[..., Client]
) -> None:
    """uvloop sends nothing after it: a sender that went on would write a whole body into nothing,
    and count it."""
    async with client(receive_bytes=65536) as leaving:
        await leaving.ask(CRATE_TARGET)
        await leaving.read(1000)
        await until(lambda: "paused" in repr(bench.worker.connections))
        with contextlib.suppress(OSError):
            await asyncio.to_thread(leaving.secured.unwrap)
        await until(lambda: not bench.worker.connections)
        assert sent_bytes(bench) < UNDERWAY_BYTES


async def test_refusal_reaches_a_client_that_is_still_sending(
    bench: Bench, client: Callable[..., Client]
) -> None:
    async with client() as sending:
        await sending.ask(CRATE_TARGET, "Content-Length: 4000000", method="POST")
        await asyncio.to_thread(sending.secured.sendall, bytes(4_000_000))
        status, _content = await sending.read_whole()
        assert status == 405
        await asyncio.sleep(0)
        bench.clock.advance(3.0)
        bench.worker.tick()
        await until(lambda: not bench.worker.connections)


async def test_idle_client_that_never_says_close_notify_does_not_hold_the_drain(
    bench: Bench, client: Callable[..., Client]
) -> None:
    async with client() as idle:
        await idle.ask(INDEX_TARGET)
        assert (await idle.read_whole())[1] == b"small\n"
        bench.stop.set()
        await until(lambda: "closing" in repr(bench.worker.connections))
        await until(lambda: has_ended_when_looked_at_again(bench))
        assert await idle.read(1) == b""  # close_notify came before the cut


async def test_handshake_under_way_is_waited_for_by_a_drain(bench: Bench, made: Made) -> None:
    plain = socket.create_connection(("127.0.0.1", bench.tls_port), timeout=DEADLINE_S)
    with plain:
        await until(lambda: "1 handshakes" in repr(bench.worker))
        bench.stop.set()
        await until(lambda: "draining" in repr(bench.worker))
        context = client_context(made.authority)
        secured = await asyncio.to_thread(
            context.wrap_socket, plain, server_hostname="localhost", suppress_ragged_eofs=False
        )
        with secured:
            request = f"GET {INDEX_TARGET} HTTP/1.1\r\nHost: mirror.test\r\n\r\n"
            await asyncio.to_thread(secured.sendall, request.encode())
            received = await asyncio.to_thread(secured.recv, 65536)
            assert received.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in received.lower()
    await until(bench.running.done)


async def test_failed_handshake_is_forgotten(bench: Bench) -> None:
    with socket.create_connection(("127.0.0.1", bench.tls_port), timeout=DEADLINE_S) as plain:
        await until(lambda: "1 handshakes" in repr(bench.worker))
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert await asyncio.to_thread(plain.recv, 100) == b""
    await until(lambda: "handshakes" not in repr(bench.worker))


def has_ended_when_looked_at_again(bench: Bench) -> bool:
    """The client's kernel acknowledges in its own time, which is not the worker's clock."""
    bench.clock.advance(1.5)
    bench.worker.tick()
    return bench.running.done()


async def test_closing_waits_for_a_reader_that_is_owed_something(
    bench: Bench, client: Callable[..., Client]
) -> None:
    async with client(receive_bytes=4096) as slow:
        await slow.ask(CRATE_TARGET, "Connection: close", "Range: bytes=0-299999")
        await until(lambda: is_waiting(bench))
        for _ in range(5):
            bench.clock.advance(1.1)
            bench.worker.tick()
        status, content = await slow.read_whole()
        assert status == 206
        assert content == CONTENT[:300_000]


def is_waiting(bench: Bench) -> bool:
    shown = repr(bench.worker.connections)
    return "paused" in shown or "closing" in shown


async def test_proxy_header_is_not_awaited_under_tls(
    tmp_path: Path, context: ssl.SSLContext, made: Made
) -> None:
    config = config_with(proxy_protocol=True, trusted_proxies=("127.0.0.0/8",))
    async with (
        running_worker(tmp_path, config, tls=context) as bench,
        Client(bench.tls_port, client_context(made.authority)) as connected,
    ):
        await connected.ask("/livez")
        assert await connected.read_whole() == (200, b"live\n")


async def test_generated_urls_are_https(client: Callable[..., Client]) -> None:
    async with client() as connected:
        await connected.ask("/index/config.json")
        assert b'"dl": "https://mirror.test/crates/' in (await connected.read_whole())[1]
        await connected.ask("/")
        assert b"https://mirror.test" in (await connected.read_whole())[1]


def test_a_piece_is_whole_records() -> None:
    assert TLS_PIECE_BYTES % 16384 == 0


# Plaintext beside TLS.


@contextlib.asynccontextmanager
async def restricted(
    path: Path, context: ssl.SSLContext, word: str, **serve: object
) -> AsyncIterator[Bench]:
    config = config_with(plaintext=word, tls_listen=("127.0.0.1:0",), **serve)
    async with running_worker(path, config, tls=context) as bench:
        bench.reader.keep(INDEX_KEY, b"small\n")
        yield bench


@pytest.mark.parametrize(("word", "status"), [("redirect", 308), ("refuse", 403)])
@pytest.mark.parametrize("target", ["/", "/index/config.json", INDEX_TARGET, "/rustup.sh"])
async def test_plaintext_is_not_served(
    word: str, status: int, target: str, tmp_path: Path, context: ssl.SSLContext
) -> None:
    async with restricted(tmp_path, context, word) as bench:
        answer = await bench.get(target)
        assert answer.status == status
        location = f"https://mirror.test:{bench.tls_port}{target}"
        assert answer.fields.get("location") == (location if word == "redirect" else None)


@pytest.mark.parametrize("word", ["redirect", "refuse"])
async def test_health_is_served_in_plaintext(
    word: str, tmp_path: Path, context: ssl.SSLContext
) -> None:
    async with restricted(tmp_path, context, word) as bench:
        assert (await bench.get("/livez")).status == 200
        assert (await bench.get("/readyz")).status == 200


async def test_head_learned_under_tls_is_not_served_in_plaintext(
    tmp_path: Path, context: ssl.SSLContext, made: Made
) -> None:
    async with restricted(tmp_path, context, "refuse") as bench:
        async with Client(bench.tls_port, client_context(made.authority)) as connected:
            for _ in range(3):
                await connected.ask(INDEX_TARGET)
                assert await connected.read_whole() == (200, b"small\n")
        raw = f"GET {INDEX_TARGET} HTTP/1.1\r\nHost: mirror.test\r\n\r\n".encode()
        received = await bench.exchange(raw)
        assert received.startswith(b"HTTP/1.1 403 ")


async def test_what_a_trusted_proxy_received_over_tls_is_served(
    tmp_path: Path, context: ssl.SSLContext
) -> None:
    """A redirect would come back for ever."""
    async with restricted(tmp_path, context, "redirect", trusted_proxies=("127.0.0.0/8",)) as bench:
        assert (await bench.get(INDEX_TARGET, "X-Forwarded-Proto: https")).status == 200
        assert (await bench.get(INDEX_TARGET, "X-Forwarded-Proto: http")).status == 308


async def test_what_anybody_says_about_https_is_not_believed(
    tmp_path: Path, context: ssl.SSLContext
) -> None:
    async with restricted(tmp_path, context, "refuse") as bench:
        assert (await bench.get(INDEX_TARGET, "X-Forwarded-Proto: https")).status == 403


async def test_redirect_goes_to_the_public_url_where_there_is_one(
    tmp_path: Path, context: ssl.SSLContext
) -> None:
    async with restricted(
        tmp_path, context, "redirect", public_url="https://edge.example"
    ) as bench:
        answer = await bench.get(INDEX_TARGET)
        assert answer.fields["location"] == f"https://edge.example{INDEX_TARGET}"


@pytest.mark.parametrize("target", ["/%0d%0aX:y", "/\xe9", "//evil.example/x", "/dist/../etc"])
async def test_target_without_a_route_is_refused_and_not_redirected(
    target: str, tmp_path: Path, context: ssl.SSLContext
) -> None:
    async with restricted(tmp_path, context, "redirect") as bench:
        answer = await bench.get(target)
        assert 400 <= answer.status < 500
        assert "location" not in answer.fields


async def test_plaintext_is_served_by_default(bench: Bench) -> None:
    assert Serve().plaintext == "serve"
    assert (await bench.get(INDEX_TARGET)).content == b"small\n"


async def test_handshakes_are_counted_by_how_they_end(bench: Bench, made: Made) -> None:
    def total(name: str) -> int:
        return bench.counters.view[bench.counters.layout.row("total", name)]

    # TLS 1.2: the session is the client's when the handshake is done.
    context = client_context(made.authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with Client(bench.tls_port, context) as first:
        await first.ask(INDEX_TARGET)
        await first.read_whole()
        session = first.secured.session

    def resume() -> bool:
        plain = socket.create_connection(("127.0.0.1", bench.tls_port), timeout=DEADLINE_S)
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as again:
            return bool(again.session_reused)

    assert await asyncio.to_thread(resume)
    _, stranger = await asyncio.open_connection("127.0.0.1", bench.tls_port)
    stranger.write(b"GET / HTTP/1.1\r\n\r\n")
    await until(lambda: total("tls_handshakes_failed") == 1)
    stranger.close()
    await until(lambda: total("tls_handshakes") == 2)
    assert total("tls_sessions_resumed") == 1
    assert total("connections_accepted") == 3
