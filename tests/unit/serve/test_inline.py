"""Verified content in memory: one object, in windows, and only until it is stored."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from mirror.fill.bodies import InlineBody
from mirror.serve.segment_exchange import HELD_S
from mirror.serve.sender import REMAINDER_BYTES
from tests.unit.serve.fakes import (
    INDEX_KEY,
    INDEX_TARGET,
    Bench,
    make_entry,
    parse_answer,
    running_worker,
)
from tests.unit.serve.slow_client import SlowClient

CONTENT = os.urandom(1_000_003)
GET = f"GET {INDEX_TARGET} HTTP/1.1"


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def looks(bench: Bench, count: int) -> None:
    """Wait until the index was looked at `count` times more."""
    wanted = bench.reader.lookups + count
    async with asyncio.timeout(10 * HELD_S):
        while bench.reader.lookups < wanted:
            await asyncio.sleep(0.01)


async def test_slow_reader_of_inline_content_makes_the_transport_hold_a_window(
    tmp_path: Path,
) -> None:
    async with running_worker(tmp_path) as bench:
        bench.keeper.answer_inline(INDEX_KEY, CONTENT, "fwd=uri-miss; stored")
        client = SlowClient(bench)
        client.ask(GET)
        await turns()
        assert client.held_bytes > 0
        answer = await client.answer()
        assert (answer.status, answer.content) == (200, CONTENT)
        assert client.most_held_bytes <= REMAINDER_BYTES
        client.leave()


async def test_connection_goes_on_after_large_inline_content(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.keeper.answer_inline(INDEX_KEY, CONTENT, "fwd=uri-miss; stored")
        part = f"{GET}\r\nHost: m\r\nRange: bytes=10-900009\r\n\r\n"
        received = await bench.exchange(f"{part}GET /livez HTTP/1.1\r\nHost: m\r\n\r\n".encode())
        answer = parse_answer(received)
        assert (answer.status, answer.content) == (206, CONTENT[10:900_010])
        assert parse_answer(answer.rest).content == b"live\n"


async def test_inline_content_is_let_go_once_it_is_stored(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        body = InlineBody(entry=make_entry(INDEX_KEY, CONTENT), outcome="hit", content=CONTENT)
        bench.keeper.answer(body)
        unused = sys.getrefcount(CONTENT)
        clients = [SlowClient(bench) for _ in range(3)]
        for client in clients:
            client.ask(GET)
        async with asyncio.timeout(5):
            while sys.getrefcount(CONTENT) < unused + len(clients):
                await turns()
        await looks(bench, len(clients))
        assert sys.getrefcount(CONTENT) == unused + len(clients)  # not stored yet
        bench.reader.keep(INDEX_KEY, CONTENT)
        async with asyncio.timeout(10 * HELD_S):
            while sys.getrefcount(CONTENT) > unused:
                await asyncio.sleep(0.01)
        for client in clients:
            answer = await client.answer()
            assert answer.content == CONTENT
            client.leave()


async def test_other_stored_content_never_replaces_the_inline_one(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.keeper.answer_inline(INDEX_KEY, CONTENT, "hit")
        client = SlowClient(bench)
        client.ask(GET)
        await turns()
        bench.reader.keep(INDEX_KEY, CONTENT[::-1])
        await looks(bench, 1)
        assert (await client.answer()).content == CONTENT
        client.leave()


async def test_client_that_leaves_lets_inline_content_go(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        body = InlineBody(entry=make_entry(INDEX_KEY, CONTENT), outcome="hit", content=CONTENT)
        bench.keeper.answer(body)
        unused = sys.getrefcount(CONTENT)
        client = SlowClient(bench)
        client.ask(GET)
        await turns()
        assert sys.getrefcount(CONTENT) == unused + 1
        client.leave()
        await turns()
        assert sys.getrefcount(CONTENT) == unused
