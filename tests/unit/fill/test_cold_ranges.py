"""Ranges of bodies that nobody has, or that are still coming: what upstream is asked, and in which
order; that nothing of two versions is put together; that a fill outlives what goes wrong beside it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.config import ByteSize
from mirror.fill.assembly import ALONE_BYTES, SIDES_MAX
from mirror.fill.messages import Ask, Failed, FlightState, Purpose
from mirror.fill.replies import Growing, Inline, PassThrough, Reply
from mirror.store.budget import footprint
from mirror.store.extents import Extents
from tests.unit.fill.keeper_world import World, ended, noise, sha256
from tests.unit.fill.scripted_pool import Resource, Step

KEY = "releases:/dist/2026-01-01/rustc-1.95.0-x86_64-unknown-linux-gnu.tar.xz"
PATH = KEY.partition(":")[2]
MIB = 1 << 20
BIG = noise(6 * MIB)
SIZE = len(BIG)


def publish(world: World, content: bytes = BIG, **more: object) -> Resource:
    world.vouch(PATH, sha256(content))
    return world.releases.put(PATH, content, **more)  # type: ignore[arg-type] # etag is a str


async def want(world: World, start: int, end: int = -1, *, is_conditional: bool = False) -> Growing:
    reply: Reply = await world.filler.ask(
        Ask(
            purpose=Purpose.FETCH,
            key=KEY,
            range_start=start,
            range_end=end,
            is_conditional=is_conditional,
        )
    )
    assert isinstance(reply, Growing), reply
    return reply


def readable(reply: Growing, start: int, end: int) -> bool:
    file = reply.file
    return Extents(((0, file.landed), *file.ahead)).end_at(start) >= end


def read(reply: Growing, start: int, end: int) -> bytes:
    return Path(reply.file.path).read_bytes()[start:end]


async def until_readable(reply: Growing, start: int, end: int) -> None:
    async with asyncio.timeout(10):
        while not readable(reply, start, end):
            await asyncio.sleep(0.001)


def asked(world: World) -> list[str | None]:
    return [request.fields.get("Range") for request in world.releases.requests]


async def stored_whole(world: World, reply: Growing) -> None:
    await ended(reply)
    await world.settled()
    assert reply.file.state is FlightState.VERIFIED
    assert world.stored_content(KEY) == BIG
    assert world.partials() == []


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


def again(step: Step) -> Step:
    return Step(
        status=step.status,
        error=step.error,
        cut_at=step.cut_at,
        fields=step.fields,
        ignores_range=step.ignores_range,
    )


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


# Never two versions in one.


async def test_another_version_behind_the_first_range_is_given_up_and_asked_for_anew(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        gate = asyncio.Event()
        other = noise(SIZE, seed=2)
        resource = publish(world)
        resource.steps = [Step(), Step(gate=gate)]
        reply = await want(world, -100)
        await until_readable(reply, SIZE - 100, SIZE)
        resource.content, resource.etag = other, '"another"'
        gate.set()
        await ended(reply)
        failure = reply.file.failure
        assert failure is not None
        assert (failure.status, failure.is_changed) == (503, True)
        await world.settled()
        assert read_if_there(reply) == b""  # nothing of it is kept
        assert world.log.named("upstream-changed")
        world.vouch(PATH, sha256(other))
        again = await ended(await world.ask(KEY))  # at once: nothing is held off
        await world.settled()
        assert again.file.state is FlightState.VERIFIED
        assert world.stored_content(KEY) == other


def read_if_there(reply: Growing) -> bytes:
    path = Path(reply.file.path)
    return path.read_bytes() if path.exists() else b""


@pytest.mark.parametrize("etag", ["", 'W/"weak"', '"strong"'])
async def test_another_version_behind_a_break_is_never_joined_to_the_first(
    tmp_path: Path, etag: str
) -> None:
    async with World(tmp_path) as world:
        resource = publish(world, etag=etag)
        gate = asyncio.Event()
        resource.steps = [Step(cut_at=2 * MIB), Step(gate=gate)]
        reply = await world.ask(KEY)
        assert isinstance(reply, Growing)
        await until_readable(reply, 0, 2 * MIB)
        resource.content = noise(SIZE, seed=2)
        resource.etag = etag.replace("strong", "another")
        gate.set()
        await ended(reply)
        assert len(world.releases.played) == 2
        assert reply.file.failure is not None
        assert reply.file.failure.is_changed
        assert reply.file.landed == 2 * MIB  # not a byte of the other version
        await world.settled()


async def test_the_same_bytes_under_another_tag_go_on(tmp_path: Path) -> None:
    """Another member of the pool, with tags of its own."""
    async with World(tmp_path) as world:
        resource = publish(world)
        gate = asyncio.Event()
        resource.steps = [Step(cut_at=2 * MIB), Step(gate=gate)]
        reply = await world.ask(KEY)
        assert isinstance(reply, Growing)
        await until_readable(reply, 0, 2 * MIB)
        resource.etag = '"another"'
        gate.set()
        await stored_whole(world, reply)


async def test_another_length_behind_a_break_is_another_version(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        resource = publish(world)
        resource.steps = [Step(cut_at=2 * MIB), Step(ignores_range=True, content=BIG + b"x")]
        reply = await ended(await world.ask(KEY))
        assert reply.file.failure is not None
        assert reply.file.failure.is_changed


async def test_who_asks_while_a_changed_fill_ends_gets_the_next_one(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        resource = publish(world)
        resource.steps = [Step(cut_at=2 * MIB), Step(ignores_range=True, content=BIG + b"x")]
        reply = await world.ask(KEY)
        assert isinstance(reply, Growing)
        async with asyncio.timeout(10):
            while reply.file.failure is None:
                await asyncio.sleep(0)
        again = await world.ask(KEY)
        assert isinstance(again, Growing)
        assert again.file is not reply.file
        await stored_whole(world, again)


# Only what is asked for.


def ranges_only(world: World) -> World:
    store = msgspec.structs.replace(world.config.store, ranges_only_above=ByteSize(4 * MIB))
    world.config = msgspec.structs.replace(world.config, store=store)
    return world


def follow(reply: Growing) -> None:
    """As a worker's connection does."""
    reply.file.subscribe(_follower)


