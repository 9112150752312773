"""Never two versions in one, whatever breaks behind a cold range."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.fill.messages import FlightState
from mirror.fill.replies import Growing
from tests.unit.fill.cold_ranges import (
    BIG,
    KEY,
    MIB,
    PATH,
    SIZE,
    publish,
    stored_whole,
    until_readable,
    want,
)
from tests.unit.fill.keeper_world import World, ended, noise, sha256
from tests.unit.fill.scripted_pool import Step

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
