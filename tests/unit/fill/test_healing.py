"""What was condemned comes back by itself: one flight, verified as ever, bounded."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mirror.fill.healing import QUEUED_MAX, RUNNING_MAX, Healer
from mirror.store.attesting import Condemned
from tests.unit.fill.crate_world import BODY, INDEX, OTHER, fill, key, path
from tests.unit.fill.keeper_world import World, sha256


class Count:
    def __init__(self) -> None:
        self.count = 0

    def healed(self) -> None:
        self.count += 1


@asynccontextmanager
async def healing(
    world: World, queued_max: int = QUEUED_MAX
) -> AsyncIterator[tuple[Healer, Count]]:
    count = Count()
    healer = Healer(world.filler, world.store, world.log, count, queued_max=queued_max)
    world.store.scrubber.tell_condemned(healer.tell)
    try:
        yield healer, count
    finally:
        await healer.aclose()


async def healed(healer: Healer, keys: int) -> None:
    async with asyncio.timeout(10):
        while healer.healed_total + healer.failed_total < keys:
            await asyncio.sleep(0.001)


def damage(world: World, content: bytes) -> None:
    file = world.store.blob_path(sha256(content))
    os.chmod(file, 0o600)
    with open(file, "r+b") as opened:
        opened.write(b"damage")


async def scrub_all(world: World) -> None:
    for due in world.store.scrubber.due(1 << 60, None, 1000):
        await asyncio.to_thread(world.store.scrubber.look, due, lambda _: None)


async def test_damaged_crate_is_fetched_anew_without_a_client(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY, "1.1.0": OTHER})
        async with healing(world) as (healer, count):
            damage(world, BODY)
            asked = len(world.crates.requests)
            await scrub_all(world)
            await healed(healer, 1)
            stored = world.stored(key("1.0.0"))
            assert stored is not None
            assert stored.entry.digest == sha256(BODY)
            assert [r.path for r in world.crates.requests[asked:]] == [path("1.0.0")]
            assert (count.count, len(healer)) == (1, 0)
            assert world.log.named("blob-healed")[0]["is_same"] is True


async def test_every_key_that_named_it_comes_back(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY, "1.1.0": BODY})
        async with healing(world) as (healer, count):
            damage(world, BODY)
            await scrub_all(world)
            await healed(healer, 2)
            assert world.stored(key("1.0.0")) is not None
            assert world.stored(key("1.1.0")) is not None
            assert count.count == 2


async def test_upstream_away_is_told_and_the_next_request_fetches(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        body = world.crates.resources.pop(path("1.0.0"))
        async with healing(world) as (healer, count):
            damage(world, BODY)
            await scrub_all(world)
            await healed(healer, 1)
            assert (healer.failed_total, count.count) == (1, 0)
            assert world.log.named("not-healed")[0]["key"] == key("1.0.0")
        world.crates.resources[path("1.0.0")] = body
        world.clock.move(3600)
        await world.ask(key("1.0.0"))
        await world.settled()
        assert world.stored(key("1.0.0")) is not None


async def test_upstream_that_gives_wrong_bytes_is_not_asked_again_and_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        world.crates.put(path("1.0.0"), OTHER)  # of the same length
        async with healing(world) as (healer, count):
            damage(world, BODY)
            asked = len(world.crates.requests)
            await scrub_all(world)
            await healed(healer, 1)
            await world.settled()
            await scrub_all(world)  # nothing is left to condemn
            assert (healer.failed_total, count.count, len(healer)) == (1, 0, 0)
            assert [r.path for r in world.crates.requests[asked:]] == [path("1.0.0")]
            assert world.log.named("digest-mismatch")
            assert len(world.log.named("not-healed")) == 1
            assert world.stored(key("1.0.0")) is None


async def test_damaged_index_file_comes_back_too(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        stored = world.stored(INDEX)
        assert stored is not None
        async with healing(world) as (healer, _):
            file = world.store.blob_path(stored.entry.digest)
            os.unlink(file)
            await scrub_all(world)
            await healed(healer, 1)
            assert world.stored(INDEX) is not None
            assert os.path.exists(file)


async def test_what_has_no_route_or_comes_on_top_is_left(tmp_path: Path) -> None:
    async with World(tmp_path) as world, healing(world, 100) as (healer, _):
        former = "releases:/dist/channel-rust-stable.toml#former"
        healer.tell(Condemned(digest=bytes(32), keys=(former, "nonsense"), coded=()))
        many = tuple(key(f"1.0.{number}") for number in range(200))
        healer.tell(Condemned(digest=bytes(32), keys=many, coded=()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert 0 < len(healer) <= 100 + RUNNING_MAX


async def test_closing_forgets_what_waits(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        async with healing(world) as (healer, _):
            healer.tell(Condemned(digest=bytes(32), keys=(key("1.0.0"),), coded=()))
            await asyncio.sleep(0)
        healer.tell(Condemned(digest=bytes(32), keys=(key("1.0.0"),), coded=()))
        await asyncio.sleep(0.01)
        assert world.store.lookup(key("1.0.0")) is None
