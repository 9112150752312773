"""Only a trusted proxy's word about the client counts."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.serve.client_address import TrustedProxies, client_address
from mirror.serve.proxy_protocol import Incomplete, Malformed, Proxied, parse_proxy_header
from tests.unit.serve.fakes import config_with, parse_answer, running_worker

TRUSTED = TrustedProxies(["10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        pytest.param("1.2.3.4", None, "1.2.3.4", id="direct"),
        pytest.param("1.2.3.4", b"9.9.9.9", "1.2.3.4", id="untrusted-peer"),
        pytest.param("10.0.0.1", None, "10.0.0.1", id="nothing-said"),
        pytest.param("10.0.0.1", b"9.9.9.9", "9.9.9.9", id="one"),
        pytest.param("10.0.0.1", b"6.6.6.6, 9.9.9.9", "9.9.9.9", id="left-is-the-clients-word"),
        pytest.param("10.0.0.1", b"9.9.9.9, 10.0.0.2", "9.9.9.9", id="two-proxies"),
        pytest.param("10.0.0.1", b"10.0.0.3, 10.0.0.2", "10.0.0.3", id="all-trusted"),
        pytest.param("10.0.0.1", b"9.9.9.9, junk", "10.0.0.1", id="junk-ends-it"),
        pytest.param("10.0.0.1", b"9.9.9.9, junk, 10.0.0.2", "10.0.0.2", id="junk-behind-proxy"),
        pytest.param("fd00::1", b"2001:db8::1", "2001:db8::1", id="ipv6"),
        pytest.param("::ffff:10.0.0.1", b"9.9.9.9", "9.9.9.9", id="mapped-peer"),
        pytest.param("", b"9.9.9.9", "", id="unix-socket"),
    ],
)
def test_client_address(peer: str, forwarded: bytes | None, expected: str) -> None:
    assert client_address(peer, forwarded, TRUSTED) == expected


def v2(command: int = 0x21, family: int = 0x11, payload: bytes | None = None) -> bytes:
    if payload is None:
        payload = socket.inet_aton("9.8.7.6") + socket.inet_aton("1.1.1.1") + b"\x01\x02\x03\x04"
    head = struct.pack("!12sBBH", b"\r\n\r\n\x00\r\nQUIT\n", command, family, len(payload))
    return head + payload


V1 = b"PROXY TCP4 9.8.7.6 1.1.1.1 5000 80\r\n"
V6 = b"PROXY TCP6 2001:db8::1 ::1 5000 80\r\n"
V2_IPV6 = v2(family=0x21, payload=b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01" + bytes(20))


@pytest.mark.parametrize(
    ("header", "address"),
    [
        pytest.param(V1, "9.8.7.6", id="v1"),
        pytest.param(V6, "2001:db8::1", id="v1-ipv6"),
        pytest.param(b"PROXY UNKNOWN\r\n", None, id="v1-unknown"),
        pytest.param(b"PROXY UNKNOWN ff:: ::1 1 2\r\n", None, id="v1-unknown-with-more"),
        pytest.param(v2(), "9.8.7.6", id="v2"),
        pytest.param(V2_IPV6, "2001:db8::1", id="v2-ipv6"),
        pytest.param(v2(payload=v2()[16:] + b"\x04\x00\x01x"), "9.8.7.6", id="v2-with-tlv"),
        pytest.param(v2(command=0x20, family=0, payload=b""), None, id="v2-local"),
        pytest.param(v2(family=0x00, payload=b""), None, id="v2-unspecified"),
    ],
)
def test_header_at_every_split(header: bytes, address: str | None) -> None:
    for cut in range(len(header)):
        assert parse_proxy_header(header[:cut]) == Incomplete()
    expected = Proxied(address=address, consumed=len(header))
    assert parse_proxy_header(header) == expected
    assert parse_proxy_header(header + b"GET / HTTP/1.1\r\n") == expected


@pytest.mark.parametrize(
    "received",
    [
        pytest.param(b"GET / HTTP/1.1\r\n", id="no-header"),
        pytest.param(b"PROXY TCP4 9.8.7.6 1.1.1.1 5000\r\n", id="short"),
        pytest.param(b"PROXY TCP4 9.8.7.6 1.1.1.1 5000 99999\r\n", id="port"),
        pytest.param(b"PROXY TCP4 9.8.7.6 1.1.1.1 05 80\r\n", id="leading-zero"),
        pytest.param(b"PROXY TCP4 ::1 ::1 1 2\r\n", id="family"),
        pytest.param(b"PROXY TCP4 999.8.7.6 1.1.1.1 1 2\r\n", id="address"),
        pytest.param(b"PROXY " + b"x" * 200, id="endless"),
        pytest.param(v2(command=0x31), id="v3"),
        pytest.param(v2(command=0x22), id="unknown-command"),
        pytest.param(v2(family=0x31, payload=bytes(216)), id="unix"),
        pytest.param(v2(payload=bytes(4)), id="v2-short"),
        pytest.param(v2(payload=bytes(3000)), id="v2-long"),
    ],
)
def test_anything_else_is_malformed(received: bytes) -> None:
    assert parse_proxy_header(received) == Malformed()


@given(st.binary(max_size=300))
def test_any_bytes_get_a_verdict(received: bytes) -> None:
    parsed = parse_proxy_header(received)
    assert not isinstance(parsed, Proxied) or parsed.consumed <= len(received)


async def test_proxied_connection_is_served(tmp_path: Path) -> None:
    config = config_with(proxy_protocol=True, trusted_proxies=("127.0.0.1/32",))
    request = b"GET /livez HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n"
    async with running_worker(tmp_path, config) as bench:
        assert parse_answer(await bench.exchange(V1 + request)).content == b"live\n"
        assert parse_answer(await bench.exchange(v2() + request)).content == b"live\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        for byte in V1 + request:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert parse_answer(await asyncio.wait_for(reader.read(), 2)).content == b"live\n"
        writer.close()


async def test_malformed_proxy_header_closes_without_an_answer(tmp_path: Path) -> None:
    config = config_with(proxy_protocol=True, trusted_proxies=("127.0.0.1/32",))
    async with running_worker(tmp_path, config) as bench:
        assert await bench.exchange(b"GET /livez HTTP/1.1\r\nHost: m\r\n\r\n") == b""


async def test_untrusted_peer_may_not_speak_for_others(tmp_path: Path) -> None:
    config = config_with(proxy_protocol=True, trusted_proxies=("10.0.0.0/8",))
    async with running_worker(tmp_path, config) as bench:
        assert await bench.exchange(V1 + b"GET /livez HTTP/1.1\r\nHost: m\r\n\r\n") == b""
