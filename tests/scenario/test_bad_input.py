"""Bytes that no honest client sends: refused, told once, forgotten; upstream hears nothing."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import DEADLINE_S, Edge, wait_until
from tests.scenario.exchange import fetch, read_to_end, send_raw, statuses
from tests.scenario.upstream_objects import Archive, fresh_archive, requests_total
from tests.unit.serve import framing_cases

HOST = b"Host: mirror.example\r\n"
INNER = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"  # what a smuggler wants to be answered
CRATE = b"/crates/q/q-1.0.0.crate"


def settle(mirror: Edge, archive: Archive) -> None:
    """Wait until the archive is published: other tests compare what is stored."""
    wait_until(lambda: archive.sha256 in mirror.blobs(), f"{archive.path} is stored")


def get(target: bytes, fields: bytes = HOST) -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + fields + b"\r\n"


def asked(fields: bytes, content: bytes = b"", method: bytes = b"GET") -> bytes:
    return method + b" " + CRATE + b" HTTP/1.1\r\n" + HOST + fields + b"\r\n" + content


REFUSED: dict[str, bytes] = {
    # Targets.
    "dot-segments": get(b"/crates/../../etc/passwd"),
    "dot-segment-at-the-end": get(b"/dist/2026-03-05/.."),
    "single-dot-segment": get(b"/dist/./channel-rust-stable.toml"),
    "encoded-dot-segments": get(b"/dist/%2e%2e/%2e%2e/etc/passwd"),
    "encoded-slash": get(b"/crates/q%2fq-1.0.0.crate"),
    "doubly-encoded-slash": get(b"/crates/q%252fq-1.0.0.crate"),
    "encoded-nul": get(b"/crates/q/q-1.0.0.crate%00.html"),
    "encoded-line-end": get(b"/dist/x%0d%0aSet-Cookie:a=b"),
    "backslash": get(b"/dist\\..\\..\\etc\\passwd"),
    "nul": get(b"/crates/q/q-1.0.0.crate\x00.html"),
    "control-character": get(b"/dist/\x1b[2J"),
    "byte-beyond-ascii": get(b"/dist/\xc3\xa9"),
    "space": get(b"/dist/a b"),
    "no-slash": get(b"dist/channel-rust-stable.toml"),
    "asterisk": get(b"*"),
    "authority-form": b"CONNECT static.rust-lang.org:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "another-authority": get(b"http://attacker.example/dist/channel-rust-stable.toml"),
    "another-authority-with-our-host": get(b"http://169.254.169.254/latest/meta-data"),
    "userinfo": get(b"http://user@127.0.0.1/dist/channel-rust-stable.toml"),
    "userinfo-that-looks-like-us": get(b"http://static.rust-lang.org@attacker.example/dist/"),
    "another-scheme": get(b"file:///etc/passwd"),
    "long-target": get(b"/dist/" + b"a" * 4000),
    "endless-target": b"GET /dist/" + b"a" * 200_000,
    # Host.
    "no-host": get(CRATE, b""),
    "two-hosts": get(CRATE, HOST + b"Host: other.example\r\n"),
    "two-equal-hosts": get(CRATE, HOST + HOST),
    "host-with-path": get(CRATE, b"Host: mirror.example/x\r\n"),
    "host-with-userinfo": get(CRATE, b"Host: a@mirror.example\r\n"),
    "host-with-space": get(CRATE, b"Host: mirror example\r\n"),
    # Heads.
    "large-head": get(CRATE, HOST + b"X-A: " + b"a" * 20_000 + b"\r\n"),
    "many-fields": get(CRATE, HOST + b"".join(b"X-%d: 1\r\n" % n for n in range(500))),
    "space-before-colon": get(CRATE, HOST + b"X-A : 1\r\n"),
    "folded-field": get(CRATE, HOST + b"X-A: 1\r\n  2\r\n"),
    "nul-in-field": get(CRATE, HOST + b"X-A: 1\x002\r\n"),
    "lone-return-in-field": get(CRATE, HOST + b"X-A: 1\rX-B: 2\r\n"),
    "http-0.9": b"GET " + CRATE + b"\r\n\r\n",
    "half-a-preface-of-http-2": b"PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n",
    "http-1.10": b"GET " + CRATE + b" HTTP/1.10\r\n" + HOST + b"\r\n",
    "tls-hello": bytes.fromhex("160301020001000001fc0303") + b"\r\n\r\n",
    "two-spaces": b"GET  " + CRATE + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    # Methods and content.
    "post": asked(b"Content-Length: 0\r\n", method=b"POST"),
    "delete": asked(b"", method=b"DELETE"),
    "trace": asked(b"", method=b"TRACE"),
    "unknown-method": asked(b"", method=b"STEAL"),
    "content-on-get": asked(b"Content-Length: 5\r\n", b"hello"),
    # Smuggling: the content is a request that must never be answered.
    "content-is-a-request": asked(b"Content-Length: %d\r\n" % len(INNER), INNER),
    "length-and-chunked": asked(
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + INNER
    ),
    "chunked": asked(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n" + INNER),
    "two-lengths": asked(b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(INNER), INNER),
    "length-list": asked(b"Content-Length: 0, %d\r\n" % len(INNER), INNER),
    "signed-length": asked(b"Content-Length: +%d\r\n" % len(INNER), INNER),
    "hexadecimal-length": asked(b"Content-Length: 0x0\r\n", INNER),
    "underscore-length": asked(b"Content-Length: 0_0\r\n", INNER),
    "odd-transfer-coding": asked(b"Transfer-Encoding: xchunked\r\n", INNER),
    "coding-with-tab": asked(b"Transfer-Encoding:\tchunked\r\n", b"0\r\n\r\n" + INNER),
    "content-behind-an-upgrade": asked(
        b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n" % len(INNER), INNER
    ),
    "chunked-behind-an-upgrade": asked(
        b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n",
        b"0\r\n\r\n" + INNER,
    ),
    "unknown-expectation": asked(b"Expect: the-spanish-inquisition\r\n"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_bad_request_is_refused_once_and_the_connection_closed(
    name: str, mirror: Edge, upstream: SimulatorProcess
) -> None:
    stored = set(mirror.blobs())
    received = send_raw(mirror.port, REFUSED[name])
    [status] = statuses(received)
    assert 400 <= status < 600, received[:200]
    assert status not in (500, 502, 503, 504)
    assert b"live" not in received.partition(b"\r\n\r\n")[2]
    assert requests_total(upstream) == 0
    assert set(mirror.blobs()) == stored


@pytest.mark.parametrize("case", framing_cases.REFUSED, ids=lambda case: case.name)
def test_doubtful_framing_is_refused_once_and_the_connection_closed(
    case: framing_cases.Case, mirror: Edge
) -> None:
    """Each in one piece and in two; what follows it would be answered "live"."""
    raw = case.raw + framing_cases.NEXT
    for pieces in ((raw,), (raw[: len(raw) // 3], raw[len(raw) // 3 :])):
        received = send_raw(mirror.port, *pieces)
        assert statuses(received) == [case.status]
        assert b"live" not in received.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("name", list(framing_cases.ACCEPTED))
def test_sound_framing_is_answered_and_so_is_the_next_request(name: str, mirror: Edge) -> None:
    last = get(b"/readyz", HOST + b"Connection: close\r\n")
    received = send_raw(mirror.port, framing_cases.ACCEPTED[name] + last)
    assert statuses(received) == [200, 200]
    assert received.endswith(b"ready\n")


def test_slow_heads_are_cut_in_time_while_others_are_answered(
    tmp_path: Path, module_simulator: SimulatorProcess
) -> None:
    """Sixty clients send a field line now and then, and never the end (slowloris)."""
    settings = {"serve.head_timeout": "1s"}
    with (
        Edge(tmp_path, module_simulator, workers=1, settings=settings) as hasty,
        contextlib.ExitStack() as sockets,
    ):
        slow = []
        for _ in range(60):
            address = ("127.0.0.1", hasty.port)
            sock = sockets.enter_context(socket.create_connection(address, timeout=DEADLINE_S))
            sock.sendall(b"GET /livez HTTP/1.1\r\n" + HOST)
            slow.append(sock)
        began_s, answered, rounds = time.monotonic(), 0, 0
        open_ones = list(slow)
        while open_ones:
            assert time.monotonic() - began_s < DEADLINE_S
            rounds += 1
            answered += fetch(hasty.port, "/livez").status == 200
            readable, _, _ = select.select(open_ones, [], [], 0.05)
            open_ones = [sock for sock in open_ones if sock not in readable]
            for sock in open_ones:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(b"X: y\r\n")
        assert time.monotonic() - began_s >= 0.9
        assert [statuses(read_to_end(sock)) for sock in slow] == [[408]] * 60
        assert (answered, rounds >= 5) == (rounds, True)


def test_refusal_repeats_nothing_that_the_client_sent(mirror: Edge) -> None:
    received = send_raw(mirror.port, get(b"/dist/%3Cscript%3E<script>alert(1)</script>"))
    assert statuses(received) == [400]
    assert b"script" not in received


def test_query_is_refused_without_a_request_upstream(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    assert 400 <= fetch(mirror.port, "/dist/channel-rust-stable.toml?x=1").status < 500
    assert requests_total(upstream) == 0


def test_head_that_arrives_byte_by_byte_is_answered(mirror: Edge) -> None:
    request = get(b"/livez", HOST + b"Connection: close\r\n")
    pieces = [request[at : at + 1] for at in range(len(request))]
    assert statuses(send_raw(mirror.port, *pieces)) == [200]


def test_empty_and_broken_connections_leave_the_service_whole(mirror: Edge) -> None:
    for start in (b"", b"GET", b"GET /livez HTTP/1.1\r\nHost: a"):
        with socket.create_connection(("127.0.0.1", mirror.port), timeout=DEADLINE_S) as sock:
            sock.sendall(start)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert fetch(mirror.port, "/livez").status == 200


# What is not bad.


def test_absolute_form_that_names_this_server_is_served(mirror: Edge) -> None:
    for authority in (f"127.0.0.1:{mirror.port}", "static.rust-lang.org", "INDEX.crates.io:80"):
        target = f"http://{authority}/livez".encode()
        received = send_raw(mirror.port, get(target, HOST + b"Connection: close\r\n"))
        assert statuses(received) == [200], (authority, received)


def test_authority_of_an_absolute_form_replaces_host(mirror: Edge) -> None:
    target = b"http://index.crates.io:81/config.json"
    received = send_raw(mirror.port, get(target, HOST + b"Connection: close\r\n"))
    assert json.loads(received.partition(b"\r\n\r\n")[2])["dl"].startswith(
        "http://static.crates.io:81/"
    )


def test_upgrade_to_something_else_is_ignored_and_the_connection_goes_on(mirror: Edge) -> None:
    """To HTTP/2 is `test_http2`'s; without its settings it is something else (RFC 7540 3.2.1)."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c, websocket\r\n"
    received = send_raw(
        mirror.port,
        get(b"/livez", HOST + upgrade) * 2,
        get(b"/readyz", HOST + b"Connection: close\r\n"),
    )
    assert statuses(received) == [200, 200, 200]
    assert received.endswith(b"ready\n")


