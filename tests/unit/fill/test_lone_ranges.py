"""Above the limit only what was asked for is fetched, and nothing stored."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from mirror.config import ByteSize
from mirror.fill.replies import Growing
from mirror.store.budget import footprint
from tests.unit.fill.cold_ranges import (
    BIG,
    KEY,
    MIB,
    PATH,
    SIZE,
    publish,
    read,
    stored_whole,
    until_readable,
    want,
)
from tests.unit.fill.keeper_world import World, ended
from tests.unit.fill.scripted_pool import Step

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
