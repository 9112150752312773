"""A request that needs the keeper is cancelled at its k-th await, for every k: nothing is left."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mirror.fill.bodies import Reply
from mirror.fill.messages import Ask, FlightState
from tests.counting_awaits import AwaitCounter
from tests.unit.serve.fakes import (
    CRATE_TARGET,
    Bench,
    running_worker,
)
from tests.unit.serve.flights import CONTENT, Flight
from tests.unit.serve.slow_client import SlowClient
from tests.unit.serve.test_pass_through import Passing
from tests.unit.serve.test_rejoining import UNSTORED

MISS = "Miss._run"
MANY = 500  # more awaits than any of these has


class Played:
    """One body as the keeper brings it, in steps; `bodies` is how many were handed out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.flight = Flight(path)
        self.passing: list[Passing] = []

    async def answer(self, ask: Ask) -> Reply:
        await asyncio.sleep(0)
        if self.flight._state is FlightState.FAILED or self.passing:
            self.passing.append(Passing(len(CONTENT)))
            return self.passing[-1].body
        return await self.flight.answer(ask)

    @property
    def held(self) -> int:
        """Bodies that were handed out and not given back."""
        open_bodies = len(self.flight.bodies) - self.flight.released
        return open_bodies + sum(
            not each.released and not each.body._is_complete for each in self.passing
        )


async def grows(played: Played) -> None:
    for upto in (100_000, 200_000, 290_000):
        played.flight.land(upto)
        await turns()
    played.flight.verify()


async def passes(played: Played) -> None:
    for at in range(0, len(CONTENT), 60_000):
        for each in played.passing:
            each.body.feed(CONTENT[at : at + 60_000])
        await turns()
    for each in played.passing:
        each.body.finish(None)


async def loses_its_disk(played: Played) -> None:
    played.flight.land(200_000)
    await turns()
    os.unlink(played.path / "flight")
    played.flight._state = FlightState.FAILED
    played.flight._move(UNSTORED)
    for _ in range(5):
        await turns()
    await passes(played)


async def turns() -> None:
    for _ in range(6):
        await asyncio.sleep(0)
    await asyncio.sleep(0.001)  # the kernel hands bytes over


Plot = Callable[[Played], Awaitable[None]]


async def _one(
    bench: Bench, path: Path, plot: Plot, lines: tuple[str, ...], counter: AwaitCounter
) -> Played:
    """Ask, let the plot happen, and read to the end, or leave at the await that is counted out."""
    path.mkdir()
    played = Played(path)
    if plot is passes:
        played.passing.append(Passing(0))
        played.passing[0].body.finish(None)
    bench.keeper.script = played.answer
    client = SlowClient(bench)
    counter.on_fired = client.leave
    client.ask(f"GET {CRATE_TARGET} HTTP/1.1", *lines)
    reading = asyncio.create_task(client.answer())
    await turns()
    await plot(played)
    while not (counter.fired or reading.done()):
        await asyncio.sleep(0)
    if counter.fired:
        reading.cancel()
        await asyncio.wait([reading])
    else:
        answer = await reading
        assert answer.is_complete
        assert answer.content in (CONTENT, CONTENT[150_000:260_000])
        client.leave()
    return played


@pytest.mark.full
@pytest.mark.parametrize(
    ("plot", "lines"),
    [
        pytest.param(grows, (), id="a-growing-body"),
        pytest.param(grows, ("Range: bytes=150000-259999",), id="a-part-of-one"),
        pytest.param(passes, (), id="a-body-that-passes-through"),
        pytest.param(loses_its_disk, (), id="a-body-that-loses-its-disk"),
    ],
)
async def test_a_request_cancelled_at_any_await_leaves_nothing(
    tmp_path: Path, plot: Plot, lines: tuple[str, ...]
) -> None:
    counter = AwaitCounter(MISS)
    fired = 0
    async with running_worker(tmp_path) as bench:
        tasks = asyncio.all_tasks()
        with counter.counting():
            for k in range(1, MANY):
                counter.arm(k)
                played = await _one(bench, tmp_path / str(k), plot, lines, counter)
                has_fired, awaits = counter.fired, counter.suspensions
                fired += has_fired
                counter.arm(0)
                await _until_over(bench, tasks, f"await {k}")
                assert played.held == 0, f"a body is held after await {k}"
                if not has_fired:
                    break
        print(f"{plot.__name__}: cancelled at each of {fired} awaits")
        assert not has_fired, "not every await was reached"
        assert fired == awaits
        assert fired >= 4
        assert "request-failed" not in bench.log.names()
        bench.keeper.answer_inline("crates:/crates/serde/serde-1.0.0.crate", CONTENT, "hit")
        assert (await bench.get(CRATE_TARGET)).content == CONTENT


async def _until_over(bench: Bench, tasks: set[asyncio.Task[object]], what: str) -> None:
    try:
        async with asyncio.timeout(5):
            while asyncio.all_tasks() != tasks or "0 connections" not in repr(bench.worker):
                await asyncio.sleep(0.001)
    except TimeoutError:
        left = asyncio.all_tasks() - tasks
        raise AssertionError(f"left after {what}: {left}, {bench.worker!r}") from None
