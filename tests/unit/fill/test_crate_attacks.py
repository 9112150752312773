"""Attacks on crates through the index: nothing wrong is taken over, what is deleted stays so."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.fill.messages import Failed, Purpose, StoredAnswer
from mirror.fill.replies import Inline
from mirror.store.state import CrateRecord
from tests.unit.fill.crate_world import (
    BODY,
    INDEX,
    INDEX_PATH,
    OTHER,
    THIRD,
    DyingState,
    accept,
    accepting,
    content_of,
    delete,
    fill,
    key,
    look,
    path,
    publish,
    status_of,
)
from tests.unit.fill.keeper_world import World, index_lines, sha256

OUTAGE = "status 503"


def lose_everything_but_the_state(world: World) -> None:
    """Remove heads and blobs too: the next start knows the state database only."""
    for folder in ("heads", "blobs"):
        for file in (world.path / "store" / folder).rglob("*"):
            if file.is_file():
                file.unlink()


async def test_a_changed_cksum_is_held_and_raised(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        publish(world, {"1.0.0": OTHER, "1.0.1": THIRD})
        reply = await look(world)
        assert isinstance(reply, StoredAnswer)
        assert reply.is_stale
        assert content_of(world, reply) == index_lines("MixedCase", {"1.0.0": BODY})
        (event,) = world.log.named("crate-cksum-changed")
        assert "crate-cksum-changed" in world.log.errors
        assert (event["name"], event["version"]) == ("MixedCase", "1.0.0")
        assert (event["before"], event["offered"]) == (sha256(BODY).hex(), sha256(OTHER).hex())
        assert [held.accept for held in world.filler.held] == [accepting("1.0.0", OTHER)]


async def test_of_a_held_index_the_former_crates_are_served_and_no_other(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        publish(world, {"1.0.0": OTHER, "1.0.1": THIRD})
        await look(world)
        world.clock.move(601)
        assert content_of(world, await world.ask(key("1.0.0"), Purpose.REVALIDATE)) == BODY
        assert isinstance(await world.ask(key("1.0.1")), Failed)
        assert len(world.crates.requests) == 1


async def test_a_held_index_is_asked_for_again_with_the_former_validator(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        former = world.index.resources[INDEX_PATH].etag
        publish(world, {"1.0.0": OTHER})
        await look(world)
        await look(world)
        assert [r.fields.get("If-None-Match") for r in world.index.requests[-2:]] == [former] * 2
        assert len(world.log.named("crate-cksum-changed")) == 1


@pytest.mark.parametrize(
    "good",
    [
        pytest.param({"1.0.0": BODY}, id="the-former-file"),
        pytest.param({"1.0.0": BODY, "1.0.1": THIRD}, id="a-later-file"),
    ],
)
async def test_a_good_index_after_a_held_one_is_taken_over_and_clears_it(
    tmp_path: Path, good: dict[str, bytes]
) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        publish(world, {"1.0.0": OTHER})
        await look(world)
        assert world.filler.held
        publish(world, good)
        reply = await look(world)
        assert content_of(world, reply) == index_lines("MixedCase", good)
        assert world.filler.held == []
        assert world.log.named("no-longer-held")


@pytest.mark.parametrize("with_heads", [True, False])
async def test_a_changed_cksum_after_a_lost_index_is_held(tmp_path: Path, with_heads: bool) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        publish(world, {"1.0.0": OTHER})
        if not with_heads:
            lose_everything_but_the_state(world)
        await world.lose_index()
        reply = await look(world)
        assert world.log.named("crate-cksum-changed")
        if with_heads:
            assert content_of(world, reply) == index_lines("MixedCase", {"1.0.0": BODY})
        else:
            assert isinstance(reply, Failed)
            assert (reply.status, "held" in reply.reason) == (503, True)
            world.clock.move(10)
            crate = await world.ask(key("1.0.0"))
            assert isinstance(crate, Failed)
            assert (crate.status, "held" in crate.reason) == (503, True)
            assert len(world.crates.requests) == 1


async def test_a_changed_cksum_after_a_restart_is_held(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        await world.restart()
        publish(world, {"1.0.0": OTHER})
        assert content_of(world, await look(world)) == index_lines("MixedCase", {"1.0.0": BODY})
        assert world.log.named("crate-cksum-changed")


async def test_a_changed_cksum_after_a_crash_that_lost_the_memory_is_held(tmp_path: Path) -> None:
    """What was first seen is written behind; the stored index file still says it."""
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        world.state.close()
        await world.restart()
        assert world.log.named("crate-memory-not-written")
        assert world.state.crate_record("mixedcase") is None
        publish(world, {"1.0.0": OTHER})
        await look(world)
        assert world.log.named("crate-cksum-changed")
        lose_everything_but_the_state(world)
        await world.lose_index()
        assert isinstance(await look(world), Failed)


async def test_a_version_under_the_cksum_of_another_is_held(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        publish(world, {"1.0.1": BODY})
        assert content_of(world, await look(world)) == index_lines("MixedCase", {"1.0.0": BODY})
        assert [held.accept for held in world.filler.held] == [accepting("1.0.1", BODY)]


async def test_another_spelling_of_the_name_is_held(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        publish(world, {"1.0.0": BODY}, name="mixedcase")
        assert content_of(world, await look(world)) == index_lines("MixedCase", {"1.0.0": BODY})
        assert [h.accept for h in world.filler.held] == [accepting("1.0.0", BODY, "mixedcase")]


async def test_a_held_change_is_released_by_exactly_its_acceptance(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY, "2.0.0": OTHER})
        publish(world, {"1.0.0": THIRD, "2.0.0": OTHER})
        for wrong in (accepting("1.0.0", OTHER), accepting("2.0.0", THIRD)):
            await accept(world, wrong)
            await look(world)
            assert len(world.filler.held) == 1
        await accept(world, accepting("1.0.0", THIRD))
        reply = await look(world)
        assert content_of(world, reply) == index_lines(
            "MixedCase", {"1.0.0": THIRD, "2.0.0": OTHER}
        )
        assert world.log.named("release-accepted")
        assert world.stored(key("1.0.0")) is None
        assert content_of(world, await world.ask(key("1.0.0"))) == THIRD
        await world.settled()
        await accept(world)  # it is the history by then: the line may go
        assert content_of(world, await look(world)) == content_of(world, reply)
        assert world.filler.held == []


async def test_every_changed_version_of_a_file_must_be_accepted(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY, "2.0.0": OTHER})
        publish(world, {"1.0.0": OTHER, "2.0.0": BODY})  # swapped
        await accept(world, accepting("1.0.0", OTHER))
        await look(world)
        assert [held.accept for held in world.filler.held] == [accepting("2.0.0", BODY)]
        await accept(world, accepting("1.0.0", OTHER), accepting("2.0.0", BODY))
        await look(world)
        assert world.filler.held == []
        assert content_of(world, await world.ask(key("1.0.0"))) == OTHER


async def test_a_recreated_crate_with_other_bytes_is_held_without_a_seen_deletion(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY, "2.0.0": OTHER})
        delete(world)
        publish(world, {"1.0.0": THIRD})  # nobody looked in between
        await look(world)
        assert len(world.filler.held) == 1
        assert content_of(world, await world.ask(key("1.0.0"))) == BODY
        assert content_of(world, await world.ask(key("2.0.0"))) == OTHER


@pytest.mark.parametrize("is_lost", [False, True], ids=["index-kept", "index-lost"])
async def test_a_recreated_crate_with_other_bytes_is_served_after_a_seen_deletion(
    tmp_path: Path, is_lost: bool
) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        delete(world)
        assert status_of(await look(world)) == 404
        if is_lost:
            await world.lose_index()
        publish(world, {"1.0.0": OTHER})
        assert content_of(world, await look(world)) == index_lines("MixedCase", {"1.0.0": OTHER})
        (event,) = world.log.named("crate-reregistered")
        assert (event["before"], event["cksum"]) == (sha256(BODY).hex(), sha256(OTHER).hex())
        assert content_of(world, await world.ask(key("1.0.0"))) == OTHER
        assert world.filler.held == []


async def test_the_bytes_of_a_deleted_crate_are_never_served_under_the_later_cksum(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        delete(world)
        await look(world)
        publish(world, {"1.0.0": OTHER})
        world.crates.put(path("1.0.0"), BODY)  # a bucket that still has the former object
        await look(world)
        reply = await world.ask(key("1.0.0"))
        await world.settled()
        assert status_of(reply) == 502
        assert world.stored(key("1.0.0")) is None


async def test_an_index_rolled_back_and_forth_withdraws_and_brings_back(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY, "1.0.1": OTHER})
        publish(world, {"1.0.0": BODY})
        await look(world)
        assert world.stored(key("1.0.1")) is None
        assert status_of(await world.ask(key("1.0.1"))) == 404
        assert content_of(world, await world.ask(key("1.0.0"))) == BODY
        publish(world, {"1.0.0": BODY, "1.0.1": OTHER})
        await look(world)
        assert world.log.named("crates-listed-again")
        asked = len(world.crates.requests)
        assert content_of(world, await world.ask(key("1.0.1"))) == OTHER
        assert len(world.crates.requests) == asked  # the blob was here all the time


@pytest.mark.parametrize("gone", ["line", "file"])
@pytest.mark.parametrize("harm", ["none", "restart", "lost index", "lost store"])
async def test_a_deletion_holds_while_upstream_is_away(
    tmp_path: Path, gone: str, harm: str
) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY, "1.0.1": OTHER})
        if gone == "line":
            publish(world, {"1.0.1": OTHER})
        else:
            delete(world)
        await look(world)
        for pool in world.pools.values():
            pool.outage = OUTAGE
        if harm == "restart":
            await world.restart()
        elif harm != "none":
            if harm == "lost store":
                lose_everything_but_the_state(world)
            await world.lose_index()
        for after_s in (1, 61, 601):
            world.clock.move(after_s)
            for purpose in (Purpose.FETCH, Purpose.REVALIDATE, Purpose.ATTEST):
                reply = await world.ask(key("1.0.0"), purpose)
                assert status_of(reply) == 404, (after_s, purpose, reply)
        assert world.stored(key("1.0.0")) is None


@pytest.mark.parametrize("gone", ["line", "file"])
async def test_a_crash_between_tombstone_and_withdrawal_is_made_good_at_the_start(
    tmp_path: Path, gone: str
) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY, "1.0.1": OTHER})
        await world.filler.aclose()
        world.state.close()
        dying = DyingState.open(str(tmp_path / "state" / "state.db"))
        assert isinstance(dying, DyingState)
        world.state = dying
        world.start()
        if gone == "line":
            publish(world, {"1.0.1": OTHER})
        else:
            delete(world)
        await look(world)
        assert dying.died == 1
        assert world.stored(key("1.0.0")) is not None  # the state that the crash leaves
        for pool in world.pools.values():
            pool.outage = OUTAGE
        await world.restart()
        assert world.stored(key("1.0.0")) is None
        assert (world.stored(key("1.0.1")) is None) == (gone == "file")
        world.clock.move(61)
        assert status_of(await world.ask(key("1.0.0"))) == 404  # its stored index lists it still
        for pool in world.pools.values():
            pool.outage = ""
        reply = await look(world)
        assert status_of(reply) == (200 if gone == "line" else 404)


async def test_a_tombstone_is_lifted_by_a_304_for_the_file_that_lists_the_version(
    tmp_path: Path,
) -> None:
    """(1) The line goes, (2) the keeper dies with the tombstone durable and the index file not,
    (3) upstream goes back to the file that is still stored."""
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY, "1.0.1": OTHER})
        await world.filler.aclose()
        world.state.close()
        world.state = DyingState.open(str(tmp_path / "state" / "state.db"))
        world.start()
        publish(world, {"1.0.1": OTHER})
        await look(world)
        await world.restart()
        publish(world, {"1.0.0": BODY, "1.0.1": OTHER})
        await look(world)
        assert world.index.requests[-1].status == 304
        assert content_of(world, await world.ask(key("1.0.0"))) == BODY


async def test_a_stored_index_file_that_contradicts_an_accepted_change_is_not_served(
    tmp_path: Path,
) -> None:
    """(1) A change is accepted and durable, (2) the keeper dies before the file is stored, (3)
    upstream goes back to the former file."""
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        former = dict(world.index.resources)
        publish(world, {"1.0.0": OTHER})
        await accept(world, accepting("1.0.0", OTHER))
        await world.filler.aclose()
        world.state.close()
        dying = DyingState.open(str(tmp_path / "state" / "state.db"))
        world.state = dying
        world.start()
        await look(world)
        assert isinstance(dying, DyingState)
        assert dying.died == 1
        await world.restart()
        world.index.resources.update(former)
        reply = await look(world)
        assert isinstance(reply, Failed)
        assert [held.accept for held in world.filler.held] == [accepting("1.0.0", BODY)]
        assert content_of(world, await world.ask(key("1.0.0"))) == b""


@pytest.mark.parametrize("state", ["held", "deleted", "held without a former file"])
async def test_a_false_claim_is_refused_without_a_fetch(tmp_path: Path, state: str) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY, "1.0.1": THIRD})
        publish(world, {"1.0.1": THIRD} if state == "deleted" else {"1.0.0": OTHER})
        if state == "held without a former file":
            lose_everything_but_the_state(world)
            await world.lose_index()
        await look(world)
        asked = len(world.crates.requests)
        reply = await world.ask(key("1.0.0"), claim=sha256(OTHER))
        assert status_of(reply) == (503 if "without" in state else 404)
        if state == "deleted":
            assert status_of(await world.ask(key("1.0.0"), claim=sha256(BODY))) == 404
        elif state == "held":
            true = await world.ask(key("1.0.0"), claim=sha256(BODY))
            assert content_of(world, true) == BODY
        assert len(world.crates.requests) == asked


async def test_a_yanked_version_stays_downloadable(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        lines = index_lines("MixedCase", {"1.0.0": BODY})
        yanked = lines.replace(b'"deps"', b'"yanked": true, "deps"')
        world.index.put(INDEX_PATH, yanked)
        assert content_of(world, await look(world)) == yanked
        assert world.stored(key("1.0.0")) is not None
        assert content_of(world, await world.ask(key("1.0.0"))) == BODY


async def test_a_deletion_that_cannot_be_kept_is_no_answer(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        delete(world)
        world.state.close()
        reply = await look(world)
        assert isinstance(reply, StoredAnswer)
        assert reply.is_stale
        assert world.log.named("upstream-trouble")
        assert not isinstance(await world.ask(INDEX), Inline)
        await world.restart()


async def test_an_accepted_spelling_withdraws_the_crates_of_the_former_one(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        publish(world, {"1.0.0": BODY}, name="mixedcase")
        await accept(world, accepting("1.0.0", BODY, "mixedcase"))
        await look(world)
        assert world.stored(key("1.0.0")) is None
        assert status_of(await world.ask(key("1.0.0"))) == 404
        assert content_of(world, await world.ask(key("1.0.0", "mixedcase"))) == BODY


async def test_what_is_held_is_what_upstream_offers_last(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        for other in (OTHER, THIRD):
            publish(world, {"1.0.0": other})
            await look(world)
            assert [held.accept for held in world.filler.held] == [accepting("1.0.0", other)]
        assert len(world.log.named("crate-cksum-changed")) == 2


async def test_a_damaged_history_stops_one_crate_and_no_start(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        await world.restart()
        damaged = CrateRecord(name="mixedcase", is_marked=True, record=b"damaged")
        world.state.put_crate_records([damaged])
        await world.restart()
        assert world.log.named("crate-record-damaged")
        publish(world, {"1.0.0": OTHER})
        reply = await look(world)
        assert isinstance(reply, StoredAnswer)
        assert reply.is_stale
        assert content_of(world, reply) == index_lines("MixedCase", {"1.0.0": BODY})
        other = index_lines("other", {"1.0.0": THIRD})
        world.index.put("/ot/he/other", other)
        assert content_of(world, await world.ask("index:/ot/he/other")) == other