def _follower(_: object) -> None:
    return None


async def test_above_the_limit_only_the_range_is_fetched_and_nothing_stored(
    tmp_path: Path,
) -> None:
    async with ranges_only(World(tmp_path)) as world:
        publish(world)
        reply = await want(world, -100)
        follow(reply)
        await until_readable(reply, SIZE - 100, SIZE)
        assert not reply.file.is_kept
        assert world.store.used_bytes == footprint(SIZE)  # as if it were to come whole
        second = await want(world, 2 * MIB, 2 * MIB + 10)
        assert second.file is reply.file
        await until_readable(second, 2 * MIB, 2 * MIB + 10)
        assert read(second, 2 * MIB, 2 * MIB + 10) == BIG[2 * MIB : 2 * MIB + 10]
        await world.filler.aclose()
        assert world.stored(KEY) is None
        assert (world.partials(), world.store.used_bytes) == ([], 0)
        assert world.releases.sent(PATH) == 110
        world.start()


async def test_ranges_of_a_lone_fill_never_wait_for_the_place_that_it_holds(
    tmp_path: Path,
) -> None:
    async with ranges_only(World(tmp_path, max_connections=1)) as world:
        publish(world)
        reply = await want(world, -100)
        follow(reply)
        starts = [number * MIB for number in (2, 3, 4)]
        for start in starts:
            await want(world, start, start + 10)
        for start in starts:
            await until_readable(reply, start, start + 10)
        assert world.releases.sent(PATH) == 130


@pytest.mark.full
async def test_a_lone_range_that_nobody_reads_any_more_is_given_up(tmp_path: Path) -> None:
    """Full: whoever left is waited for, five seconds."""
    async with ranges_only(World(tmp_path)) as world:
        publish(world).steps = [Step(body_gate=asyncio.Event(), gate_at=65536)]
        reply = await want(world, 2 * MIB)
        follow(reply)
        await until_readable(reply, 2 * MIB, 2 * MIB + 65536)
        reply.file.unsubscribe(_follower)
        async with asyncio.timeout(20):
            while reply.file.failure is None:
                await asyncio.sleep(0)
        again = await want(world, -100)  # in the same turn: the next fill, and no failure
        follow(again)
        assert again.file is not reply.file
        await until_readable(again, SIZE - 100, SIZE)


async def test_who_wants_the_whole_gets_it_from_the_same_fill(tmp_path: Path) -> None:
    async with ranges_only(World(tmp_path)) as world:
        publish(world)
        reply = await want(world, -100)
        follow(reply)
        await until_readable(reply, SIZE - 100, SIZE)
        whole = await world.ask(KEY)
        assert isinstance(whole, Growing)
        assert whole.file is reply.file
        await stored_whole(world, whole)
        assert whole.file.is_kept
        assert world.releases.sent(PATH) == SIZE


async def test_a_range_under_if_range_is_never_all_that_is_fetched(tmp_path: Path) -> None:
    async with ranges_only(World(tmp_path)) as world:
        publish(world)
        await stored_whole(world, await want(world, -100, is_conditional=True))


async def test_a_lone_range_that_fails_fails_its_fill(tmp_path: Path) -> None:
    async with ranges_only(World(tmp_path)) as world:
        publish(world).steps = [Step(cut_at=50)] + [Step(error="reset") for _ in range(4)]
        reply = await want(world, -100)
        follow(reply)
        await ended(reply)
        assert reply.file.failure is not None
        assert reply.file.failure.status == 503
        await world.settled()
        assert (world.partials(), world.store.used_bytes) == ([], 0)


async def test_below_the_limit_the_rest_follows(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world)
        await stored_whole(world, await want(world, -100))


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
