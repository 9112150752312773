"""A large object of which parts are wanted before any of it is here."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mirror.fill.messages import Ask, FlightState, Purpose
from mirror.fill.replies import Growing, Reply
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


async def stored_whole(world: World, reply: Growing) -> None:
    await ended(reply)
    await world.settled()
    assert reply.file.state is FlightState.VERIFIED
    assert world.stored_content(KEY) == BIG
    assert world.partials() == []


def again(step: Step) -> Step:
    return Step(
        status=step.status,
        error=step.error,
        cut_at=step.cut_at,
        fields=step.fields,
        ignores_range=step.ignores_range,
    )
