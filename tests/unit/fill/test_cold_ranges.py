"""Ranges of bodies that nobody has, or that are still coming: what upstream is asked, and in which
order; that nothing of two versions is put together; that a fill outlives what goes wrong beside it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.fill.assembly import ALONE_BYTES, SIDES_MAX
from mirror.fill.messages import Ask, Failed, FlightState, Purpose
from mirror.fill.replies import Growing, Inline, PassThrough
from mirror.store.budget import footprint
from tests.unit.fill.cold_ranges import (
    BIG,
    KEY,
    MIB,
    PATH,
    SIZE,
    again,
    publish,
    read,
    readable,
    stored_whole,
    until_readable,
    want,
)
from tests.unit.fill.keeper_world import World
from tests.unit.fill.scripted_pool import Step


def asked(world: World) -> list[str | None]:
    return [request.fields.get("Range") for request in world.releases.requests]


@pytest.mark.parametrize(
    ("start", "end", "first", "rest"),
    [
        pytest.param(-100, -1, "bytes=-100", ["bytes=0-6291355"], id="suffix"),
        pytest.param(SIZE - 100, SIZE, "bytes=6291356-6291455", ["bytes=0-6291355"], id="end"),
        pytest.param(5 * MIB, -1, "bytes=5242880-", ["bytes=0-5242879"], id="open"),
        pytest.param(
            2 * MIB,
            4 * MIB,
            "bytes=2097152-4194303",
            ["bytes=0-2097151", "bytes=4194304-"],
            id="long",
        ),
    ],
)
async def test_a_cold_range_is_asked_for_first_and_every_byte_once(
    tmp_path: Path, start: int, end: int, first: str, rest: list[str]
) -> None:
    async with World(tmp_path) as world:
        resource = publish(world)
        reply = await want(world, start, end)
        assert reply.file.length == SIZE
        await stored_whole(world, reply)
        assert asked(world) == [first, *rest]
        assert world.releases.sent(PATH) == SIZE
        assert "If-Range" not in world.releases.requests[0].fields
        for request in world.releases.requests[1:]:
            assert request.fields["If-Range"] == resource.etag


async def test_a_cold_range_can_be_read_before_anything_else_is_asked_for(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        gate = asyncio.Event()
        publish(world).steps = [Step(), Step(gate=gate)]
        reply = await want(world, -100)
        await until_readable(reply, SIZE - 100, SIZE)
        assert read(reply, SIZE - 100, SIZE) == BIG[-100:]
        assert (reply.file.landed, reply.file.ahead) == (0, ((SIZE - 100, SIZE),))
        assert world.releases.sent(PATH) == 100
        gate.set()
        await stored_whole(world, reply)


async def test_a_short_run_in_the_middle_is_fetched_over(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world)
        await stored_whole(world, await want(world, 2 * MIB, 2 * MIB + 1000))
        assert asked(world) == ["bytes=2097152-2098151", None]
        assert world.releases.sent(PATH) == SIZE + 1000


async def test_a_range_near_the_beginning_comes_in_order(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world)
        await stored_whole(world, await want(world, MIB, MIB + 1000))
        assert asked(world) == [None]


@pytest.mark.parametrize(
    ("step", "requests"),
    [
        pytest.param(Step(ignores_range=True), 1, id="no-ranges"),
        pytest.param(Step(status=416), 2, id="unsatisfiable"),
        pytest.param(Step(fields={"etag": 'W/"weak"'}), 2, id="a-weak-tag"),
        pytest.param(Step(fields={"etag": ""}), 2, id="no-tag"),
        pytest.param(Step(fields={"content-range": "bytes 6291356-6291455/*"}), 2, id="no-length"),
        pytest.param(Step(fields={"content-range": "bytes 1-100/6291456"}), 2, id="another-part"),
    ],
)
async def test_an_upstream_that_cannot_say_what_it_sends_is_asked_for_the_whole(
    tmp_path: Path, step: Step, requests: int
) -> None:
    async with World(tmp_path) as world:
        publish(world).steps = [step]
        await stored_whole(world, await want(world, -100))
        assert asked(world)[:2] == ["bytes=-100", None][:requests]
        assert world.releases.played == [step]


async def test_a_range_of_something_small_costs_the_whole(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, BIG[:5000])
        reply = await world.filler.ask(
            Ask(purpose=Purpose.FETCH, key=KEY, range_start=-10, range_end=-1)
        )
        assert isinstance(reply, Inline)
        assert reply.content == BIG[:5000]
        assert asked(world) == ["bytes=-10", None]


async def test_a_range_that_the_object_lacks_fills_it_all_the_same(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world)
        await stored_whole(world, await want(world, SIZE + 5, SIZE + 10))


async def test_a_cold_range_without_room_passes_through_whole(tmp_path: Path) -> None:
    async with World(tmp_path, budget=MIB) as world:
        publish(world)
        reply = await world.filler.ask(
            Ask(purpose=Purpose.FETCH, key=KEY, range_start=-100, range_end=-1)
        )
        assert isinstance(reply, PassThrough)
        pieces = []
        while piece := await reply.source.read():
            pieces.append(piece)
        assert b"".join(pieces) == BIG
        assert asked(world) == ["bytes=-100", None]
        await world.settled()


async def test_with_wait_everything_comes_in_order(tmp_path: Path) -> None:
    async with World(tmp_path, trust={"unverified_ranges": "wait"}) as world:
        publish(world)
        await stored_whole(world, await want(world, -100))
        assert asked(world) == [None]


# While a fill runs.


async def slow(world: World, at: int, *, more: int = 0) -> tuple[Growing, asyncio.Event]:
    """A whole fill that stops at `at` until the gate is opened."""
    gate = asyncio.Event()
    publish(world).steps = [Step(body_gate=gate, gate_at=at), *(Step() for _ in range(more))]
    reply = await world.ask(KEY)
    assert isinstance(reply, Growing)
    await until_readable(reply, 0, at)
    return reply, gate


async def test_behind_and_just_ahead_of_a_fill_nothing_is_asked_for(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        reply, gate = await slow(world, 2 * MIB)
        assert readable(await want(world, 100, 200), 100, 200)
        near = await want(world, 2 * MIB + 500_000, 2 * MIB + 500_100)
        assert not readable(near, 2 * MIB + 500_000, 2 * MIB + 500_100)
        gate.set()
        await stored_whole(world, reply)
        assert asked(world) == [None]


async def test_far_ahead_of_a_fill_a_range_is_asked_for_by_itself(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        reply, gate = await slow(world, MIB, more=1)
        joined = await want(world, 5 * MIB, 5 * MIB + 1000)
        assert joined.file is reply.file
        assert joined.collapsed
        await until_readable(joined, 5 * MIB, 5 * MIB + 1000)
        assert read(joined, 5 * MIB, 5 * MIB + 1000) == BIG[5 * MIB : 5 * MIB + 1000]
        assert reply.file.landed == MIB  # the fill has not moved
        assert world.releases.requests[1].fields["If-Range"] == world.releases.resources[PATH].etag
        gate.set()
        await stored_whole(world, reply)
        assert asked(world) == [None, "bytes=5242880-5243879"]


async def test_the_rest_of_an_interrupted_download_comes_beside_the_fill(tmp_path: Path) -> None:
    """The transfer in order ends where the other began: its bytes are not fetched again."""
    async with World(tmp_path) as world:
        reply, gate = await slow(world, MIB, more=1)
        await until_readable(await want(world, 3 * MIB), 3 * MIB, SIZE)
        gate.set()
        await stored_whole(world, reply)
        assert asked(world) == [None, "bytes=3145728-6291455"]
        assert world.releases.sent(PATH) <= SIZE + 2 * 65536


async def test_a_long_cold_range_comes_beside_the_rest(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        gate = asyncio.Event()
        publish(world).steps = [Step(body_gate=gate, gate_at=65536), Step()]
        start = SIZE - ALONE_BYTES - 1
        reply = await want(world, start)
        await until_readable(reply, 0, start)  # though the range has not come
        gate.set()
        await stored_whole(world, reply)
        assert asked(world) == [f"bytes={start}-", f"bytes=0-{start - 1}"]
        assert world.releases.sent(PATH) == SIZE


async def test_many_wishes_are_bounded_and_all_come_true(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        gate = asyncio.Event()
        side = asyncio.Event()
        resource = publish(world)
        resource.steps = [Step(body_gate=gate, gate_at=65536)]
        resource.steps += [Step(gate=side) for _ in range(SIDES_MAX)]
        reply = await world.ask(KEY)
        assert isinstance(reply, Growing)
        starts = [2 * MIB + number * 300_000 for number in range(12)]
        for start in starts:
            await want(world, start, start + 1000)
        async with asyncio.timeout(10):
            while len(world.releases.requests) < 1 + SIDES_MAX:
                await asyncio.sleep(0.001)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(world.releases.requests) == 1 + SIDES_MAX
        side.set()
        for start in starts:
            await until_readable(reply, start, start + 1000)
        assert reply.file.landed <= 65536
        gate.set()
        await stored_whole(world, reply)


async def test_without_a_free_place_a_range_comes_in_order(tmp_path: Path) -> None:
    async with World(tmp_path, max_connections=1) as world:
        reply, gate = await slow(world, MIB)
        await want(world, 5 * MIB, 5 * MIB + 1000)
        for _ in range(50):
            await asyncio.sleep(0)
        gate.set()
        await stored_whole(world, reply)
        assert asked(world) == [None]


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(Step(ignores_range=True), id="no-ranges"),
        pytest.param(Step(status=404), id="gone"),
        pytest.param(Step(fields={"etag": '"another"'}), id="a-part-of-another"),
        pytest.param(Step(cut_at=0), id="dies-before-the-first-byte"),
        pytest.param(Step(cut_at=500), id="dies-in-the-middle"),
        pytest.param(Step(error="reset"), id="no-answer"),
    ],
)
async def test_a_range_that_fails_beside_a_fill_comes_in_order(tmp_path: Path, step: Step) -> None:
    async with World(tmp_path) as world:
        reply, gate = await slow(world, MIB)
        world.releases.resources[PATH].steps = [
            again(step) for _ in range(world.config.upstream.attempts)
        ]
        await want(world, 5 * MIB, 5 * MIB + 1000)
        async with asyncio.timeout(10):
            while len(world.releases.played) < 2:
                await asyncio.sleep(0.001)
        gate.set()
        await stored_whole(world, reply)


async def test_an_upstream_without_ranges_is_asked_for_one_beside_a_fill_once(
    tmp_path: Path,
) -> None:
    """Each such answer is the whole body, begun and cut off."""
    async with World(tmp_path) as world:
        reply, gate = await slow(world, MIB)
        resource = world.releases.resources[PATH]
        resource.steps = [Step(ignores_range=True) for _ in range(4)]
        await want(world, 5 * MIB, 5 * MIB + 10)
        async with asyncio.timeout(10):
            while not world.log.named("range-not-fetched"):
                await asyncio.sleep(0.001)
        for start in (3 * MIB, 4 * MIB):
            await want(world, start, start + 10)
        gate.set()
        await stored_whole(world, reply)
        assert len(world.releases.played) == 2  # the fill, and one range


async def test_a_first_range_that_dies_is_resumed_and_the_clients_notice_nothing(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        publish(world).steps = [Step(cut_at=400_000)]
        reply = await want(world, 5 * MIB)
        await until_readable(reply, 5 * MIB, SIZE)
        await stored_whole(world, reply)
        assert len(world.releases.played) == 1
        assert asked(world) == ["bytes=5242880-", "bytes=5642880-6291455", "bytes=0-5242879"]
        assert world.releases.sent(PATH) == SIZE


# Stops and restarts.


async def test_a_restart_keeps_the_prefix_and_asks_for_the_rest(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        gate = asyncio.Event()
        publish(world).steps = [Step(), Step(body_gate=gate, gate_at=2 * MIB)]
        reply = await want(world, -100)
        await until_readable(reply, 0, 2 * MIB)
        await world.restart()
        assert reply.file.state is FlightState.FAILED
        world.releases.requests.clear()
        again = await want(world, -100)
        await stored_whole(world, again)
        assert asked(world)[0] == f"bytes={2 * MIB}-"
        assert sum(request.sent for request in world.releases.requests) <= SIZE - 2 * MIB + 100


@pytest.mark.parametrize("turns", range(0, 48, 4))
async def test_stopping_at_any_moment_of_a_cold_range_leaks_nothing(
    tmp_path: Path, turns: int
) -> None:
    async with World(tmp_path) as world:
        publish(world)
        asking = asyncio.create_task(world.filler.ask(
            Ask(purpose=Purpose.FETCH, key=KEY, range_start=-100, range_end=-1)
        ))  # fmt: skip
        for _ in range(turns):
            await asyncio.sleep(0)
        await world.filler.aclose()
        assert isinstance(await asking, Failed | Growing)
        assert world.releases.open == 0
        world.start()
        await stored_whole(world, await want(world, -100))


@settings(max_examples=12, deadline=None)
@given(
    wishes=st.lists(
        st.tuples(st.integers(-SIZE, SIZE), st.integers(1, 2 * MIB), st.integers(0, 30)),
        min_size=1,
        max_size=6,
    ),
    cuts=st.lists(st.integers(0, SIZE), max_size=3),
)
async def test_whatever_is_wished_for_whatever_breaks_the_bytes_are_right(
    tmp_path_factory: pytest.TempPathFactory,
    wishes: list[tuple[int, int, int]],
    cuts: list[int],
) -> None:
    async with World(tmp_path_factory.mktemp("world")) as world:
        publish(world).steps = [Step(cut_at=cut) for cut in cuts]
        for start, size, turns in wishes:
            end = -1 if start < 0 else start + size
            reply = await world.filler.ask(
                Ask(purpose=Purpose.FETCH, key=KEY, range_start=start, range_end=end)
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            if isinstance(reply, Growing):
                for run in ((0, reply.file.landed), *reply.file.ahead):
                    if not reply.file.is_over:
                        assert read(reply, *run) == BIG[slice(*run)]
        await world.settled()
        assert world.stored_content(KEY) == BIG
        assert world.partials() == []
        assert world.store.used_bytes == footprint(SIZE)
