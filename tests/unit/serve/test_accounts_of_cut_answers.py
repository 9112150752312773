"""Answers that end early are counted with what left."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.accounting.uses import Use
from tests.unit.serve.counted import LARGE, column, latencies, reset, served
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    INDEX_KEY,
    INDEX_TARGET,
    read_all,
    running_worker,
)
from tests.unit.serve.flights import CONTENT as GROWING
from tests.unit.serve.flights import HELD, Flight, begin, until
from tests.unit.serve.slow_client import SlowClient

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
