"""Limits of clients on the wire: 429 when configured, later when paced, nothing else ever."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from mirror.config import Config, Limits
from mirror.fill.bodies import Reply
from mirror.fill.messages import Ask
from mirror.store.entry import Stored
from mirror.store.reader import BlobChanged, BlobFile, BlobMissing
from tests.http2_client import Peer
from tests.unit.serve.counted import total
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    INDEX_KEY,
    INDEX_TARGET,
    Bench,
    config_with,
    parse_answer,
    running_worker,
)
from tests.unit.serve.h2_client import WIDE, Client, connected, until
from tests.unit.serve.idle_worker import FedConnection, IdleWorker
from tests.unit.serve.test_miss_queue import reset

SMALL = b"small " * 1_000
LARGE = os.urandom(2_000_000)
PROXIED = {"proxy_protocol": True, "trusted_proxies": ("127.0.0.0/8",)}
FORWARDED = {"trusted_proxies": ("127.0.0.0/8",)}
QUIET_S = 0.02
ONE, OTHER = "203.0.113.1", "203.0.113.2"


def config_of(serve: dict[str, Any], **limits: object) -> Config:
    settings = msgspec.structs.replace(Limits(), **limits)
    return msgspec.structs.replace(config_with(**serve), limits=settings)


@asynccontextmanager
async def limited(path: Path, serve: dict[str, Any], **limits: object) -> AsyncIterator[Bench]:
    async with running_worker(path, config_of(serve, **limits)) as bench:
        bench.reader.keep(INDEX_KEY, SMALL)
        bench.reader.keep(CRATE_KEY, LARGE)
        try:
            yield bench
        finally:
            while Wire.opened:
                writer = Wire.opened.pop().writer
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()


class Wire:
    """One connection through a proxy that says whose it is; `limited` closes those `opened`."""

    opened: ClassVar[list[Wire]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def of(cls, bench: Bench, client: str) -> Wire:
        wire = cls(*await asyncio.open_connection("127.0.0.1", bench.port))
        cls.opened.append(wire)
        wire.writer.write(f"PROXY TCP4 {client} 10.0.0.1 1234 8080\r\n".encode())
        return wire

    def ask(self, target: str, *lines: str) -> None:
        head = "\r\n".join([f"GET {target} HTTP/1.1", "Host: m", *lines])
        self.writer.write(head.encode() + b"\r\n\r\n")

    async def status(self) -> int:
        """Read one answer's head and content; its status."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
        if length is not None and not head.startswith(b"HTTP/1.1 304"):
            await self.reader.readexactly(int(length[1]))
        return int(head.split()[1])


async def test_learned_heads_count_and_the_one_too_many_is_429(tmp_path: Path) -> None:
    async with limited(tmp_path, PROXIED, client_requests=1) as bench:
        wire, other = await Wire.of(bench, ONE), await Wire.of(bench, OTHER)
        statuses = []
        for _ in range(12):
            wire.ask(INDEX_TARGET)
            statuses.append(await wire.status())
        assert statuses == [200] * 10 + [429] * 2
        assert bench.reader.lookups == 1  # the others were learned
        other.ask(INDEX_TARGET)
        assert await other.status() == 200
        assert total(bench, "limited_requests") == 2
        bench.clock.advance(20.0)
        bench.worker.tick()
        wire.ask(INDEX_TARGET)
        assert await wire.status() == 200
        wire.writer.close()
        other.writer.close()


async def test_answers_to_known_tags_count_too(tmp_path: Path) -> None:
    async with limited(tmp_path, PROXIED, client_requests=1) as bench:
        wire = await Wire.of(bench, ONE)
        tag = bench.reader.entries[INDEX_KEY].entry.digest.hex()
        statuses = []
        for _ in range(11):
            wire.ask(INDEX_TARGET, f'if-none-match: "{tag}"')
            statuses.append(await wire.status())
        assert statuses == [304] * 10 + [429]
        wire.writer.close()


