"""A client that leaves at any await: its body is released, nothing is logged, no task is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mirror.config import Config, Trust
from mirror.fill.bodies import InlineBody, Reply
from mirror.fill.messages import Ask
from mirror.serve.held import HELD_BYTES, HELD_TOTAL_BYTES, HeldBytes, Hold
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    Bench,
    make_entry,
    running_worker,
)
from tests.unit.serve.flights import CONTENT, LENGTHS, Flight
from tests.unit.serve.slow_client import SlowClient
from tests.unit.serve.test_pass_through import Passing

GET = f"GET {CRATE_TARGET} HTTP/1.1"
GET10 = f"GET {CRATE_TARGET} HTTP/1.0"


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def leaving(bench: Bench, line: str, *lines: str) -> AsyncIterator[SlowClient]:
    """A client that asks, and leaves at the end of the block."""
    tasks = asyncio.all_tasks()
    events = list(bench.log.events)
    client = SlowClient(bench)
    client.ask(line, *lines)
    await turns()
    assert asyncio.all_tasks() > tasks, "nothing was under way"
    yield client
    assert asyncio.all_tasks() > tasks, "it was over before the client left"
    client.leave()
    await turns()
    assert asyncio.all_tasks() == tasks
    assert bench.log.events == events
    assert "0 connections" in repr(bench.worker)


async def test_client_leaves_while_the_keeper_is_asked(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        cancelled = 0
        passing_nothing = Passing(0).body

        async def script(_: Ask) -> Reply:
            nonlocal cancelled
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled += 1
                raise
            return passing_nothing

        bench.keeper.script = script
        async with leaving(bench, GET):
            pass
        assert cancelled == 1


async def test_client_leaves_while_it_follows_another_ask(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        may_answer = asyncio.Event()

        async def script(_: Ask) -> Reply:
            await may_answer.wait()
            return await passing_reply()

        async def passing_reply() -> Reply:
            passing.body.feed(CONTENT)
            passing.body.finish(None)
            return passing.body

        passing = Passing(len(CONTENT))
        bench.keeper.script = script
        leader = asyncio.create_task(bench.get(CRATE_TARGET))
        while not bench.keeper.asked:
            await asyncio.sleep(0)
        client = SlowClient(bench)
        client.ask(GET)
        await turns()
        client.leave()
        may_answer.set()
        assert (await leader).content == CONTENT
        assert len(bench.keeper.asked) == 1
        assert "request-failed" not in bench.log.names()


def landed(flight: Flight) -> None:
    flight.land(100_000)


def untouched(_: Flight) -> None:
    """Nothing has come yet."""


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(
    ("line", "progress"),
    [
        pytest.param(GET, untouched, id="waiting-for-content"),
        pytest.param(GET, landed, id="sending-what-landed"),
        pytest.param(GET10, landed, id="waiting-for-the-digest"),
        pytest.param(GET10, Flight.verify, id="sending-what-is-verified"),
    ],
)
async def test_client_leaves_while_it_follows(
    tmp_path: Path, length: int, line: str, progress: Callable[[Flight], None]
) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path, length=length)
        bench.keeper.script = flight.answer
        async with leaving(bench, line) as client:
            progress(flight)
            await turns()
            assert client.most_held_bytes == 0
        assert flight.released == 1


async def test_client_leaves_while_its_range_waits_for_the_digest(tmp_path: Path) -> None:
    config = Config(trust=Trust(unverified_ranges="wait"))
    async with running_worker(tmp_path, config) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        async with leaving(bench, GET, "Range: bytes=0-9"):
            landed(flight)
            await turns()
        assert flight.released == 1


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(
    ("line", "pieces", "is_complete"),
    [
        pytest.param(GET, 0, False, id="waiting-for-content"),
        pytest.param(GET, 3, False, id="waiting-for-the-client"),
        pytest.param(GET10, 0, False, id="http10-waiting-for-content"),
        pytest.param(GET10, 3, False, id="http10-waiting-for-the-rest"),
        pytest.param(GET10, 3, True, id="http10-waiting-for-the-client"),
    ],
)
async def test_client_leaves_while_content_passes_through(
    tmp_path: Path, length: int, line: str, pieces: int, is_complete: bool
) -> None:
    async with running_worker(tmp_path) as bench:
        passing = Passing(length)
        bench.keeper.answer(passing.body)
        async with leaving(bench, line):
            for _ in range(pieces):
                passing.body.feed(CONTENT[:100_000])
            if is_complete:
                passing.body.finish(None)
            await turns()
        assert passing.released == (not is_complete)


async def test_held_content_leaves_in_windows(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        passing = Passing(len(CONTENT))
        passing.body.feed(CONTENT)
        passing.body.finish(None)
        bench.keeper.answer(passing.body)
        client = SlowClient(bench)
        client.ask(GET10)
        assert (await client.answer()).content == CONTENT
        assert client.most_held_bytes == 0
        client.leave()


async def test_all_http10_clients_together_hold_no_more_than_the_bound(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        piece = bytes(HELD_BYTES)
        clients = []
        for _ in range(HELD_TOTAL_BYTES // HELD_BYTES + 1):
            passing = Passing(-1)
            passing.body.feed(piece)
            bench.keeper.answer(passing.body)
            clients.append(SlowClient(bench))
            clients[-1].ask(GET10)
            await turns()
        answer = await clients[-1].answer()
        assert (answer.status, answer.fields["retry-after"]) == (503, "60")
        assert answer.fields["proxy-status"].endswith('details="too-much-held"')
        for client in clients:
            client.leave()
        await turns()
        passing = Passing(-1)
        passing.body.feed(CONTENT)
        passing.body.finish(None)
        bench.keeper.answer(passing.body)
        again = SlowClient(bench)
        again.ask(GET10)
        assert (await again.answer()).content == CONTENT
        again.leave()


def test_one_client_holds_no_more_than_its_bound() -> None:
    total = HeldBytes(HELD_TOTAL_BYTES)
    hold = Hold(total)
    assert hold.add(bytes(HELD_BYTES))
    assert not hold.add(b"x")
    assert repr(total) == f"<HeldBytes {HELD_BYTES}/{HELD_TOTAL_BYTES}>"
    hold.release()
    hold.release()
    assert total.used_bytes == 0


async def test_inline_content_after_a_keeper_restart_leaves_in_windows(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        client = SlowClient(bench)
        client.ask(GET)
        await turns()
        body = flight.bodies[0]
        entry = make_entry(CRATE_KEY, CONTENT)
        assert body.resume(InlineBody(entry=entry, outcome="hit", content=CONTENT))
        assert (await client.answer()).content == CONTENT
        assert client.most_held_bytes == 0
        client.leave()