def test_pipelined_requests_are_answered_in_order(mirror: Edge, upstream: SimulatorProcess) -> None:
    """A slow cold object stands before quick answers; none may overtake it."""
    archive = fresh_archive(400_000)
    upstream.control.faults({"kind": "delay", "path": archive.path, "ms": 300, "name": "late"})
    received = send_raw(
        mirror.port,
        get(b"/livez")
        + get(archive.path.encode())
        + get(b"/no-such-thing")
        + get(b"/readyz", HOST + b"Connection: close\r\n"),
    )
    first, found, rest = received.partition(archive.content.read(0, archive.length))
    assert found
    assert statuses(first) == [200, 200]
    assert statuses(rest) == [404, 200]
    assert upstream.control.faults_fired()["late"] == 1
    settle(mirror, archive)


def test_half_closed_client_still_gets_its_answer(mirror: Edge, upstream: SimulatorProcess) -> None:
    archive = fresh_archive(400_000)
    upstream.control.faults({"kind": "delay", "path": archive.path, "ms": 200, "name": "late"})
    received = send_raw(mirror.port, get(archive.path.encode()), ends=True)
    assert received.endswith(archive.content.read(0, archive.length))
    assert upstream.control.faults_fired()["late"] == 1
    settle(mirror, archive)


# Who the client is.