async def test_too_many_requests_says_when_to_come_back(tmp_path: Path) -> None:
    async with limited(tmp_path, FORWARDED, client_requests=1) as bench:
        lines = (f"X-Forwarded-For: {ONE}",)
        answers = [await bench.get(INDEX_TARGET, *lines) for _ in range(11)]
        assert [answer.status for answer in answers] == [200] * 10 + [429]
        assert 1 <= int(answers[10].fields["retry-after"]) <= 11
        assert "cache-status" not in answers[10].fields
        assert b"203.0.113" not in answers[10].content
        assert (await bench.get(INDEX_TARGET, f"X-Forwarded-For: {OTHER}")).status == 200
        # The proxy itself is not limited, and a forged element before the proxy's is nobody.
        assert (await bench.get(INDEX_TARGET)).status == 200
        forged = f"X-Forwarded-For: {OTHER}, {ONE}"
        assert (await bench.get(INDEX_TARGET, forged)).status == 429


async def test_loopback_is_never_limited(tmp_path: Path) -> None:
    limits = {"client_requests": 1, "client_streams": 1, "client_rate": 1}
    async with limited(tmp_path, {}, **limits) as bench:
        answers = [await bench.get(CRATE_TARGET) for _ in range(12)]
        assert [len(answer.content) for answer in answers] == [len(LARGE)] * 12


async def test_requests_at_once_are_counted_over_connections_and_end_with_them(
    tmp_path: Path,
) -> None:
    async with limited(tmp_path, PROXIED, client_streams=2) as bench:
        bench.keeper.script = never
        waiting = [await Wire.of(bench, ONE) for _ in range(2)]
        for wire in waiting:
            wire.ask("/index/co/ld/cold")
        await until(lambda: len(bench.keeper.asked) >= 1 and at_once(bench) == 2)
        third = await Wire.of(bench, ONE)
        third.ask(INDEX_TARGET)
        assert await third.status() == 429
        assert total(bench, "limited_at_once") == 1
        reset(waiting.pop().writer)
        await until(lambda: at_once(bench) == 1)
        third.ask(INDEX_TARGET)
        assert await third.status() == 200
        reset(waiting.pop().writer)
        await until(lambda: at_once(bench) == 0)


async def test_large_file_by_a_learned_head_is_one_at_once(tmp_path: Path) -> None:
    async with limited(tmp_path, PROXIED, client_streams=1) as bench:
        bench.reader.keep(CRATE_KEY, LARGE * 20)
        wire = await Wire.of(bench, ONE)
        for _ in range(2):
            wire.ask(CRATE_TARGET)
            assert await wire.status() == 200
        lookups = bench.reader.lookups
        wire.ask(CRATE_TARGET)
        await until(lambda: at_once(bench) == 1)
        assert bench.reader.lookups == lookups
        other = await Wire.of(bench, ONE)
        other.ask(INDEX_TARGET)
        assert await other.status() == 429
        assert await wire.status() == 200
        await until(lambda: at_once(bench) == 0)
        wire.writer.close()
        other.writer.close()


async def test_large_file_is_under_way_before_its_head_has_left(tmp_path: Path) -> None:
    """Else another worker, asked by whoever has read that head, lets one too many through."""
    seen: list[int] = []
    async with limited(tmp_path, PROXIED, client_streams=9) as bench:
        open_blob = bench.reader.open_blob

        def opened(stored: Stored) -> BlobFile | BlobMissing | BlobChanged:
            seen.append(at_once(bench))
            return open_blob(stored)

        bench.reader.open_blob = opened  # type: ignore[method-assign]  # what comes before the head
        wire = await Wire.of(bench, ONE)
        for _ in range(4):
            wire.ask(CRATE_TARGET)
            assert await wire.status() == 200
        assert seen == [1] * 4


async def test_streams_of_one_connection_are_requests_at_once(tmp_path: Path) -> None:
    async with limited(tmp_path, PROXIED, client_streams=3) as bench:
        bench.keeper.script = never
        peer = Peer(settings=WIDE)
        preface = f"PROXY TCP4 {ONE} 10.0.0.1 1234 8080\r\n".encode()
        async with connected(bench, peer, before=preface) as client:
            waiting = [peer.ask(f"/index/co/ld/cold{number}") for number in range(3)]
            client.send()
            await until(lambda: at_once(bench) == 3)
            assert (await client.get(INDEX_TARGET)).status == 429
            peer.h2.reset_stream(waiting[0])
            client.send()
            await until(lambda: at_once(bench) == 2)
            assert (await client.get(INDEX_TARGET)).status == 200
        await until(lambda: at_once(bench) == 0)


