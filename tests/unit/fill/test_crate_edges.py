"""The edges of a CDN take turns with an index file and the one before it."""

from __future__ import annotations

from pathlib import Path

from mirror.fill.messages import Purpose, StoredAnswer
from tests.unit.fill.crate_world import (
    BODY,
    INDEX_PATH,
    NAME,
    OTHER,
    THIRD,
    content_of,
    fill,
    key,
    look,
    publish,
    status_of,
)
from tests.unit.fill.keeper_world import World, index_lines

EARLIER = "Sun, 06 Nov 2022 08:49:37 GMT"
LATER = "Sun, 06 Nov 2022 08:49:41 GMT"


def publish_at(world: World, last_modified: str, versions: dict[str, bytes]) -> None:
    publish(world, versions)
    world.index.resources[INDEX_PATH].last_modified = last_modified


async def test_a_slow_edge_with_the_former_file_deletes_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        both = {"1.0.0": BODY, "1.0.1": OTHER}
        publish_at(world, EARLIER, {"1.0.0": BODY})
        await look(world)
        publish_at(world, LATER, both)
        await look(world)
        await fill(world, both)
        for _ in range(3):
            publish_at(world, EARLIER, {"1.0.0": BODY})
            reply = await look(world)
            assert isinstance(reply, StoredAnswer)
            assert reply.is_stale
            assert content_of(world, reply) == index_lines(NAME, both)
            assert content_of(world, await world.ask(key("1.0.1"), Purpose.REVALIDATE)) == OTHER
            publish_at(world, LATER, both)
            reply = await look(world)
            assert isinstance(reply, StoredAnswer)
            assert not reply.is_stale
        assert not world.log.named("crates-deleted")
        assert not world.log.named("crates-withdrawn")
        slow = [e for e in world.log.named("upstream-trouble") if "older copy" in str(e["reason"])]
        assert len(slow) >= 3


async def test_a_deletion_is_believed_at_once_from_a_later_file(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY, "1.0.1": OTHER})
        publish_at(world, EARLIER, {"1.0.0": BODY, "1.0.1": OTHER})
        await look(world)
        publish_at(world, LATER, {"1.0.0": BODY})
        await look(world)
        assert world.stored(key("1.0.1")) is None
        assert status_of(await world.ask(key("1.0.1"))) == 404


async def test_an_older_file_that_upstream_stays_with_is_taken_over(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish_at(world, LATER, {"1.0.0": BODY, "1.0.1": OTHER})
        await look(world)
        publish_at(world, EARLIER, {"1.0.0": BODY})
        assert content_of(world, await look(world)) == index_lines(
            NAME, {"1.0.0": BODY, "1.0.1": OTHER}
        )
        reply = await look(world, after_s=world.config.freshness.crate_wait)
        assert content_of(world, reply) == index_lines(NAME, {"1.0.0": BODY})
        assert world.log.named("crates-deleted")


async def test_an_older_file_that_drops_nothing_is_taken_over(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish_at(world, LATER, {"1.0.0": BODY})
        await look(world)
        publish_at(world, EARLIER, {"1.0.0": BODY, "1.0.1": OTHER})
        await look(world)
        assert content_of(world, await world.ask(key("1.0.1"))) == OTHER


async def test_a_changed_cksum_in_an_older_file_is_held_and_raised(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish_at(world, LATER, {"1.0.0": BODY, "1.0.1": OTHER})
        await look(world)
        publish_at(world, EARLIER, {"1.0.0": THIRD})
        await look(world)
        assert world.log.named("crate-cksum-changed")
        assert len(world.filler.held) == 1