V2 = b"\r\n\r\n\x00\r\nQUIT\n"
V2_IPV4 = V2 + b"\x21\x11\x00\x0c" + bytes([9, 9, 9, 9, 10, 0, 0, 1]) + b"\x30\x39\x1f\x90"
LIVE = get(b"/livez", HOST + b"Connection: close\r\n")
PROXY_HEADERS = {
    "version-1": b"PROXY TCP4 9.9.9.9 10.0.0.1 12345 8080\r\n",
    "version-1-ipv6": b"PROXY TCP6 2001:db8::1 2001:db8::2 12345 8080\r\n",
    "version-1-unknown": b"PROXY UNKNOWN\r\n",
    "version-2": V2_IPV4,
    "version-2-local": V2 + b"\x20\x00\x00\x00",
}
NOT_PROXY_HEADERS = {
    "none": b"",
    "version-1-of-a-bad-address": b"PROXY TCP4 999.9.9.9 10.0.0.1 12345 8080\r\n",
    "version-1-without-end": b"PROXY TCP4 " + b"1" * 200,
    "version-2-of-another-version": V2 + b"\x31\x11\x00\x0c" + bytes(12),
    "version-2-too-short-for-its-addresses": V2 + b"\x21\x11\x00\x04" + bytes(4),
}


