"""Verified content in memory: one object, in windows, and only until it is stored."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from mirror.fill.bodies import InlineBody
from mirror.serve.segment_exchange import HELD_S
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


async def until(claim: Callable[[], bool]) -> None:
    """Poll `claim`: a connection is accepted and answered in turns of the loop that vary."""
    async with asyncio.timeout(10):
        while not claim():
            await asyncio.sleep(0.001)


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
        await until(lambda: client.is_waited_for)
        answer = await client.answer()
        assert (answer.status, answer.content) == (200, CONTENT)
        assert client.most_held_bytes == 0
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
    content = os.urandom(1_000_003)  # nobody but this test refers to it
    async with running_worker(tmp_path) as bench:
        body = InlineBody(entry=make_entry(INDEX_KEY, content), outcome="hit", content=content)
        bench.keeper.answer(body)
        unused = sys.getrefcount(content)
        clients = [SlowClient(bench) for _ in range(3)]
        for client in clients:
            client.ask(GET)
        await until(lambda: sys.getrefcount(content) == unused + len(clients))
        await looks(bench, len(clients))
        assert sys.getrefcount(content) == unused + len(clients)  # not stored yet
        bench.reader.keep(INDEX_KEY, content)
        async with asyncio.timeout(10 * HELD_S):
            while sys.getrefcount(content) > unused:
                await asyncio.sleep(0.01)
        for client in clients:
            answer = await client.answer()
            assert answer.content == content
            client.leave()


async def test_other_stored_content_never_replaces_the_inline_one(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.keeper.answer_inline(INDEX_KEY, CONTENT, "hit")
        client = SlowClient(bench)
        client.ask(GET)
        await until(lambda: client.is_waited_for)
        bench.reader.keep(INDEX_KEY, CONTENT[::-1])
        await looks(bench, 1)
        assert (await client.answer()).content == CONTENT
        client.leave()


async def test_client_that_leaves_lets_inline_content_go(tmp_path: Path) -> None:
    content = os.urandom(1_000_003)  # nobody but this test refers to it
    async with running_worker(tmp_path) as bench:
        body = InlineBody(entry=make_entry(INDEX_KEY, content), outcome="hit", content=content)
        bench.keeper.answer(body)
        unused = sys.getrefcount(content)
        client = SlowClient(bench)
        client.ask(GET)
        await until(lambda: sys.getrefcount(content) == unused + 1)
        client.leave()
        await until(lambda: sys.getrefcount(content) == unused)
