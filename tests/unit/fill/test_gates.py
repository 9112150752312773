"""The gate of one upstream: places, lanes, and what never waits behind what."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import msgspec
import pytest

from mirror.accounting.layout import TOTALS
from mirror.config import Config, Duration, Limits, Upstream
from mirror.errors import ErrorType, UpstreamError
from mirror.fill.gates import WAITING_PER_PLACE, Gate, Lane, gate_of
from mirror.route.route import UpstreamName

SMALL, BODY, PASSING = Lane.SMALL, Lane.BODY, Lane.PASSING


def made(upstream: UpstreamName, *, connections: int, fills: int = 4096) -> Gate:
    settings = msgspec.structs.replace(Upstream(), max_connections=connections, max_fills=fills)
    return gate_of(upstream, Config(upstream=settings))


async def taken(gate: Gate, lane: Lane, held: AsyncExitStack) -> int:
    """Take places of the lane until the next one would wait; return how many."""
    count = 0
    while not gate.is_full(lane):
        await held.enter_async_context(gate.slot("k", lane))
        count += 1
    return count


@pytest.mark.parametrize("upstream", UpstreamName)
@pytest.mark.parametrize("connections", [2, 3, 4, 7, 32, 1024])
async def test_all_places_together_are_no_more_than_the_connections(
    upstream: UpstreamName, connections: int
) -> None:
    gate = made(upstream, connections=connections)
    async with AsyncExitStack() as held:
        bodies = await taken(gate, BODY, held)
        small = await taken(gate, SMALL, held)
        passing = await taken(gate, PASSING, held)
        assert bodies >= 1
        assert bodies + small + passing == connections


@pytest.mark.parametrize("upstream", UpstreamName)
async def test_with_one_connection_there_is_one_place(upstream: UpstreamName) -> None:
    gate = made(upstream, connections=1)
    async with AsyncExitStack() as held:
        assert await taken(gate, PASSING, held) == 1
        assert gate.is_full(SMALL)
        assert gate.is_full(BODY)


async def test_max_fills_bounds_the_fills_of_an_upstream() -> None:
    gate = made(UpstreamName.RELEASES, connections=32, fills=8)
    async with AsyncExitStack() as held:
        assert await taken(gate, BODY, held) == 6
        assert await taken(gate, SMALL, held) == 2


async def test_small_objects_do_not_wait_behind_bodies() -> None:
    gate = made(UpstreamName.RELEASES, connections=32)
    async with AsyncExitStack() as held:
        await taken(gate, BODY, held)
        waiting = [asyncio.create_task(hold(gate, BODY)) for _ in range(100)]
        await asyncio.sleep(0)
        assert gate.waiting == 100
        async with asyncio.timeout(1), gate.slot("k", SMALL):
            pass
        await cancelled(waiting)


async def test_bodies_that_pass_through_take_no_place_of_a_fill() -> None:
    gate = made(UpstreamName.CRATES, connections=32)
    async with AsyncExitStack() as held:
        assert await taken(gate, PASSING, held) == 8
        assert await taken(gate, BODY, held) == 24


@pytest.mark.parametrize("upstream", [UpstreamName.RELEASES, UpstreamName.CRATES])
async def test_ranges_beside_bodies_take_a_quarter_of_their_places_and_no_other(
    upstream: UpstreamName,
) -> None:
    gate = made(upstream, connections=32)
    async with AsyncExitStack() as held:
        sides = await taken(gate, Lane.SIDE, held)
        bodies = await taken(gate, BODY, held)
        assert sides * 4 <= sides + bodies < sides * 5
    async with AsyncExitStack() as held:
        await taken(gate, BODY, held)
        assert await taken(gate, Lane.SIDE, held) == 0


async def hold(gate: Gate, lane: Lane = SMALL) -> None:
    async with gate.slot("k", lane):
        await asyncio.Event().wait()


async def cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("lane", Lane)
async def test_a_place_is_given_back_after_an_error_and_after_a_cancellation(lane: Lane) -> None:
    gate = Gate(fills=1, bodies=1, passing=1)
    with pytest.raises(RuntimeError):
        async with gate.slot("k", lane):
            raise RuntimeError
    holder = asyncio.create_task(hold(gate, lane))
    await asyncio.sleep(0)
    waiter = asyncio.create_task(hold(gate, lane))
    await asyncio.sleep(0)
    assert gate.waiting == 1
    assert repr(gate) == "<Gate 1 waiting>"
    await cancelled([waiter, holder])
    async with asyncio.timeout(1), gate.slot("k", lane):
        assert gate.waiting == 0


async def test_a_body_cancelled_in_the_second_queue_gives_its_first_place_back() -> None:
    gate = Gate(fills=2, bodies=1, passing=1)
    async with gate.slot("k", SMALL), gate.slot("k", SMALL):
        waiter = asyncio.create_task(hold(gate, BODY))
        await asyncio.sleep(0)
        assert gate.waiting == 1
        await cancelled([waiter])
    async with asyncio.timeout(1), gate.slot("k", BODY):
        assert gate.waiting == 0


async def test_the_queue_is_bounded() -> None:
    gate = Gate(fills=1, bodies=1, passing=1)
    tasks = [asyncio.create_task(hold(gate)) for _ in range(1 + WAITING_PER_PLACE)]
    await asyncio.sleep(0)
    with pytest.raises(UpstreamError, match="too many"):
        async with gate.slot("k", SMALL):
            pass
    await cancelled(tasks)


class Tally:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, name: str, count: int = 1) -> None:
        assert name in TOTALS
        self.counts[name] += count


@pytest.mark.parametrize("lane", Lane)
async def test_who_waits_too_long_for_a_place_is_refused_and_leaves_nothing(lane: Lane) -> None:
    tally = Tally()
    gate = Gate(fills=1, bodies=1, passing=1, wait_s=0.02, tally=tally)
    async with gate.slot("k", lane):
        with pytest.raises(UpstreamError, match="no place became free in time") as caught:
            async with gate.slot("k", lane):
                pass
        assert (caught.value.status, caught.value.retry_after_s > 0) == (503, True)
        assert caught.value.error_type is ErrorType.CONNECTION_LIMIT_REACHED
        assert gate.waiting == 0
    async with asyncio.timeout(1), gate.slot("k", lane):
        assert tally.counts == {"upstream_waits": 1, "upstream_waits_refused": 1}


async def test_the_wait_is_the_configured_one() -> None:
    limits = Limits(queue_wait=Duration(0.01))
    gate = gate_of(UpstreamName.INDEX, Config(upstream=Upstream(max_fills=1), limits=limits))
    async with gate.slot("k", SMALL):
        with pytest.raises(UpstreamError, match="in time"):
            async with asyncio.timeout(10), gate.slot("k", SMALL):
                pass
