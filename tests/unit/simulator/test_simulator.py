"""The simulator on the wire, inside the test's loop."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from mirror.simulator.faults import parse_rules
from mirror.simulator.simulator import Simulator
from mirror.simulator.upstream import SimulatedUpstream, SimulatorOptions
from tests.unit.simulator.raw_client import TIMEOUT_S, get

HOST = "x86_64-unknown-linux-gnu"
BIG = f"/dist/2026-05-20/big-300KiB-{HOST}.tar.gz"
BIG_BYTES = 300 << 10


@pytest.fixture(scope="module")
def upstream() -> SimulatedUpstream:
    """Made once: no test here changes what the upstream holds."""
    return SimulatedUpstream(SimulatorOptions(seed=1))


@pytest.fixture
async def simulator(upstream: SimulatedUpstream) -> AsyncIterator[Simulator]:
    async with Simulator(upstream) as running:
        yield running


async def test_object_arrives_whole_with_its_digest(simulator: Simulator) -> None:
    content = (await get(simulator.releases_url + BIG)).content
    digest_file = (await get(f"{simulator.releases_url}{BIG}.sha256")).content
    assert hashlib.sha256(content).hexdigest() == digest_file[:64].decode()


async def test_requests_of_one_connection_are_answered_in_order(simulator: Simulator) -> None:
    parts = urlsplit(simulator.index_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"GET /1/q HTTP/1.1\r\nHost: a\r\n\r\nGET /absent HTTP/1.1\r\nHost: a\r\n\r\n")
    async with asyncio.timeout(TIMEOUT_S):
        first = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(first.lower().split(b"content-length: ")[1].split()[0]))
        second = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert first.startswith(b"HTTP/1.1 200 ")
    assert second.startswith(b"HTTP/1.1 404 ")


async def test_both_spellings_of_a_crate_s_path_are_one_object(simulator: Simulator) -> None:
    long = await get(f"{simulator.crates_url}/crates/plusmeta/plusmeta-1.0.0%2Bbuild.5.crate")
    short = await get(f"{simulator.crates_url}/crates/plusmeta/1.0.0+build.5/download")
    assert long.status == 200
    assert long.content == short.content


async def test_config_names_the_upstream_or_this_simulator() -> None:
    async with Simulator(SimulatorOptions(dl="local")) as local:
        config = (await get(f"{local.index_url}/config.json")).content.decode()
        assert f'"dl":"{local.crates_url}/crates"' in config


async def test_index_is_gzip_coded_for_who_accepts_it() -> None:
    accepts = {"Accept-Encoding": "deflate, gzip"}
    async with Simulator(SimulatorOptions(gzip_index=True)) as coding:
        url = f"{coding.index_url}/ch/ro/chronicle"
        plain = await get(url)
        coded = await get(url, fields=accepts)
        again = await get(url, fields={**accepts, "If-None-Match": coded.fields["etag"]})
        config = await get(f"{coding.index_url}/config.json", fields=accepts)
    assert coded.fields["content-encoding"] == "gzip"
    assert coded.fields["etag"] == f"W/{plain.fields['etag']}"
    assert len(coded.content) < len(plain.content) / 2
    assert gzip.decompress(coded.content) == plain.content
    assert again.status == 304
    assert "content-encoding" not in config.fields


async def test_counts_have_every_request_and_content_byte(simulator: Simulator) -> None:
    await get(simulator.releases_url + BIG)
    await get(simulator.releases_url + BIG, fields={"Range": "bytes=0-9"})
    await get(f"{simulator.index_url}/1/q", fields={"If-None-Match": "*"})
    counts = simulator.tally
    assert counts.total.requests == 3
    assert counts.objects[f"releases:{BIG}"].bytes == BIG_BYTES + 10
    assert counts.classes["archive"].ranged == 1
    assert counts.classes["index"].not_modified == 1
    assert counts.connections == {"releases": 2, "crates": 0, "index": 1}


async def test_log_says_what_was_asked_and_what_became_of_it(simulator: Simulator) -> None:
    await get(f"{simulator.index_url}/1/q", fields={"User-Agent": "tester"})
    [record] = simulator.tally.log()
    assert (record["path"], record["status"], record["is_complete"]) == ("/1/q", 200, True)
    fields = record["fields"]
    assert isinstance(fields, dict)
    assert fields["user-agent"] == "tester"
    assert simulator.tally.log(since=1) == []


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_cut_ends_the_transfer_at_the_byte(simulator: Simulator, how: str) -> None:
    rule: dict[str, object] = {"kind": "cut", "path": BIG, "at": 1000, "count": 1, "how": how}
    simulator.faults.add(parse_rules([rule]))
    cut = await get(simulator.releases_url + BIG)
    assert len(cut.content) <= 1000
    assert cut.was_reset is (how == "rst")
    if how == "fin":
        assert len(cut.content) == 1000
    assert len((await get(simulator.releases_url + BIG)).content) == BIG_BYTES
    assert list(simulator.faults.fired.values()) == [1]
    assert simulator.tally.log()[0]["is_complete"] is False


async def test_corrupt_changes_exactly_one_byte(simulator: Simulator) -> None:
    right = (await get(simulator.releases_url + BIG)).content
    rule: dict[str, object] = {"kind": "corrupt", "path": BIG, "at": 70_000}
    simulator.faults.add(parse_rules([rule]))
    wrong = (await get(simulator.releases_url + BIG)).content
    assert [i for i in range(BIG_BYTES) if right[i] != wrong[i]] == [70_000]


async def test_too_long_a_length_ends_with_a_close(simulator: Simulator) -> None:
    simulator.faults.add(parse_rules([{"kind": "length", "delta": 5}]))
    response = await get(simulator.releases_url + BIG)
    assert int(response.fields["content-length"]) == len(response.content) + 5


async def test_chunked_has_no_length_and_ends_with_the_last_chunk(simulator: Simulator) -> None:
    simulator.faults.add(parse_rules([{"kind": "chunked"}]))
    response = await get(f"{simulator.index_url}/1/q")
    assert response.fields["transfer-encoding"] == "chunked"
    assert "content-length" not in response.fields
    assert response.content.endswith(b"\r\n0\r\n\r\n")


async def test_endless_content_goes_on_until_the_client_goes(simulator: Simulator) -> None:
    simulator.faults.add(parse_rules([{"kind": "endless", "name": "endless"}]))
    parts = urlsplit(simulator.index_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"GET /1/q HTTP/1.1\r\nHost: a\r\n\r\n")
    async with asyncio.timeout(TIMEOUT_S):
        await reader.readexactly(1_000_000)
        writer.close()
        await simulator.aclose()
    assert simulator.tally.total.bytes > 900_000
    assert simulator.faults.fired == {"endless": 1}


async def test_stall_holds_the_rest_back(simulator: Simulator) -> None:
    simulator.faults.add(parse_rules([{"kind": "stall", "at": 100, "ms": 150, "count": 1}]))
    started_at = time.monotonic()
    response = await get(simulator.releases_url + BIG)
    assert len(response.content) == BIG_BYTES
    assert time.monotonic() - started_at >= 0.15


async def test_endless_stall_ends_when_the_client_goes(simulator: Simulator) -> None:
    simulator.faults.add(parse_rules([{"kind": "stall", "at": 0}]))
    parts = urlsplit(simulator.releases_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET {BIG} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    async with asyncio.timeout(TIMEOUT_S):
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await simulator.aclose()
    assert simulator.tally.total.bytes == 0


async def test_going_down_does_not_wait_for_a_delayed_answer(simulator: Simulator) -> None:
    simulator.faults.add(parse_rules([{"kind": "delay", "ms": 600_000}]))
    asking = asyncio.ensure_future(get(f"{simulator.index_url}/1/q"))
    async with asyncio.timeout(TIMEOUT_S):
        while not simulator.tally.total.requests:
            await asyncio.sleep(0)
        await simulator.listeners.stop()
        assert (await asking).was_reset


async def test_rate_limits_the_content(simulator: Simulator) -> None:
    simulator.faults.add(parse_rules([{"kind": "rate", "bytes_per_s": 2 << 20}]))
    started_at = time.monotonic()
    await get(simulator.releases_url + BIG)
    assert time.monotonic() - started_at >= 0.1


async def test_drop_closes_without_an_answer(simulator: Simulator) -> None:
    simulator.faults.add(parse_rules([{"kind": "drop", "count": 1}]))
    assert (await get(f"{simulator.index_url}/1/q")).status == 0


async def test_down_refuses_connections_and_comes_back_on_the_same_ports(
    simulator: Simulator,
) -> None:
    url = f"{simulator.index_url}/1/q"
    await simulator.listeners.stop()
    assert not simulator.listeners.is_serving
    with pytest.raises(ConnectionRefusedError):
        await get(url)
    await simulator.listeners.start()
    assert (await get(url)).status == 200


async def test_going_down_resets_kept_connections(simulator: Simulator) -> None:
    parts = urlsplit(simulator.index_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"GET /1/q HTTP/1.1\r\nHost: a\r\n\r\n")
    async with asyncio.timeout(TIMEOUT_S):
        await reader.readuntil(b"\r\n\r\n")
        await simulator.listeners.stop()
        with pytest.raises(ConnectionResetError):
            await _read_to_end(reader)
    writer.close()


@pytest.mark.parametrize(
    "head", [b"nonsense\r\n\r\n", b"PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab"]
)
async def test_what_is_no_request_is_refused_and_not_counted(
    simulator: Simulator, head: bytes
) -> None:
    parts = urlsplit(simulator.index_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(head)
    async with asyncio.timeout(TIMEOUT_S):
        received = await reader.read(1 << 16)
    writer.close()
    assert received.startswith(b"HTTP/1.1 400 ")
    assert simulator.tally.total.requests == 0


async def _read_to_end(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass
