"""A channel never goes back, is known to be frozen, and gets over every skew by itself."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from mirror.fill.messages import Failed, Purpose, StoredAnswer
from mirror.fill.replies import Inline
from tests.unit.fill.keeper_world import World, inline, sha256
from tests.unit.fill.scripted_pool import Step
from tests.unit.fill.signed_channels import (
    DAY_1,
    DAY_2,
    DAY_3,
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
    triple,
)

ONE, TWO, THREE = manifest(DAY_1), manifest(DAY_2), manifest(DAY_3)
ACCEPT_ONE = f"channel stable {DAY_1}"


async def at_day_two(world: World) -> None:
    """The mirror has the generations of day 1 and 2; what it has is stale."""
    publish_key(world)
    for content, day in ((ONE, DAY_1), (TWO, DAY_2)):
        release(world, content, day)
        await get(world, head())
        world.clock.move(61)


@pytest.mark.parametrize("disaster", ["", "restart", "lost index"])
@pytest.mark.parametrize("mode", ["signature", "digest"])
async def test_manifest_rollback_is_refused_and_the_newer_one_kept(
    tmp_path: Path, mode: str, disaster: str
) -> None:
    async with World(tmp_path, trust=signed_trust(channel_manifest=mode)) as world:
        await at_day_two(world)
        if disaster == "restart":
            await world.restart()
        if disaster == "lost index":
            await world.lose_index()
        publish(world, head(), triple(ONE))
        for suffix in SUFFIXES:
            reply = await get(world, head() + suffix)
            assert content_of(reply) == sha256(triple(TWO)[suffix])
        assert world.stored_content("releases:" + head()) == TWO
        [told] = world.log.named("channel-rollback")
        assert DAY_1 in str(told["reason"])
        assert DAY_2 in str(told["reason"])
        assert [held.accept for held in world.filler.held] == [ACCEPT_ONE]
        world.clock.move(61)
        release(world, THREE, DAY_3)
        assert inline(await get(world, head())).content == THREE
        assert world.filler.held == []
        assert world.state.newest_date("stable") == DAY_3


async def test_manifest_rollback_is_refused_by_a_mirror_that_lost_its_copy(tmp_path: Path) -> None:
    """The state database outlives the store; the dated directory has what was served."""
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        world.state.note_channel("stable", DAY_2)
        publish(world, dated(DAY_2), triple(TWO))
        publish(world, head(), triple(ONE))
        assert inline(await get(world, head())).content == TWO
        require_generation(world, head(), TWO)
        assert world.log.named("channel-rollback")
        assert world.log.named("channel-recovered")
        # Its freshness is short: the head is looked at again, and what it says is held still.
        assert entry(world, head()).fresh_until <= world.clock.now() + 10
        assert len(world.filler.held) == 1
        publish(world, head(), triple(TWO))
        world.clock.move(11)
        assert content_of(await get(world, head())) == sha256(TWO)
        assert world.filler.held == []


async def test_manifest_rollback_without_any_copy_is_held_and_then_503(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        world.state.note_channel("stable", DAY_2)
        release(world, ONE, DAY_1)
        reply = await get(world, head())
        assert isinstance(reply, Failed)
        assert (reply.status, reply.retry_after_s > 0) == (503, True)
        assert sum(world.pauses) >= world.config.upstream.hold
        assert world.stored("releases:" + head()) is None
        # An older dated directory is what it says it is.
        assert content_of(await get(world, dated(DAY_1))) == sha256(ONE)


async def test_an_older_generation_on_the_disk_is_not_confirmed_after_a_newer_was_served(
    tmp_path: Path,
) -> None:
    """A crash between the answer and the commit: what is stored is older than what was served."""
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        release(world, ONE, DAY_1)
        await get(world, head())
        world.clock.move(61)
        world.state.note_channel("stable", DAY_2)
        reply = await get(world, head())
        assert isinstance(reply, StoredAnswer)
        assert reply.is_stale
        assert world.log.named("channel-rollback")
        world.clock.move(61)
        publish(world, dated(DAY_2), triple(TWO))
        await get(world, head())
        require_generation(world, head(), TWO)


async def test_an_accepted_rollback_goes_through_and_only_this_one(tmp_path: Path) -> None:
    trust = signed_trust(accept=(ACCEPT_ONE,))
    async with World(tmp_path, trust=trust) as world:
        await at_day_two(world)
        release(world, manifest("2026-12-24"), "2026-12-24")
        assert content_of(await get(world, head())) == sha256(TWO)
        assert len(world.filler.held) == 1
        world.clock.move(61)
        release(world, ONE, DAY_1)
        assert inline(await get(world, head())).content == ONE
        assert world.filler.held == []
        assert world.log.named("release-accepted")
        world.clock.move(61)
        assert content_of(await get(world, head())) == sha256(ONE)  # and it is confirmed as well
        assert world.state.newest_date("stable") == DAY_2


async def test_a_recovered_generation_is_signed_and_read_like_any_other(tmp_path: Path) -> None:
    """Skew with nothing held: the newest date known is where a whole generation is."""
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        world.state.note_channel("stable", DAY_2)
        publish(world, dated(DAY_2), triple(TWO))
        publish(world, head(), triple(THREE), [".sha256"])
        assert inline(await get(world, head() + ".asc")).content == triple(TWO)[".asc"]
        require_generation(world, head(), TWO)
        require_generation(world, dated(DAY_2), TWO)


async def test_the_date_is_durable_before_the_generation_is_answered(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        release(world, ONE, DAY_1)
        asking = asyncio.create_task(world.ask("releases:" + head()))
        while not asking.done():
            flight = world.filler._flights.find("releases:" + head())
            if flight is not None and flight.is_answered:
                assert world.state.newest_date("stable") == DAY_1
            await asyncio.sleep(0)
        inline(await asking)
        assert world.state.newest_date("stable") == DAY_1


async def test_a_frozen_channel_is_told_once_per_newest_date(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        content = manifest(DAY_3, "nightly")
        release(world, content, DAY_3, "nightly")
        await get(world, head("nightly"))
        [state] = world.filler.channel_states()
        assert (state.name, state.date, state.is_frozen) == ("nightly", DAY_3, False)
        assert (state.proof, state.confirmed_at) == ("signed-generation", world.clock.now())
        assert state.age_s == world.clock.now() - 1_799_712_000  # midnight of 2027-01-12
        for _ in range(3):
            world.clock.move(2 * 86400)
            await get(world, head("nightly"))
        [told] = world.log.named("channel-frozen")
        assert (told["channel"], told["date"]) == ("nightly", DAY_3)
        assert world.filler.channel_states()[0].is_frozen
        await world.restart()
        assert world.filler.channel_states()[0].is_frozen
        day = "2027-01-21"
        release(world, manifest(day, "nightly"), day, "nightly")
        world.clock.move(61)
        await get(world, head("nightly"))
        assert not world.filler.channel_states()[0].is_frozen
        assert len(world.log.named("channel-frozen")) == 1


def orders() -> list[tuple[str, ...]]:
    return list(itertools.permutations(SUFFIXES))


@pytest.mark.parametrize("has_copy", [True, False], ids=["held", "empty"])
@pytest.mark.parametrize("order", orders(), ids="-".join)
async def test_a_skewed_upload_in_any_order_gives_one_generation_at_any_time(
    tmp_path: Path, order: tuple[str, ...], has_copy: bool
) -> None:
    """The files of the next generation arrive one by one, the dated directory first."""
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        release(world, ONE, DAY_1)
        if has_copy:
            await get(world, head())
        publish(world, dated(DAY_2), triple(TWO))
        for suffix in order:
            publish(world, head(), triple(TWO), [suffix])
            world.clock.move(61)
            for one in SUFFIXES:
                answered = content_of(await get(world, head() + one))
                assert answered in (sha256(triple(ONE)[one]), sha256(triple(TWO)[one]))
                stored = sha256(world.stored_content("releases:" + head()))
                require_generation(world, head(), ONE if stored == sha256(ONE) else TWO)
        require_generation(world, head(), TWO)
        assert world.filler.held == []


@pytest.mark.parametrize("missing", SUFFIXES)
async def test_a_torn_channel_is_answered_from_its_dated_directory(
    tmp_path: Path, missing: str
) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        release(world, ONE, DAY_1)
        await get(world, head())
        world.clock.move(61)
        release(world, TWO, DAY_2)
        publish(world, head(), {}, [missing])
        reply = await get(world, head())
        assert content_of(reply) in (sha256(ONE), sha256(TWO))
        stored = sha256(world.stored_content("releases:" + head()))
        # Without the manifest nothing says which date is new.
        assert stored == (sha256(ONE) if missing == "" else sha256(TWO))
        world.clock.move(61)
        release(world, TWO, DAY_2)
        await get(world, head())
        require_generation(world, head(), TWO)


@pytest.mark.parametrize("missing", SUFFIXES)
async def test_a_torn_channel_is_waited_for_by_an_empty_mirror(
    tmp_path: Path, missing: str
) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        publish(world, head(), triple(TWO))
        step = Step(status=404)
        world.releases.resources[head() + missing].steps = [step, Step(status=404)]
        assert inline(await get(world, head())).content == TWO
        assert step in world.releases.played
        assert len(world.pauses) == 2


async def test_a_dated_directory_that_is_wrong_too_is_not_taken(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        release(world, ONE, DAY_1)
        await get(world, head())
        world.clock.move(61)
        spoiled = triple(TWO) | {".asc": triple(ONE)[".asc"]}
        publish(world, dated(DAY_2), spoiled)
        publish(world, head(), spoiled)
        assert content_of(await get(world, head())) == sha256(ONE)
        require_generation(world, head(), ONE)
        assert world.log.named("channel-not-recovered")
        assert world.state.newest_date("stable") == DAY_1


async def test_a_held_generation_is_answered_before_the_retries_end(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        await at_day_two(world)
        world.pause_gate = asyncio.Event()
        publish(world, head(), triple(THREE) | {".asc": b"torn"})
        reply = await world.ask("releases:" + head(), Purpose.REVALIDATE)
        assert content_of(reply) == sha256(TWO)
        assert world.filler.flights
        publish(world, head(), triple(THREE))
        world.pause_gate.set()
        await world.settled()
        require_generation(world, head(), THREE)


async def test_a_lasting_attack_costs_a_bounded_number_of_requests(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        await at_day_two(world)
        publish(world, head(), triple(ONE))
        before = len(world.releases.requests)
        await get(world, head())
        assert len(world.releases.requests) - before <= 16


async def test_a_state_database_that_cannot_note_lets_nothing_new_out(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        await at_day_two(world)
        world.state.close()
        release(world, THREE, DAY_3)
        reply = await get(world, head())
        assert not isinstance(reply, Inline)
        assert content_of(reply) in (b"", sha256(TWO))
        require_generation(world, head(), TWO)


@pytest.mark.parametrize("at", [head() + suffix for suffix in SUFFIXES] + [dated(DAY_3)])
async def test_a_keeper_that_ends_in_the_middle_leaves_the_generation_before(
    tmp_path: Path, at: str
) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        await at_day_two(world)
        release(world, THREE, DAY_3)
        if at == dated(DAY_3):
            publish(world, head(), triple(THREE) | {".asc": b"torn"})
        step = Step(gate=asyncio.Event())
        world.releases.resources[at].steps = [step]
        asking = asyncio.create_task(world.ask("releases:" + head(), Purpose.REVALIDATE))
        async with asyncio.timeout(10):
            while step not in world.releases.played:
                await asyncio.sleep(0.001)
        await world.restart()
        await asking
        require_generation(world, head(), TWO)
        release(world, THREE, DAY_3)
        assert inline(await get(world, head())).content == THREE
        require_generation(world, head(), THREE)


async def test_switch_is_durable_before_anybody_has_it(tmp_path: Path) -> None:
    """Else another worker could give the former generation to who has the next one already."""
    async with World(tmp_path, trust=signed_trust()) as world:
        await at_day_two(world)
        release(world, THREE, DAY_3)
        world.files.may_sync.clear()
        asking = asyncio.create_task(world.ask("releases:" + head(), Purpose.REVALIDATE))
        try:
            async with asyncio.timeout(10):
                while not world.files.waiting_syncs:
                    await asyncio.sleep(0)
            await asyncio.sleep(0)  # an answer given before the commit would be here
            assert not asking.done()
        finally:
            world.files.may_sync.set()
        assert inline(await asking).content == THREE
        assert world.stored_content("releases:" + head()) == THREE
