"""What is answered is counted once: what left, how it ended, for whom, how fast."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mirror.accounting.uses import Use
from mirror.config import Accounting, Config
from mirror.fill.messages import Failed
from tests.http2_client import Peer
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    INDEX_KEY,
    INDEX_TARGET,
    WAITING,
    Bench,
    config_with,
    is_whole,
    read_all,
    running_worker,
)
from tests.unit.serve.h2_client import connected
from tests.unit.serve.slow_client import SlowClient
from tests.unit.serve.test_follow import CONTENT as GROWING
from tests.unit.serve.test_follow import HELD, Flight, begin, until

SMALL = b"small content\n" * 20
LARGE = os.urandom(300_000)
DOWNLOADS = Config(accounting=Accounting(downloads=True), freshness=WAITING)
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


# Learned heads.


async def test_learned_heads_are_counted_with_what_left(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench, wire(bench) as client:
        stored = bench.reader.keep(INDEX_KEY, SMALL, fresh_until=1_800_000_050.0)
        tagged = TAGGED.format(INDEX_TARGET, stored.entry.digest.hex()).encode()
        for number in range(30):
            await client.ask(HEAD)
            await client.ask(tagged)
            if number % 5 == 0:  # Age and ttl change their number of digits
                bench.clock.advance(3)
                bench.worker.tick()
        counted = served(bench)
        assert counted["index", "hit", "requests"] == 60
        assert counted["index", "hit", "not_modified"] == 30
        assert counted["index", "hit", "content_bytes"] == 30 * len(SMALL)
        assert column(bench, "head_bytes") + column(bench, "content_bytes") == client.received_bytes
        assert latencies(bench) == {("hit", "index"): 60}
        assert sum(use.requests for use in bench.keeper.uses) == 60
        assert sum(use.content_bytes for use in bench.keeper.uses) == 30 * len(SMALL)
        assert {use.length_bytes for use in bench.keeper.uses} == {len(SMALL)}


async def test_counts_of_learned_heads_settle_by_themselves_and_then_nothing_is_armed(
    tmp_path: Path,
) -> None:
    async with running_worker(tmp_path) as bench, wire(bench) as client:
        bench.reader.keep(INDEX_KEY, SMALL)
        accounts = bench.worker.accounts
        armed = [accounts.is_armed]
        for _ in range(5):
            await client.ask(HEAD)
        armed.append(accounts.is_armed)
        assert armed == [False, True]
        async with asyncio.timeout(5):
            while accounts.is_armed:
                await asyncio.sleep(0.001)
        assert repr(accounts) == "<Accounts 0 open, 1 untold, 0 records>"
        row = bench.counters.layout.row("served", "other", "index", "hit")
        assert bench.counters.view[row] == 5


async def test_worker_that_ends_has_counted_everything(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench, wire(bench) as client:
        bench.reader.keep(INDEX_KEY, SMALL)
        for _ in range(5):
            await client.ask(HEAD)
        bench.running.cancel()
        await asyncio.wait([bench.running])
        row = bench.counters.layout.row("served", "other", "index", "hit")
        assert bench.counters.view[row] == 5


async def test_a_learned_large_file_is_counted_as_it_leaves(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench, wire(bench) as client:
        bench.reader.keep(CRATE_KEY, LARGE)
        head = HEAD.replace(INDEX_TARGET.encode(), CRATE_TARGET.encode())
        for _ in range(4):
            await client.ask(head)
        assert served(bench)["crate", "hit", "requests"] == 4
        assert served(bench)["crate", "hit", "content_bytes"] == 4 * len(LARGE)
        assert column(bench, "head_bytes") + column(bench, "content_bytes") == client.received_bytes
        assert latencies(bench) == {("hit", "crate"): 4}


# Every kind of answer.

ANSWERS = [
    pytest.param(f"GET {INDEX_TARGET} HTTP/1.1", "index", "hit", "", 200, id="stored"),
    pytest.param(f"HEAD {INDEX_TARGET} HTTP/1.1", "index", "hit", "", 200, id="head"),
    pytest.param(
        f"GET {INDEX_TARGET} HTTP/1.1\r\nRange: bytes=3-9", "index", "hit", "ranged", 206, id="part"
    ),
    pytest.param(
        f"GET {INDEX_TARGET} HTTP/1.1\r\nIf-None-Match: *",
        *("index", "hit", "not_modified", 304),
        id="not-modified",
    ),
    pytest.param(
        f'GET {INDEX_TARGET} HTTP/1.1\r\nIf-Match: "x"', "index", "hit", "", 412, id="failed"
    ),
    pytest.param("GET /index/ab/se/absent HTTP/1.1", "index", "negative", "", 404, id="absent"),
    pytest.param("GET /nothing HTTP/1.1", "other", "negative", "", 404, id="no-route"),
    pytest.param("GET /livez HTTP/1.1", "other", "hit", "", 200, id="made-here"),
    pytest.param("GET /rustup.sh HTTP/1.1", "other", "hit", "", 301, id="redirect"),
    pytest.param("POST /livez HTTP/1.1", "other", "refused", "", 405, id="method"),
    pytest.param("GET /%00 HTTP/1.1", "other", "refused", "", 400, id="target"),
    pytest.param("BREW /livez HTTP/1.1", "other", "failed", "", 501, id="no-method"),
    pytest.param(
        "GET /livez HTTP/1.1\r\nCDN-Loop: rust-mirror", "other", "failed", "", 508, id="loop"
    ),
]


@pytest.mark.parametrize(("line", "content_class", "outcome", "extra", "status"), ANSWERS)
async def test_every_answer_is_one_request_with_the_bytes_that_came(
    tmp_path: Path, line: str, content_class: str, outcome: str, extra: str, status: int
) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(INDEX_KEY, SMALL)
        raw = f"{line}\r\nHost: m\r\nConnection: close\r\n\r\n".encode()
        received = await bench.exchange(raw)
        assert received.startswith(b"HTTP/1.1 %d " % status)
        head, _, content = received.partition(b"\r\n\r\n")
        wanted = {
            (content_class, outcome, "requests"): 1,
            (content_class, outcome, "content_bytes"): len(content),
            (content_class, outcome, "head_bytes"): len(head) + 4,
            (content_class, outcome, extra or "none"): 1 if extra else 0,
        }
        assert +served(bench) == +Counter(wanted)
        assert sum(latencies(bench).values()) == 1


@pytest.mark.parametrize(
    ("line", "name"),
    [
        pytest.param("POST /livez HTTP/1.1", "refused_method", id="method"),
        pytest.param("GET /%00 HTTP/1.1", "refused_request", id="target"),
        pytest.param("BREW /livez HTTP/1.1", "refused_request", id="parser"),
        pytest.param("GET /livez HTTP/1.1\r\nCDN-Loop: rust-mirror", "refused_loop", id="loop"),
        pytest.param(f"GET {INDEX_TARGET} HTTP/1.1", "asks_total", id="ask"),
    ],
)
async def test_totals_name_what_happened(tmp_path: Path, line: str, name: str) -> None:
    async with running_worker(tmp_path) as bench:
        await bench.exchange(f"{line}\r\nHost: m\r\nConnection: close\r\n\r\n".encode())
        assert total(bench, name) == 1
        assert total(bench, "connections_accepted") == 1


async def test_keeper_trouble_counts_as_a_failed_ask_and_a_failed_answer(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.keeper.answer(Failed(status=503, reason="away", retry_after_s=1))
        assert (await bench.get(INDEX_TARGET)).status == 503
        assert (total(bench, "asks_total"), total(bench, "asks_failed")) == (1, 1)
        assert served(bench)["index", "failed", "requests"] == 1
        assert latencies(bench) == {("filled", "index"): 1}


async def test_deadlines_are_counted(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(INDEX_KEY, SMALL)
        late, late_writer = await asyncio.open_connection("127.0.0.1", bench.port)
        late_writer.write(b"GET /li")
        async with wire(bench) as idle:
            await idle.ask(HEAD)
            async with asyncio.timeout(5):
                while " 2 connections" not in repr(bench.worker):
                    await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)  # both are read
            bench.clock.advance(76)
            bench.worker.tick()
            received = await read_all(late)
        late_writer.close()
        assert received.startswith(b"HTTP/1.1 408 ")
        assert (total(bench, "deadline_head"), total(bench, "deadline_idle")) == (1, 1)
        assert served(bench)["other", "refused", "requests"] == 1
        head, _, content = received.partition(b"\r\n\r\n")
        assert served(bench)["other", "refused", "content_bytes"] == len(content)
        assert served(bench)["other", "refused", "head_bytes"] == len(head) + 4


async def test_connection_that_is_turned_away_is_counted_with_its_answer(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(max_connections=1)) as bench:
        async with wire(bench):
            received = await bench.exchange(HEAD)
        assert received.startswith(b"HTTP/1.1 503 ")
        assert total(bench, "connections_turned_away") == 1
        assert total(bench, "connections_accepted") == 2
        assert served(bench)["other", "failed", "requests"] == 1


# How answers end.


@pytest.mark.parametrize("length", [len(GROWING), -1])
async def test_answer_that_is_cut_counts_what_left_and_that_it_was_cut(
    tmp_path: Path, length: int
) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path, length=length)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench)
        await until(lambda: flight.bodies)
        flight.land(len(GROWING))
        await until(lambda: bench.count_of("crate", "miss", "content_bytes") > 0)
        flight.fail()
        await read_all(reader)
        writer.close()
        counted = served(bench)
        assert counted["crate", "miss", "requests"] == counted["crate", "miss", "cut"] == 1
        assert counted["crate", "miss", "content_bytes"] == len(GROWING) - HELD
        assert latencies(bench) == {}


async def test_client_that_leaves_cuts_its_answer(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench)
        await reader.readuntil(b"\r\n\r\n")
        reset(writer)
        await until(lambda: bench.count_of("crate", "miss", "cut") == 1)
        assert served(bench)["crate", "miss", "requests"] == 1


async def test_client_that_leaves_before_the_head_is_not_counted(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path, length=1000)  # small: its head waits for all of it
        bench.keeper.script = flight.answer
        _, writer = await begin(bench)
        await until(lambda: flight.bodies)
        reset(writer)
        await until(lambda: flight.released)
        assert served(bench) == {}


async def test_worker_that_is_stopped_counts_what_is_under_way_as_cut(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench)
        await reader.readuntil(b"\r\n\r\n")
        bench.running.cancel()
        await asyncio.wait([bench.running])
        assert bench.count_of("crate", "miss", "cut") == 1
        writer.close()


async def test_joined_flight_is_told_from_an_own_one(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        first = asyncio.create_task(bench.get(CRATE_TARGET))
        await until(lambda: flight.bodies)
        second = asyncio.create_task(bench.get(CRATE_TARGET))
        await until(lambda: len(flight.bodies) == 2)
        flight.verify()
        assert (await first).content == (await second).content == GROWING
        assert latencies(bench) == {("filled", "crate"): 1, ("joined", "crate"): 1}
        assert served(bench)["crate", "collapsed", "content_bytes"] == len(GROWING)
        assert bench.keeper.uses == [Use(CRATE_KEY, 1, len(GROWING), 0, len(GROWING))] * 2


@pytest.mark.parametrize("reads_on", [True, False])
async def test_what_the_transport_still_holds_has_not_left(tmp_path: Path, reads_on: bool) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, LARGE)
        bench.reader.keep(INDEX_KEY, LARGE[:60_000])
        client = SlowClient(bench)
        client.ask(f"GET {INDEX_TARGET} HTTP/1.1")
        sent = served(bench)["index", "hit", "content_bytes"]
        assert 0 < client.held_bytes == 60_000 - sent
        assert latencies(bench) == {}
        if reads_on:
            assert (await client.answer()).content == LARGE[:60_000]
        client.leave()
        counted = served(bench)
        assert counted["index", "hit", "content_bytes"] == (60_000 if reads_on else sent)
        assert counted["index", "hit", "cut"] == (not reads_on)
        assert sum(latencies(bench).values()) == reads_on


async def test_abandoned_file_counts_what_the_kernel_took(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, LARGE)
        client = SlowClient(bench)
        client.ask(f"GET {CRATE_TARGET} HTTP/1.1")
        received = client.take()
        is_waited_for = client.is_waited_for
        client.leave()
        content = received.partition(b"\r\n\r\n")[2]
        assert is_waited_for
        assert served(bench)["crate", "hit", "content_bytes"] == len(content)
        assert column(bench, "cut") == 1


# HTTP/2.


async def test_http2_answers_are_counted_as_their_content_leaves(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(INDEX_KEY, SMALL)
        bench.reader.keep(CRATE_KEY, LARGE)
        async with connected(bench) as client:
            assert (await client.get(INDEX_TARGET)).content == SMALL
            assert (await client.get(CRATE_TARGET)).content == LARGE
            assert (await client.get("/nothing")).status == 404
            part = await client.get(INDEX_TARGET, ("range", "bytes=0-4"))
            assert part.status == 206
        counted = served(bench)
        assert counted["index", "hit", "requests"] == 2
        assert counted["index", "hit", "ranged"] == 1
        assert counted["index", "hit", "content_bytes"] == len(SMALL) + 5
        assert counted["crate", "hit", "content_bytes"] == len(LARGE)
        assert counted["other", "negative", "requests"] == 1
        assert column(bench, "cut") == 0
        assert total(bench, "connections_http2") == 1
        assert sum(latencies(bench).values()) == 4


async def test_http2_stream_that_is_reset_is_cut_at_what_its_window_let_through(
    tmp_path: Path,
) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, LARGE)
        peer = Peer()
        peer.is_stalled = True
        async with connected(bench, peer) as client:
            number = peer.ask(CRATE_TARGET)
            response = peer.responses[number]
            await client.until(lambda: len(response.content) == 65_535)
            peer.h2.reset_stream(number)
            client.send()
            await until(lambda: bench.count_of("crate", "hit", "cut") == 1)
        assert served(bench)["crate", "hit", "content_bytes"] == 65_535


# Downloads.

CARGO = "User-Agent: cargo/1.95.0 (f2d3ce0bd 2026-03-21)"


@pytest.mark.parametrize(
    ("size", "lines", "downloads"),
    [
        pytest.param(500, (CARGO,), 3, id="cargo"),
        pytest.param(300_000, (CARGO,), 3, id="cargo-large"),
        pytest.param(500, ("User-Agent: curl/8",), 0, id="another-agent"),
        pytest.param(300_000, ("User-Agent: curl/8",), 0, id="another-agent-large"),
        pytest.param(500, (), 0, id="no-agent"),
        pytest.param(500, (CARGO, "Range: bytes=0-9"), 0, id="part"),
    ],
)
async def test_downloads_are_whole_crates_that_cargo_got(
    tmp_path: Path, size: int, lines: tuple[str, ...], downloads: int
) -> None:
    async with running_worker(tmp_path, DOWNLOADS) as bench, wire(bench) as client:
        bench.reader.keep(CRATE_KEY, LARGE[:size])
        other = "User-Agent: cargo/1.0" if lines != (CARGO,) else "User-Agent: wget"
        head = "\r\n".join([f"GET {CRATE_TARGET} HTTP/1.1", "Host: m", *lines]) + "\r\n\r\n"
        for _ in range(3):  # by the parser, then learned where that may be
            await client.ask(head.encode())
        bench.worker.accounts.settle()
        assert sum(use.downloads for use in bench.keeper.uses) == downloads
        assert sum(use.requests for use in bench.keeper.uses) == 3
        # A learned head of one agent must not answer for another.
        await client.ask(f"GET {CRATE_TARGET} HTTP/1.1\r\nHost: m\r\n{other}\r\n\r\n".encode())
        bench.worker.accounts.settle()
        wanted = downloads + (1 if "cargo" in other else 0)
        assert sum(use.downloads for use in bench.keeper.uses) == wanted


async def test_no_other_agent_is_credited_by_what_cargo_taught_the_memo(tmp_path: Path) -> None:
    """Its field lines are learned with an index file, the crate's request line with cargo's."""
    curl, index = "User-Agent: curl/8", f"GET {INDEX_TARGET} HTTP/1.1"
    crate = f"GET {CRATE_TARGET} HTTP/1.1"
    async with running_worker(tmp_path, DOWNLOADS) as bench, wire(bench) as client:
        bench.reader.keep(INDEX_KEY, SMALL)
        bench.reader.keep(CRATE_KEY, SMALL * 2)
        for line, agent in ((index, curl), (crate, CARGO), (crate, CARGO), (crate, curl)):
            raw = f"{line}\r\nHost: m\r\n{agent}\r\n\r\n".encode()
            assert (await client.ask(raw)).startswith(b"HTTP/1.1 200 ")
        bench.worker.accounts.settle()
        crates = [use for use in bench.keeper.uses if use.key == CRATE_KEY]
        assert sum(use.requests for use in crates) == 3
        assert sum(use.downloads for use in crates) == 2


async def test_no_download_is_counted_unless_asked_for(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench, wire(bench) as client:
        bench.reader.keep(CRATE_KEY, SMALL)
        raw = f"GET {CRATE_TARGET} HTTP/1.1\r\nHost: m\r\n{CARGO}\r\n\r\n".encode()
        for _ in range(3):
            await client.ask(raw)
        bench.worker.accounts.settle()
        assert {use.downloads for use in bench.keeper.uses} == {0}
