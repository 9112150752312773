"""Crates: only what the index lists, with the cksum that it states."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.fill.messages import Failed, Purpose, StoredAnswer
from tests.unit.fill.crate_world import BODY, INDEX, INDEX_PATH, OTHER, key, path, publish
from tests.unit.fill.keeper_world import World, ended, index_lines, inline, noise, sha256
from tests.unit.fill.scripted_pool import Step


async def test_a_crate_is_checked_against_its_index_line(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY, "1.0.0+build.5": OTHER})
        reply = inline(await world.ask(key("1.0.0+build.5")))
        assert (reply.content, reply.entry.proof) == (OTHER, "index")
        assert inline(await world.ask(key("1.0.0"))).content == BODY
        assert world.index.paths() == [INDEX_PATH]


async def test_the_voucher_of_a_crate_is_its_index_file_as_it_was(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        reply = inline(await world.ask(key("1.0.0")))
        index = index_lines("MixedCase", {"1.0.0": BODY})
        assert reply.entry.voucher == f"{INDEX}@{sha256(index).hex()}"
        await world.settled()
        stored = world.stored(key("1.0.0"))
        assert stored is not None
        assert stored.entry.voucher == reply.entry.voucher


async def test_a_large_crate_grows(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        big = noise(1_000_000)
        publish(world, {"1.0.0": big})
        await ended(await world.ask(key("1.0.0")))
        assert world.stored_content(key("1.0.0")) == big


async def test_a_crate_with_another_cksum_is_never_published(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        world.crates.resources[path("1.0.0")].steps = [Step(content=OTHER)]
        reply = await world.ask(key("1.0.0"))
        assert isinstance(reply, Failed)
        assert reply.status == 502
        assert len(world.crates.played) == 1
        event = world.log.named("digest-mismatch")[0]
        assert (event["expected"], event["got"]) == (sha256(BODY).hex(), sha256(OTHER).hex())
        assert world.stored(key("1.0.0")) is None


async def test_an_unlisted_version_is_absent_without_a_crate_request(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        reply = await world.ask(key("9.9.9"))
        assert isinstance(reply, StoredAnswer)
        assert reply.stored.entry.status == 404
        assert world.crates.requests == []
        assert len(world.index.requests) == 1


async def test_an_unlisted_version_is_looked_for_once_more_in_the_index(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        await world.ask(INDEX)
        await world.settled()
        world.clock.move(20)
        publish(world, {"1.0.0": BODY, "1.0.1": OTHER})
        assert inline(await world.ask(key("1.0.1"))).content == OTHER
        assert len(world.index.requests) == 2


async def test_a_crate_without_an_index_file_is_absent(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.crates.put(path("1.0.0"), BODY)
        reply = await world.ask(key("1.0.0"))
        assert isinstance(reply, StoredAnswer)
        assert reply.stored.entry.status == 404
        assert world.crates.requests == []


@pytest.mark.parametrize("status", [403, 404, 451])
async def test_a_listed_crate_that_upstream_denies_is_absent(tmp_path: Path, status: int) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        world.crates.resources[path("1.0.0")].steps = [Step(status=status)]
        reply = await world.ask(key("1.0.0"))
        assert isinstance(reply, StoredAnswer)
        assert reply.stored.entry.status == 404
        assert len(world.crates.played) == 1


async def test_an_index_in_trouble_is_no_absence(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        world.index.outage = "status 503"
        reply = await world.ask(key("1.0.0"))
        assert isinstance(reply, Failed)
        assert reply.status == 503


async def test_a_version_missing_from_a_stale_index_is_no_absence(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        await world.ask(INDEX)
        await world.settled()
        world.clock.move(100)
        world.index.outage = "status 503"
        reply = await world.ask(key("1.0.1"))
        assert isinstance(reply, Failed)
        assert reply.status == 503


async def test_a_stale_index_still_vouches_for_what_it_lists(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        await world.ask(INDEX)
        await world.settled()
        world.clock.move(100)
        world.index.outage = "status 503"
        assert inline(await world.ask(key("1.0.0"))).content == BODY


async def test_another_case_of_a_name_is_not_the_crate(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        reply = await world.ask(key("1.0.0", name="mixedcase"))
        assert isinstance(reply, StoredAnswer)
        assert reply.stored.entry.status == 404


async def test_a_false_claim_is_404_without_a_fetch(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        reply = await world.ask(key("1.0.0"), claim=sha256(OTHER))
        assert isinstance(reply, Failed)
        assert reply.status == 404
        assert world.crates.requests == []


async def test_a_true_claim_is_served_under_the_same_key(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        assert inline(await world.ask(key("1.0.0"), claim=sha256(BODY))).content == BODY
        await world.settled()
        assert world.stored(key("1.0.0")) is not None


async def test_a_vanished_version_is_withdrawn_with_its_index_line(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY, "1.0.1": OTHER})
        await world.ask(key("1.0.0"))
        await world.ask(key("1.0.1"))
        await world.settled()
        epoch = world.page.epoch
        world.clock.move(61)
        publish(world, {"1.0.1": OTHER})
        await world.ask(INDEX, Purpose.REVALIDATE)
        await world.settled()
        assert world.stored(key("1.0.0")) is None
        assert world.stored(key("1.0.1")) is not None
        assert world.page.epoch > epoch


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_a_deleted_crate_is_withdrawn_with_its_index_file(
    tmp_path: Path, is_restarted: bool
) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        await world.ask(key("1.0.0"))
        await world.settled()
        if is_restarted:
            await world.restart()  # what the index said must then be read from the store
        world.clock.move(61)
        world.index.resources.clear()
        await world.ask(INDEX, Purpose.REVALIDATE)
        await world.settled()
        assert world.stored(key("1.0.0")) is None


async def test_an_absence_ends_when_the_index_lists_the_version(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        await world.ask(key("1.0.1"))
        await world.settled()
        world.clock.move(10)
        publish(world, {"1.0.0": BODY, "1.0.1": OTHER})
        world.clock.move(55)
        await world.ask(INDEX, Purpose.REVALIDATE)
        await world.settled()
        assert world.stored(key("1.0.1")) is None


@pytest.mark.parametrize("passed_s", [601, -3600], ids=["aged", "clock-set-back"])
async def test_a_checked_crate_is_confirmed_when_the_index_still_lists_it(
    tmp_path: Path, passed_s: float
) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        await world.ask(key("1.0.0"))
        await world.settled()
        world.clock.move(passed_s)
        reply = await world.ask(key("1.0.0"), Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert reply.stored.entry.confirmed_at == world.clock.now()
        assert len(world.crates.requests) == 1


@pytest.mark.parametrize("passed_s", [601, -3600], ids=["aged", "clock-set-back"])
async def test_a_checked_crate_that_is_gone_is_404(tmp_path: Path, passed_s: float) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        await world.ask(key("1.0.0"))
        await world.settled()
        world.clock.move(passed_s)
        publish(world, {"2.0.0": OTHER})
        reply = await world.ask(key("1.0.0"), Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert reply.stored.entry.status == 404


async def test_what_the_index_says_is_read_back_from_the_store(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        await world.ask(INDEX)
        await world.settled()
        await world.restart()
        assert inline(await world.ask(key("1.0.0"))).content == BODY
        assert len(world.index.requests) == 1


async def test_random_versions_leave_no_entries(tmp_path: Path) -> None:
    """The index implies their absence; a client could ask for any number of them."""
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        for patch in range(30):
            reply = await world.ask(key(f"9.0.{patch}"))
            assert isinstance(reply, StoredAnswer)
            assert reply.stored.entry.status == 404
            await world.settled()
        assert [world.stored(key(f"9.0.{patch}")) for patch in range(30)] == [None] * 30
        assert len(world.index.requests) == 1


@pytest.mark.parametrize("successor", [{}, {"1.0.1": OTHER}], ids=["file-gone", "line-gone"])
async def test_a_crate_whose_index_changed_while_it_was_fetched_is_withdrawn(
    tmp_path: Path, successor: dict[str, bytes]
) -> None:
    async with World(tmp_path) as world:
        publish(world, {"1.0.0": BODY})
        gate = asyncio.Event()
        world.crates.resources[path("1.0.0")].steps = [Step(gate=gate)]
        asking = asyncio.create_task(world.ask(key("1.0.0")))
        async with asyncio.timeout(10):
            while not world.crates.requests or len(world.filler.flights) > 1:  # the index is stored
                await asyncio.sleep(0.001)
        world.clock.move(61)
        world.index.resources.clear()
        if successor:
            world.index.put(INDEX_PATH, index_lines("MixedCase", successor))
        await world.ask(INDEX, Purpose.REVALIDATE)
        gate.set()
        assert inline(await asking).content == BODY
        await world.settled()
        assert world.stored(key("1.0.0")) is None
        assert world.log.named("crates-withdrawn")
