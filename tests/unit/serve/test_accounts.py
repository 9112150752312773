"""What is answered is counted once: what left, how it ended, for whom, how fast."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from mirror.config import Accounting, Config
from mirror.fill.messages import Failed
from tests.http2_client import Peer
from tests.unit.serve.counted import (
    HEAD,
    LARGE,
    SMALL,
    TAGGED,
    column,
    latencies,
    served,
    total,
    wire,
)
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    INDEX_KEY,
    INDEX_TARGET,
    WAITING,
    config_with,
    read_all,
    running_worker,
)
from tests.unit.serve.flights import until
from tests.unit.serve.h2_client import connected

DOWNLOADS = Config(accounting=Accounting(downloads=True), freshness=WAITING)


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
