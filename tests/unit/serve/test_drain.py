"""A worker that ends: nobody who was promised an answer is cut off before it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.fill.messages import Ask, Failed
from mirror.serve.connection import DRAIN_GRACE_S
from tests.unit.serve.fakes import (
    INDEX_KEY,
    config_with,
    parse_answer,
    read_all,
    running_worker,
)
from tests.unit.serve.test_connection import (
    PLAIN,
    keep_both,
    statuses,
)


async def test_drain_closes_idle_and_ends_busy_connections(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        go_on = asyncio.Event()

        async def script(_: Ask) -> Failed:
            await go_on.wait()
            return Failed(status=404, reason="no")

        bench.keeper.script = script
        idle_reader, idle = await asyncio.open_connection("127.0.0.1", bench.port)
        idle.write(PLAIN)
        assert statuses(await read_all(idle_reader, 0.1)) == [200]
        busy_reader, busy = await asyncio.open_connection("127.0.0.1", bench.port)
        busy.write(b"GET /index/to/ki/tokio HTTP/1.1\r\nHost: m\r\n\r\n" + PLAIN)
        while not bench.keeper.asked:
            await asyncio.sleep(0.001)
        bench.stop.set()
        assert await asyncio.wait_for(idle_reader.read(), 2) == b""
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", bench.port)
        assert not bench.running.done()
        go_on.set()
        received = await asyncio.wait_for(busy_reader.read(), 2)
        assert parse_answer(received).fields["connection"] == "close"
        assert statuses(received) == [404]
        await asyncio.wait_for(asyncio.wait([bench.running]), 2)
        idle.close()
        busy.close()


async def test_request_on_a_connection_accepted_before_the_drain_is_answered(
    tmp_path: Path,
) -> None:
    """The bytes may lie in the socket while the worker is told to stop."""
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        half = len(PLAIN) // 2
        late_reader, late = await asyncio.open_connection("127.0.0.1", bench.port)
        late.write(PLAIN[:half])
        bench.stop.set()
        while "draining" not in repr(bench.worker):
            await asyncio.sleep(0.001)
        writer.write(PLAIN)
        late.write(PLAIN[half:])
        for answered in (reader, late_reader):
            received = await asyncio.wait_for(answered.read(), 2)
            assert statuses(received) == [200]
            assert parse_answer(received).fields["connection"] == "close"
        writer.close()
        late.close()


async def test_connection_that_never_asks_does_not_hold_up_a_drain(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        while " 1 connections" not in repr(bench.worker):  # accepted a turn after it connects
            await asyncio.sleep(0.001)
        bench.stop.set()
        while "draining" not in repr(bench.worker):
            await asyncio.sleep(0.001)
        bench.clock.advance(DRAIN_GRACE_S + 0.1)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        await asyncio.wait_for(asyncio.wait([bench.running]), 5)
        writer.close()


async def test_paused_connection_closes_after_its_answer_when_draining(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(INDEX_KEY, b"x" * 60_000)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port, limit=1)
        writer.write(PLAIN * 400)
        await asyncio.sleep(0.3)
        bench.worker.accounts.settle()
        assert 0 < len(bench.keeper.used_keys) < 400
        bench.stop.set()
        await asyncio.sleep(0.05)
        received = b""
        while piece := await reader.read(1 << 20):
            received += piece
        writer.close()
        assert set(statuses(received)) == {200}
        await asyncio.wait_for(asyncio.wait([bench.running]), 2)


async def test_drain_cuts_what_does_not_end(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(drain_timeout=0.1)) as bench:

        async def script(_: Ask) -> Failed:
            await asyncio.Event().wait()
            raise AssertionError

        bench.keeper.script = script
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(PLAIN)
        while not bench.keeper.asked:
            await asyncio.sleep(0.001)
        bench.stop.set()
        assert await read_all(reader, 2) == b""
        await asyncio.wait_for(asyncio.wait([bench.running]), 2)
        writer.close()