@pytest.mark.parametrize("is_http2", [False, True])
async def test_content_over_the_rate_is_sent_later_and_whole(
    tmp_path: Path, is_http2: bool
) -> None:
    async with limited(tmp_path, PROXIED, client_rate=400_000) as bench:
        before = f"PROXY TCP4 {ONE} 10.0.0.1 1234 8080\r\n".encode()
        received = bytearray()
        ticks = 0
        if is_http2:
            peer = Peer(settings=WIDE)
            async with connected(bench, peer, before=before) as client:
                peer.h2.increment_flow_control_window(1 << 24)
                stream_id = peer.ask(CRATE_TARGET)
                while not peer.responses[stream_id].is_over:
                    await settle(client)
                    assert len(peer.responses[stream_id].content) <= 100_000 * (ticks + 1)
                    ticks += 1
                    pass_tick(bench)
                received += peer.responses[stream_id].content
        else:
            wire = await Wire.of(bench, ONE)
            wire.ask(CRATE_TARGET, "Connection: close")
            raw = bytearray()
            while len(received) < len(LARGE):
                raw += await settled(wire.reader)
                received[:] = parse_answer(bytes(raw)).content
                assert len(received) <= 100_000 * (ticks + 1)
                ticks += 1
                pass_tick(bench)
            wire.writer.close()
        assert bytes(received) == LARGE
        assert ticks >= 20
        assert total(bench, "paced_responses") == 1


async def test_small_answers_are_paced_as_well(tmp_path: Path) -> None:
    async with limited(tmp_path, PROXIED, client_rate=len(SMALL) * 4) as bench:
        wire = await Wire.of(bench, ONE)
        for _ in range(10):
            wire.ask(INDEX_TARGET)
        got = 0
        for tick in range(10):
            got += len(await settled(wire.reader)) // len(SMALL)
            assert got <= tick + 1
            pass_tick(bench)
        assert got >= 9
        wire.writer.close()


async def test_client_that_leaves_while_it_is_paced_leaves_nothing_behind(tmp_path: Path) -> None:
    async with limited(tmp_path, PROXIED, client_rate=1_000, client_streams=9) as bench:
        wires = [await Wire.of(bench, ONE) for _ in range(5)]
        for wire in wires:
            wire.ask(CRATE_TARGET)
        await until(lambda: at_once(bench) == 5)
        for wire in wires:
            wire.writer.close()
        await until(lambda: at_once(bench) == 0)
        for _ in range(3):
            pass_tick(bench)
        assert "0 paced" in repr(bench.worker.limits)


async def test_nothing_is_made_for_clients_without_limits(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        assert bench.worker.limits is None


def at_once(bench: Bench) -> int:
    limits = bench.worker.limits
    assert limits is not None
    client = limits.find(ONE)
    assert client is not None
    return client.at_once


def pass_tick(bench: Bench) -> None:
    bench.clock.advance(0.25)
    bench.worker.tick()


async def never(_: Ask) -> Reply:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def settled(reader: asyncio.StreamReader) -> bytes:
    """What comes until nothing comes for a while."""
    received = bytearray()
    with contextlib.suppress(TimeoutError):
        while piece := await asyncio.wait_for(reader.read(1 << 20), QUIET_S):
            received += piece
    return bytes(received)


async def settle(client: Client) -> None:
    client.send()
    client.peer.receive(await settled(client.reader))
    client.send()


def test_last_requests_of_connections_are_limited_however_they_are_known(tmp_path: Path) -> None:
    """The first is parsed, the others are learned; each has a connection of its own."""
    head = f"GET {INDEX_TARGET} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n".encode()
    with IdleWorker(tmp_path, config_of({}, client_requests=1)) as worker:
        worker.reader.keep(INDEX_KEY, SMALL)
        statuses = []
        for peer in [ONE] * 12 + [OTHER] * 2:
            with FedConnection(worker, peer) as client:
                client.feed(head)
                statuses.append(parse_answer(client.sent).status)
                assert client.is_closed
        assert statuses == [200] * 10 + [429] * 2 + [200] * 2
