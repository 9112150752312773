"""Whatever clients do: cells, records, latencies and the receipts of the clients agree."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mirror.fill.bodies import GrowingBody
from mirror.fill.messages import Ask, Failed
from tests.http2_client import Peer, upgrade_request
from tests.unit.serve.counted import (
    LARGE,
    SMALL,
    TAGGED,
    latencies,
    reset,
    served,
    total,
    wire,
)
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    INDEX_KEY,
    INDEX_TARGET,
    Bench,
    parse_answer,
    read_all,
    running_worker,
)
from tests.unit.serve.flights import CONTENT as GROWING
from tests.unit.serve.flights import Flight, until
from tests.unit.serve.h2_client import Client, connected
from tests.unit.serve.test_request_records import GROUPS, Log, assert_agreement, logging_worker

CLIENTS = {"127.0.0.1": "other", "127.0.0.2": "office"}
GROWING_TARGET = "/crates/rand/rand-1.0.0.crate"
STEPS = 25
_SELECTED = (200, 206, 304)

Whole = tuple[str, str, int, int]  # group, protocol, status, content bytes


@dataclass
class Receipts:
    """What clients saw."""

    whole: Counter[Whole] = field(default_factory=Counter)
    head_bytes: int = 0  # of HTTP/1.1
    least_cut: list[tuple[str, int]] = field(default_factory=list)  # content bytes at least

    def take_raw(self, client: str, raw: bytes, methods: list[str]) -> None:
        """Read the answers to as many requests, one behind the other."""
        for method in methods:
            answer = parse_answer(raw, is_head=method == "HEAD")
            assert answer.is_complete, (method, answer.status)
            head_bytes = raw.index(b"\r\n\r\n") + 4
            self.note(client, "HTTP/1.1", answer.status, len(answer.content))
            self.head_bytes += head_bytes
            raw = answer.rest
        assert raw == b""

    def note(self, client: str, protocol: str, status: int, content_bytes: int) -> None:
        self.whole[CLIENTS[client], protocol, status, content_bytes] += 1


class Day:
    """One worker and what happens to it, by chance."""

    def __init__(self, bench: Bench, path: Path, chance: random.Random) -> None:
        self.bench = bench
        self.receipts = Receipts()
        self._path = path
        self._chance = chance
        self._flights = 0
        digest = bench.reader.keep(INDEX_KEY, SMALL, fresh_until=1_800_000_090.0).entry.digest
        bench.reader.keep(CRATE_KEY, LARGE)
        bench.keeper.script = self._answer
        self._flight: Flight | None = None
        tagged = TAGGED.format(INDEX_TARGET, digest.hex()).partition("\r\n")[2]
        self._heads = [
            f"GET {INDEX_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n",
            f"GET {INDEX_TARGET} HTTP/1.1\r\n{tagged}",
            f"GET {CRATE_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n",
            f"HEAD {CRATE_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n",
            f"HEAD {INDEX_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n",
            f"GET {CRATE_TARGET} HTTP/1.1\r\nHost: m\r\nRange: bytes=10-250000\r\n\r\n",
            f"GET {CRATE_TARGET} HTTP/1.1\r\nHost: m\r\nRange: bytes=0-3,90-99,-5\r\n\r\n",
            f"GET {CRATE_TARGET} HTTP/1.1\r\nHost: m\r\nRange: bytes=999999-\r\n\r\n",
            f'GET {INDEX_TARGET} HTTP/1.1\r\nHost: m\r\nIf-Match: "no"\r\n\r\n',
            "GET /index/ab/se/absent HTTP/1.1\r\nHost: m\r\n\r\n",
            "GET /index/br/ok/broken HTTP/1.1\r\nHost: m\r\n\r\n",
            "GET /livez HTTP/1.1\r\nHost: m\r\nCDN-Loop: rust-mirror\r\n\r\n",
            "GET /rustup.sh HTTP/1.1\r\nHost: m\r\n\r\n",
            "GET /nothing HTTP/1.1\r\nHost: m\r\n\r\n",
        ]
        self._last = [
            ("GET", "GET /livez HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n"),
            ("GET", f"GET {CRATE_TARGET} HTTP/1.0\r\n\r\n"),
            ("POST", "POST /livez HTTP/1.1\r\nHost: m\r\nContent-Length: 3\r\n\r\nabc"),
            ("?", "NONSENSE\r\n\r\n"),
            ("GET", "GET /%00 HTTP/1.1\r\nHost: m\r\n\r\n"),
            ("GET", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ]

    @property
    def steps(self) -> list[Callable[[str], Awaitable[None]]]:
        return [
            self.pipeline,
            self.one_by_one,
            self.http2,
            self.upgrade,
            self.grow,
            self.grow_and_fail,
            self.abandon,
            self.abandon_stream,
            self.leave_before_the_head,
        ]

    async def pipeline(self, client: str) -> None:
        """Many heads in one write, the last of which closes the connection."""
        heads = self._chance.choices(self._heads, k=self._chance.randrange(1, 90))
        method, last = self._chance.choice(self._last)
        raw = "".join([*heads, last]).encode()
        methods = [head.partition(" ")[0] for head in heads] + [method]
        received = await self.bench.exchange(raw, client)
        self.receipts.take_raw(client, received, methods)

    async def one_by_one(self, client: str) -> None:
        """Heads that are learned, and rendered anew in between."""
        async with wire(self.bench, client) as sender:
            for head in self._chance.choices(self._heads[:3], k=self._chance.randrange(1, 20)):
                self.receipts.take_raw(client, await sender.ask(head.encode()), ["GET"])
                if self._chance.random() < 0.3:
                    self.bench.clock.advance(0.5)
                    self.bench.worker.tick()

    async def http2(self, client: str) -> None:
        async with connected(self.bench) as peer:
            await self._ask_streams(peer)

    async def upgrade(self, client: str) -> None:
        """The request that asks for HTTP/2 is answered by it."""
        peer = Peer()
        raw = upgrade_request(CRATE_TARGET, peer.begin_upgraded())
        reader, writer = await asyncio.open_connection("127.0.0.1", self.bench.port)
        writer.write(raw)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        upgraded = Client(peer, reader, writer)
        await self._ask_streams(upgraded)
        writer.close()

    async def grow(self, client: str) -> None:
        """A flight that brings what it promised."""
        length = self._chance.choice((len(GROWING), -1))
        flight = self._flight = self._new_flight(length)
        asked = asyncio.create_task(self._get_growing(client))
        await until(lambda: flight.bodies)
        flight.land(self._chance.randrange(len(GROWING)))
        flight.verify()
        self.receipts.take_raw(client, await asked, ["GET"])

    async def grow_and_fail(self, client: str) -> None:
        """A flight whose content is wrong: its answer is cut."""
        flight = self._flight = self._new_flight(len(GROWING))
        asked = asyncio.create_task(self._get_growing(client))
        await until(lambda: flight.bodies)
        flight.land(self._chance.randrange(1, len(GROWING)))
        await asyncio.sleep(0)
        flight.fail()
        received = await asked
        content_bytes = len(received.partition(b"\r\n\r\n")[2])
        self.receipts.least_cut.append((CLIENTS[client], content_bytes))

    async def abandon(self, client: str) -> None:
        """A client that reads a little, and resets the connection."""
        reader, writer = await self._open(client)
        writer.write(f"GET {CRATE_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
        flight = self._flight = self._new_flight(len(GROWING))
        writer.write(f"GET {GROWING_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
        first = await reader.readuntil(b"\r\n\r\n")
        first += await reader.readexactly(len(LARGE))
        self.receipts.take_raw(client, first, ["GET"])
        await reader.readuntil(b"\r\n\r\n")
        flight.land(self._chance.randrange(len(GROWING)))
        reset(writer)
        await until(lambda: flight.released)
        self.receipts.least_cut.append((CLIENTS[client], 0))

    async def abandon_stream(self, client: str) -> None:
        peer = Peer()
        peer.is_stalled = True
        async with connected(self.bench, peer) as stalled:
            number = peer.ask(CRATE_TARGET)
            response = peer.responses[number]
            await stalled.until(lambda: len(response.content) == 65_535)
            if self._chance.random() < 0.5:
                peer.h2.reset_stream(number)
                stalled.send()
            else:
                reset(stalled.writer)
        self.receipts.least_cut.append(("other", 65_535))

    async def leave_before_the_head(self, client: str) -> None:
        flight = self._flight = self._new_flight(1000)  # small: its head waits for all of it
        _, writer = await self._open(client)
        writer.write(f"GET {GROWING_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
        await until(lambda: flight.bodies)
        reset(writer)
        await until(lambda: flight.released)

    async def _ask_streams(self, client: Client) -> None:
        targets = self._chance.choices((INDEX_TARGET, CRATE_TARGET, "/nothing", "/livez"), k=8)
        for target in targets:
            client.peer.ask(target, method=self._chance.choice(("GET", "HEAD", "POST")))
        await client.until(lambda: client.peer.are_over)
        for response in client.peer.responses.values():
            assert response.is_complete
            content_bytes = len(response.content)
            self.receipts.note("127.0.0.1", "HTTP/2", response.status, content_bytes)

    async def _answer(self, ask: Ask) -> GrowingBody | Failed:
        if ask.key.endswith("rand-1.0.0.crate") and self._flight is not None:
            return await self._flight.answer(ask)
        if ask.key.endswith("broken"):
            return Failed(status=503, reason="away", retry_after_s=1)
        return Failed(status=404, reason="upstream says so")

    def _new_flight(self, length: int) -> Flight:
        self._flights += 1
        folder = self._path / f"flight-{self._flights}"
        folder.mkdir()
        return Flight(folder, length=length)

    async def _get_growing(self, client: str) -> bytes:
        reader, writer = await self._open(client)
        writer.write(
            f"GET {GROWING_TARGET} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n".encode()
        )
        received = await read_all(reader, 5)
        writer.close()
        return received

    async def _open(self, client: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.bench.port, local_addr=(client, 0))


def assert_receipts(day: Day, log: Log) -> None:
    receipts, records = day.receipts, log.records
    whole = [record for record in records if record.is_complete]
    shown: Counter[Whole] = Counter()
    for record in whole:
        protocol = "HTTP/2" if record.protocol == "HTTP/2" else "HTTP/1.1"
        shown[record.group, protocol, record.status, record.content_bytes] += 1
    assert shown == receipts.whole
    cut = sorted((each.group, each.content_bytes) for each in records if not each.is_complete)
    least = sorted(receipts.least_cut)
    assert [group for group, _ in cut] == [group for group, _ in least]
    assert all(sent >= seen for (_, sent), (_, seen) in zip(cut, least, strict=True))
    http1 = [record.head_bytes for record in whole if record.protocol != "HTTP/2"]
    assert sum(http1) == receipts.head_bytes
    assert sum(latencies(day.bench).values()) == len(whole)
    told = sum(use.content_bytes for use in day.bench.keeper.uses)
    of_objects = [each for each in records if each.content_class != "other"]
    selected = [each.content_bytes for each in of_objects if each.status in _SELECTED]
    assert told == sum(selected)


@pytest.mark.parametrize("seed", range(3))
async def test_everybody_agrees_whatever_clients_do(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with logging_worker(tmp_path) as (bench, log):
        day = Day(bench, tmp_path, chance)
        for _ in range(STEPS):
            await chance.choice(day.steps)(chance.choice(tuple(CLIENTS)))
        await until(lambda: " 0 connections" in repr(bench.worker))
        bench.worker.accounts.settle()
        assert_agreement(bench, log)
        assert_receipts(day, log)
        assert repr(bench.worker.accounts) == "<Accounts 0 open, 0 untold, 0 records>"
        assert total(bench, "connections_turned_away") == 0


@pytest.mark.parametrize("seed", range(2))
async def test_cells_agree_with_receipts_without_a_log(tmp_path: Path, seed: int) -> None:
    """Learned heads are then counted in tallies."""
    chance = random.Random(seed)
    async with running_worker(tmp_path, groups=GROUPS) as bench:
        day = Day(bench, tmp_path, chance)
        steps = [day.one_by_one, day.one_by_one, day.pipeline, day.http2, day.upgrade, day.grow]
        for _ in range(STEPS):
            await chance.choice(steps)(chance.choice(tuple(CLIENTS)))
        for group in CLIENTS.values():
            counted: Counter[str] = Counter()
            for (_, _, column), value in served(bench, group).items():
                counted[column] += value
            whole = Counter({key: n for key, n in day.receipts.whole.items() if key[0] == group})
            assert counted["requests"] == whole.total()
            assert counted["content_bytes"] == sum(key[3] * n for key, n in whole.items())
            assert counted["not_modified"] == sum(n for key, n in whole.items() if key[2] == 304)
            assert counted["ranged"] == sum(n for key, n in whole.items() if key[2] == 206)
            assert counted["cut"] == 0
        assert sum(latencies(bench).values()) == day.receipts.whole.total()