@pytest.fixture(scope="module")
def behind_proxy(
    tmp_path_factory: pytest.TempPathFactory, module_simulator: SimulatorProcess
) -> Iterator[Edge]:
    settings = {"serve.proxy_protocol": "true", "serve.trusted_proxies": "127.0.0.0/8"}
    root = tmp_path_factory.mktemp("proxied")
    with Edge(root, module_simulator, workers=1, settings=settings) as running:
        yield running


@pytest.mark.parametrize("name", list(PROXY_HEADERS))
def test_proxy_header_of_a_trusted_proxy_is_taken_off(name: str, behind_proxy: Edge) -> None:
    received = send_raw(behind_proxy.port, PROXY_HEADERS[name] + LIVE)
    assert statuses(received) == [200]
    header = PROXY_HEADERS[name]
    received = send_raw(behind_proxy.port, header[:7], header[7:], LIVE)
    assert statuses(received) == [200]


@pytest.mark.parametrize("name", list(NOT_PROXY_HEADERS))
def test_connection_without_a_right_proxy_header_is_cut(name: str, behind_proxy: Edge) -> None:
    received = send_raw(behind_proxy.port, NOT_PROXY_HEADERS[name] + LIVE)
    assert statuses(received) == []


def test_proxy_header_of_somebody_else_is_cut(
    tmp_path: Path, module_simulator: SimulatorProcess
) -> None:
    settings = {"serve.proxy_protocol": "true", "serve.trusted_proxies": "10.0.0.0/8"}
    with Edge(tmp_path, module_simulator, workers=1, settings=settings) as strict:
        assert send_raw(strict.port, PROXY_HEADERS["version-1"] + LIVE) == b""


def test_proxy_header_is_no_request_where_it_is_not_configured(mirror: Edge) -> None:
    assert statuses(send_raw(mirror.port, PROXY_HEADERS["version-1"] + LIVE)) == [400]


def config_scheme(edge: Edge, header: bytes = b"") -> str:
    """Return the scheme that a generated URL gets for a request said to have come by https."""
    fields = HOST + b"X-Forwarded-Proto: https\r\nConnection: close\r\n"
    received = send_raw(edge.port, header + get(b"/index/config.json", fields))
    return str(json.loads(received.partition(b"\r\n\r\n")[2])["dl"]).partition(":")[0]


def test_forwarded_scheme_counts_from_trusted_proxies_only(
    mirror: Edge, behind_proxy: Edge
) -> None:
    assert config_scheme(behind_proxy, PROXY_HEADERS["version-1"]) == "https"
    assert config_scheme(mirror) == "http"
    assert config_scheme(mirror) == "http"
    wait_until(lambda: bool(mirror.named("forwarded-proto-ignored")), "the warning is read")
    assert len(mirror.named("forwarded-proto-ignored")) <= 2  # once per worker


@pytest.mark.full
def test_slow_head_is_answered_408_and_cut(
    tmp_path: Path, module_simulator: SimulatorProcess
) -> None:
    settings = {"serve.head_timeout": "500ms"}
    with (
        Edge(tmp_path, module_simulator, workers=1, settings=settings) as hasty,
        socket.create_connection(("127.0.0.1", hasty.port), timeout=DEADLINE_S) as sock,
    ):
        sock.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n")
        assert statuses(read_to_end(sock)) == [408]
