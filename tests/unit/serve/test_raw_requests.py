"""Attacks on the framing, byte for byte on a socket: one refusal, and the connection ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.accounting.layout import Outcome
from mirror.config import Http2
from mirror.route.route import ContentClass
from tests.unit.serve.fakes import (
    INDEX_KEY,
    INDEX_TARGET,
    Bench,
    config_with,
    parse_answer,
    read_all,
    running_worker,
)
from tests.unit.serve.slow_client import SlowClient
from tests.unit.serve.test_head_parser import CARGO_HEAD, REFUSED

CONTENT = b'{"name":"serde"}\n'
NEXT = f"GET {INDEX_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n".encode()


def raw(*lines: str, line: str = f"GET {INDEX_TARGET} HTTP/1.1") -> bytes:
    return "\r\n".join([line, *lines]).encode("latin-1") + b"\r\n\r\n"


SMUGGLED = [
    pytest.param(raw("Host: m", "Content-Length: 45") + NEXT, id="next-as-content"),
    pytest.param(raw("Host: m", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + NEXT, id="chunked"),
    pytest.param(
        raw("Host: m", "Transfer-Encoding: chunked", "Content-Length: 4") + NEXT, id="te-cl"
    ),
    pytest.param(
        raw("Host: m", "Content-Length: 4", "Transfer-Encoding: chunked") + NEXT, id="cl-te"
    ),
    pytest.param(raw("Host: m", "Transfer-Encoding : chunked") + NEXT, id="te-space"),
    pytest.param(raw("Host: m", "Transfer-Encoding:\x0bchunked") + NEXT, id="te-vertical-tab"),
    pytest.param(raw("Host: m", "Content-Length: 0", "Content-Length: 9") + NEXT, id="two-cl"),
    pytest.param(raw("Host: m", "X: y\nContent-Length: 9") + NEXT, id="bare-lf"),
    pytest.param(raw("Host: m", "X: y", " Content-Length: 9") + NEXT, id="folded"),
    pytest.param(raw("Host: m", "Host: n") + NEXT, id="two-hosts"),
    pytest.param(raw() + NEXT, id="no-host"),
    pytest.param(
        raw("Host: m", "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 45") + NEXT,
        id="upgrade-content",
    ),
    pytest.param(
        raw("Host: m", "Connection: Upgrade", "Upgrade: websocket", "Transfer-Encoding: chunked")
        + NEXT,
        id="upgrade-chunked",
    ),
    pytest.param(raw("Host: m", line="CONNECT m:1 HTTP/1.1") + NEXT, id="connect"),
    pytest.param(raw("Host: m", line=f"POST {INDEX_TARGET} HTTP/1.1") + NEXT, id="post"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n" + NEXT, id="tls-hello"),
    pytest.param(raw("Host: m", line="GET /../etc/passwd HTTP/1.1") + NEXT, id="traversal"),
    pytest.param(raw("Host: m", line="GET /dist/%2e%2e/x HTTP/1.1") + NEXT, id="encoded-dots"),
    pytest.param(raw("Host: m", line="GET /dist/a%2fb HTTP/1.1") + NEXT, id="encoded-slash"),
    pytest.param(raw("Host: m", line="GET /dist/a%00b HTTP/1.1") + NEXT, id="encoded-nul"),
    pytest.param(raw("Host: m", line="GET /dist\\x HTTP/1.1") + NEXT, id="backslash"),
    pytest.param(raw("Host: m", line="GET http://u:p@m/x HTTP/1.1") + NEXT, id="userinfo"),
    pytest.param(raw("Host: m", line="GET http://evil.test/x HTTP/1.1") + NEXT, id="authority"),
    pytest.param(raw("Host: m", line="GET //evil.test@x HTTP/1.1 ") + NEXT, id="trailing-space"),
    pytest.param(b"\r\n\r\n\r\n" + NEXT, id="empty-lines"),
]


@pytest.mark.parametrize("attack", SMUGGLED)
async def test_smuggling_attempt_gets_one_refusal_and_the_end(
    tmp_path: Path, attack: bytes
) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(INDEX_KEY, CONTENT)
        received = await bench.exchange(attack)
        answer = parse_answer(received)
        assert 400 <= answer.status < 510
        assert answer.fields["connection"] == "close"
        assert answer.rest == b""
        assert bench.keeper.asked == []
        assert bench.count(ContentClass.INDEX, Outcome.HIT) == (0, 0)


@pytest.mark.parametrize(("status", "head"), REFUSED)
async def test_refused_head_closes_the_connection(tmp_path: Path, status: int, head: bytes) -> None:
    async with running_worker(tmp_path) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(head)
        answer = parse_answer(await asyncio.wait_for(reader.read(), 2))
        writer.close()
        assert answer.status == status
        assert answer.rest == b""


async def test_answer_survives_content_that_is_still_coming(tmp_path: Path) -> None:
    """Closing at once would reset the connection and take the answer along."""
    async with running_worker(tmp_path) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(raw("Host: m", "Content-Length: 4000000", line="POST / HTTP/1.1"))
        writer.write(b"x" * 4_000_000)
        answer = parse_answer(await asyncio.wait_for(reader.read(), 2))
        writer.close()
        assert answer.status == 405
        assert answer.fields["allow"] == "GET, HEAD"


async def test_lingering_connection_is_cut_after_a_while(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(raw("Host: m", line="POST / HTTP/1.1"))
        assert await asyncio.wait_for(reader.read(), 2)
        bench.clock.advance(10)
        bench.worker.tick()
        await no_connection_left(bench)
        writer.close()


async def test_oversized_head_is_431(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(max_head=1000)) as bench:
        answer = parse_answer(await bench.exchange(raw("Host: m", "X: " + "y" * 1000)))
        assert answer.status == 431


async def test_oversized_head_without_end_is_431(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(max_head=1000)) as bench:
        answer = parse_answer(await bench.exchange(raw("Host: m")[:-2] + b"X: " + b"y" * 2000))
        assert answer.status == 431


async def test_endless_request_line_is_414(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(max_head=1000)) as bench:
        answer = parse_answer(await bench.exchange(b"GET /" + b"a" * 5000))
        assert answer.status == 414


async def test_looping_request_is_508(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        answer = await bench.get(INDEX_TARGET, "CDN-Loop: other, rust-mirror; v=1")
        assert answer.status == 508
        assert bench.keeper.asked == []


@pytest.mark.parametrize(
    ("target", "status"),
    [
        pytest.param("http://static.rust-lang.org/robots.txt", 200, id="upstream-name"),
        pytest.param("http://mirror.example:8080/robots.txt", 200, id="public-url"),
        pytest.param("https://mirror.example/robots.txt", 200, id="public-url-other-scheme"),
        pytest.param("http://127.0.0.1/robots.txt", 200, id="local-address"),
        pytest.param("http://127.0.0.1:1/robots.txt", 421, id="other-port"),
        pytest.param("http://evil.test/robots.txt", 421, id="other-name"),
    ],
)
async def test_absolute_form_must_name_this_server(
    tmp_path: Path, target: str, status: int
) -> None:
    config = config_with(public_url="http://mirror.example:8080")
    async with running_worker(tmp_path, config) as bench:
        assert (await bench.get(target)).status == status


@pytest.mark.parametrize(
    ("local", "authority", "status"),
    [
        pytest.param(("127.0.0.1", 8080), "localhost:8080", 200, id="loopback"),
        pytest.param(("127.9.9.9", 8080), "LOCALHOST:8080", 200, id="any-loopback-any-case"),
        pytest.param(("::1", 8080, 0, 0), "localhost:8080", 200, id="ipv6"),
        pytest.param(("::ffff:127.0.0.1", 8080, 0, 0), "localhost:8080", 200, id="mapped"),
        pytest.param(("127.0.0.1", 80), "localhost", 200, id="the-port-of-the-scheme"),
        pytest.param(("127.0.0.1", 8080), "localhost", 421, id="not-the-port-of-the-scheme"),
        pytest.param(("127.0.0.1", 8080), "localhost:8081", 421, id="other-port"),
        pytest.param(("192.0.2.1", 8080), "localhost:8080", 421, id="not-loopback"),
        pytest.param(None, "localhost:8080", 421, id="unix-socket"),
    ],
)
async def test_localhost_is_here_on_a_loopback_address_only(
    tmp_path: Path, local: object, authority: str, status: int
) -> None:
    async with running_worker(tmp_path) as bench:
        client = SlowClient(bench, local=local)
        client.ask(f"GET http://{authority}/robots.txt HTTP/1.1")
        assert (await client.answer()).status == status
        client.leave()


@pytest.mark.parametrize(
    "request_line",
    [
        pytest.param(f"HEAD {INDEX_TARGET}  HTTP/1.1", id="parser"),
        pytest.param(f"HEAD {INDEX_TARGET} HTTP/3.0", id="version"),
        pytest.param("HEAD /../etc/passwd HTTP/1.1", id="traversal"),
        pytest.param("HEAD http://evil.test/x HTTP/1.1", id="authority"),
        pytest.param(f"\r\nHEAD {INDEX_TARGET} HTTP/1.1\r\nX: {'y' * 2000}", id="too-large"),
        pytest.param(f"HEAD /{'a' * 2000} HTTP/1.1", id="too-long"),
    ],
)
async def test_refused_head_request_gets_no_content(tmp_path: Path, request_line: str) -> None:
    async with running_worker(tmp_path, config_with(max_head=1000)) as bench:
        received = await bench.exchange(raw("Host: m", line=request_line))
        answer = parse_answer(received, is_head=True)
        assert 400 <= answer.status < 510
        assert int(answer.fields["content-length"]) > 0
        assert answer.rest == b""


async def test_late_head_request_gets_no_content(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        client = SlowClient(bench)
        client.connection.data_received(b"HEAD / HTTP/1.1\r\nHost")
        client.connection.expire()
        answer = await client.answer(is_head=True)
        assert (answer.status, answer.rest) == (408, b"")
        client.leave()


async def test_host_routes_origin_form(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(INDEX_KEY, CONTENT)
        for host, target, status in (
            ("index.crates.io", "/se/rd/serde", 200),
            ("Index.Crates.IO:8080", "/se/rd/serde", 200),
            ("mirror.test", "/se/rd/serde", 404),
            ("index.crates.io", INDEX_TARGET, 404),
            ("mirror.test", INDEX_TARGET, 200),
        ):
            sent = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            answer = parse_answer(await bench.exchange(sent.encode()))
            assert (host, target, answer.status) == (host, target, status)


async def test_too_many_connections_are_turned_away(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(max_connections=1)) as bench:
        _, first = await asyncio.open_connection("127.0.0.1", bench.port)
        first.write(b"GET /robots.txt HTTP/1.1\r\nHost: m\r\n")  # so it is not idle
        answer = await bench.get("/robots.txt")
        first.close()
        assert (answer.status, answer.fields["retry-after"]) == (503, "1")


async def test_upgrade_is_ignored_where_http2_is_off(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(http2=Http2(enabled=False))) as bench:
        bench.reader.keep(INDEX_KEY, CONTENT)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(CARGO_HEAD + CARGO_HEAD + NEXT)
        received = await read_all(reader)
        writer.write(CARGO_HEAD.replace(b"accept: text/plain", b'if-none-match: "x"'))
        received += await read_all(reader)
        writer.close()
        for _ in range(4):
            answer = parse_answer(received)
            assert (answer.status, answer.content) == (200, CONTENT)
            received = answer.rest
        assert received == b""


async def no_connection_left(bench: Bench) -> None:
    for _ in range(200):
        if "0 connections" in repr(bench.worker):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(repr(bench.worker))
