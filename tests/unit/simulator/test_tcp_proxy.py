from __future__ import annotations

import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from mirror.simulator.simulator import Simulator
from mirror.simulator.tcp_proxy import TcpFaults, TcpProxy
from mirror.simulator.upstream import SimulatedUpstream, SimulatorOptions
from tests.unit.simulator.raw_client import get

PATH = "/dist/2026-05-20/big-200KiB-x86_64-unknown-linux-gnu.tar.gz"
LENGTH = 200 << 10


@pytest.fixture(scope="module")
def upstream() -> SimulatedUpstream:
    return SimulatedUpstream(SimulatorOptions())


@pytest.fixture
async def proxy(upstream: SimulatedUpstream) -> AsyncIterator[TcpProxy]:
    async with Simulator(upstream) as simulator:
        parts = urlsplit(simulator.releases_url)
        assert parts.hostname is not None
        assert parts.port is not None
        async with TcpProxy(parts.hostname, parts.port) as running:
            yield running


def url(proxy: TcpProxy) -> str:
    return f"http://127.0.0.1:{proxy.port}{PATH}"


async def test_without_faults_everything_passes_and_is_counted(proxy: TcpProxy) -> None:
    response = await get(url(proxy))
    assert len(response.content) == LENGTH
    assert proxy.counts.connections == 1
    assert proxy.counts.bytes_to_client > LENGTH
    assert proxy.counts.bytes_to_server > 50


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_cut_ends_the_connection_after_its_bytes(proxy: TcpProxy, how: str) -> None:
    proxy.faults = TcpFaults(cut_after=5000, cut_how=how, connections_spoiled=1)
    response = await get(url(proxy))
    assert len(response.content) < 5000
    assert response.was_reset is (how == "rst")
    assert proxy.counts.cut == 1
    assert len((await get(url(proxy))).content) == LENGTH


async def test_corrupt_changes_one_byte(proxy: TcpProxy) -> None:
    right = (await get(url(proxy))).content
    proxy.faults = TcpFaults(corrupt_at=100_000)
    wrong = (await get(url(proxy))).content
    assert sum(a != b for a, b in zip(right, wrong, strict=True)) == 1
    assert proxy.counts.corrupted == 1


async def test_byte_after_a_marker_changes_wherever_the_marker_stands(proxy: TcpProxy) -> None:
    right = await get(url(proxy))
    marker = right.content[70_000:70_020]
    proxy.faults = TcpFaults(corrupt_after=marker)
    wrong = (await get(url(proxy))).content
    assert [i for i in range(LENGTH) if right.content[i] != wrong[i]] == [70_020]
    proxy.faults = TcpFaults(corrupt_after=b"Content-Length: ", corrupt_bits=1)
    assert (await get(url(proxy))).fields["content-length"] == "304800"
    assert proxy.counts.corrupted == 2


async def test_connection_is_cut_right_after_a_marker_once(proxy: TcpProxy) -> None:
    right = (await get(url(proxy))).content
    proxy.faults = TcpFaults(cut_at=right[99_980:100_000], cut_how="fin")
    assert (await get(url(proxy))).content == right[:100_000]
    assert (await get(url(proxy))).content == right
    assert proxy.counts.cut == 1


async def test_refusal_resets_at_once(proxy: TcpProxy) -> None:
    proxy.faults = TcpFaults(refuse=True)
    response = await get(url(proxy))
    assert (response.status, response.was_reset) == (0, True)
    assert proxy.counts.refused == 1


async def test_rate_and_latency_take_their_time(proxy: TcpProxy) -> None:
    proxy.faults = TcpFaults(bytes_per_s=2 << 20, latency_ms=1)
    started_at = time.monotonic()
    await get(url(proxy))
    assert time.monotonic() - started_at >= 0.09


async def test_absent_server_resets_the_client(proxy: TcpProxy) -> None:
    async with TcpProxy("127.0.0.1", _closed_port()) as lonely:
        response = await get(url(lonely))
    assert response.status == 0


def test_port_of_a_proxy_that_does_not_listen_is_misuse() -> None:
    with pytest.raises(RuntimeError):
        _ = TcpProxy("127.0.0.1", 1).port


def _closed_port() -> int:
    return 1  # tcpmux: nothing listens there on a test machine
