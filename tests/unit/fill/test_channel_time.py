"""Dates that run ahead, dates that nobody signed, and what upstream takes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.fill.channel import READINGS_MAX
from mirror.fill.messages import Failed
from mirror.store.entry import DIGEST_GENERATION
from tests.unit.fill.keeper_world import World, inline, sha256, sha256_file
from tests.unit.fill.signed_channels import (
    DAY_1,
    DAY_2,
    DAY_3,
    SIGNED_AT,
    SUFFIXES,
    content_of,
    dated,
    entry,
    get,
    head,
    manifest,
    publish,
    publish_key,
    release,
    require_generation,
    signed_trust,
    signer,
    triple,
)

FAR, TOMORROW = "2027-01-18", "2027-01-16"  # the clock of these tests is at 2027-01-15
ONE, TWO, AHEAD = manifest(DAY_1), manifest(DAY_2), manifest(FAR)
OLD = "1.20.0"


@pytest.mark.parametrize("mode", ["signature", "digest"])
async def test_a_manifest_from_the_future_is_held_and_blocks_no_true_one(
    tmp_path: Path, mode: str
) -> None:
    """Fast-forward: after it, every true manifest would look like a rollback."""
    async with World(tmp_path, trust=signed_trust(channel_manifest=mode)) as world:
        publish_key(world)
        release(world, ONE, DAY_1)
        await get(world, head())
        world.clock.move(61)
        release(world, AHEAD, FAR)
        assert content_of(await get(world, head())) == sha256(ONE)
        assert world.stored_content("releases:" + head()) == ONE
        assert world.state.newest_date("stable") == DAY_1
        assert len(world.log.named("channel-ahead")) == 1
        assert [held.accept for held in world.filler.held] == [f"channel stable {FAR}"]
        world.clock.move(61)
        release(world, TWO, DAY_2)
        assert inline(await get(world, head())).content == TWO
        assert world.filler.held == []


async def test_a_manifest_of_tomorrow_is_taken_and_one_from_the_future_when_its_day_comes(
    tmp_path: Path,
) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        release(world, manifest(TOMORROW), TOMORROW)
        assert inline(await get(world, head())).content == manifest(TOMORROW)
        world.clock.move(61)
        release(world, AHEAD, FAR)
        assert content_of(await get(world, head())) == sha256(manifest(TOMORROW))
        world.clock.move(86400)
        assert inline(await get(world, head())).content == AHEAD
        assert world.state.newest_date("stable") == FAR


async def test_an_accepted_manifest_from_the_future_leaves_the_newest_date(
    tmp_path: Path,
) -> None:
    async with World(tmp_path, trust=signed_trust(accept=(f"channel stable {FAR}",))) as world:
        publish_key(world)
        release(world, ONE, DAY_1)
        await get(world, head())
        world.clock.move(61)
        release(world, AHEAD, FAR)
        assert inline(await get(world, head())).content == AHEAD
        world.clock.move(61)
        assert content_of(await get(world, head())) == sha256(AHEAD)  # confirmed
        release(world, TWO, DAY_2)
        world.clock.move(61)
        assert inline(await get(world, head())).content == TWO
        assert world.state.newest_date("stable") == DAY_2


async def test_the_date_of_an_unsigned_legacy_manifest_does_not_lock_the_true_one_out(
    tmp_path: Path,
) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        evil, true = (manifest(day, version=OLD) for day in (DAY_3, "2017-08-31"))
        for content in (evil, true):
            publish(world, head(OLD), {"": content, ".sha256": sha256_file(content)})
            assert inline(await get(world, head(OLD))).content == content
            assert entry(world, head(OLD)).proof == DIGEST_GENERATION
            assert world.state.newest_date(OLD) == ""
            world.clock.move(8 * 86400)
        assert world.filler.held == []


async def test_a_signed_legacy_channel_is_not_replaced_by_an_unsigned_one(
    tmp_path: Path,
) -> None:
    """Downgrade: whoever strips the `.asc` cannot say that there never was one."""
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        true = manifest("2017-08-31", version=OLD)
        evil = manifest("2017-09-01", version=OLD)
        publish(world, head(OLD), triple(true))
        await get(world, head(OLD))
        require_generation(world, head(OLD), true)
        world.clock.move(8 * 86400)
        publish(world, head(OLD), {"": evil, ".sha256": sha256_file(evil)})
        for suffix in SUFFIXES:
            assert content_of(await get(world, head(OLD) + suffix)) == sha256(triple(true)[suffix])
        require_generation(world, head(OLD), true)
        assert world.log.named("channel-refused")
        assert world.state.newest_date(OLD) == "2017-08-31"


def published(content: bytes, at: int) -> dict[str, bytes]:
    return triple(content) | {".asc": signer().detached_signature([content], at)}


@pytest.mark.parametrize("accept", [(), (f"channel stable {DAY_1}",)], ids=["held", "accepted"])
async def test_the_first_manifest_of_a_day_is_not_taken_after_the_second(
    tmp_path: Path, accept: tuple[str, ...]
) -> None:
    """Replay within a day: the date is the same, the time of the signature is not."""
    first, second = (manifest(DAY_1, note=note) for note in ("first", "second"))
    async with World(tmp_path, trust=signed_trust(accept=accept)) as world:
        publish_key(world)
        publish(world, head(), published(first, SIGNED_AT))
        await get(world, head())
        world.clock.move(61)
        publish(world, head(), published(second, SIGNED_AT + 3600))
        assert inline(await get(world, head())).content == second
        world.clock.move(61)
        publish(world, head(), published(first, SIGNED_AT))
        taken = first if accept else second
        assert content_of(await get(world, head())) == sha256(taken)
        assert world.stored_content("releases:" + head()) == taken
        assert bool(world.log.named("channel-rollback")) is not bool(accept)


async def test_a_signed_head_that_upstream_denies_is_served_on(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        release(world, ONE, DAY_1)
        await get(world, head())
        world.clock.move(61)
        publish(world, head(), {})
        for suffix in SUFFIXES:
            assert content_of(await get(world, head() + suffix)) == sha256(triple(ONE)[suffix])
        require_generation(world, head(), ONE)
        assert world.log.named("channel-skew")
        publish(world, head(), triple(TWO))
        world.clock.move(61)
        assert inline(await get(world, head())).content == TWO


async def test_an_older_manifest_is_refused_when_the_state_is_lost_and_the_store_is_not(
    tmp_path: Path,
) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        release(world, TWO, DAY_2)
        await get(world, head())
        await world.lose_state()
        assert world.state.newest_date("stable") == ""
        world.clock.move(61)
        release(world, ONE, DAY_1)
        assert content_of(await get(world, head())) == sha256(TWO)
        require_generation(world, head(), TWO)
        assert world.log.named("channel-rollback")


async def test_a_client_that_asks_for_all_dates_does_not_fill_the_memory_with_unread_manifests(
    tmp_path: Path,
) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        days = [f"2026-11-{day:02}" for day in range(1, 29)]
        for day in days:
            publish(world, dated(day), triple(manifest(day)))
        channels = world.filler._channels
        async with channels._reading:  # as long as one is being read
            await asyncio.gather(*(get(world, dated(day)) for day in days))
            assert len(channels._parsing) == READINGS_MAX
            for day in days:
                require_generation(world, dated(day), manifest(day))
        await channels.manifests_parsed()
        assert not channels._parsing
        archive = f"/dist/{days[-1]}/rustc-1.95.0-x86_64-unknown-linux-gnu.tar.xz"
        assert not isinstance(await get(world, archive), Failed)
        key = "releases:" + dated(days[-1])
        assert world.store.manifest_read(key) == entry(world, dated(days[-1])).digest
