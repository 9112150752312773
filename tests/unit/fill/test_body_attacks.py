"""Bodies that an upstream, or whoever sits before it, got wrong: none is whole, none is stored."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.fill.messages import Failed, FlightState
from mirror.fill.outcomes import STALE_HOLD_S
from mirror.fill.replies import Growing
from tests.unit.fill.keeper_world import World, ended, noise, sha256, sha256_file
from tests.unit.fill.scripted_pool import Step
from tests.unit.fill.signed_world import flipped

ARCHIVE = "releases:/dist/2026-01-01/rustc-1.95.0-x86_64-unknown-linux-gnu.tar.xz"
BINARY = "releases:/rustup/archive/1.29.0/x86_64-unknown-linux-gnu/rustup-init"
HTML = b"<!DOCTYPE html><html><body>Please sign in to the wireless network</body></html>"
SMALL = noise(5000)
BIG = noise(1_500_000)


def path_of(key: str) -> str:
    return key.partition(":")[2]


ATTACKS = {
    "an-error-page-with-status-200": lambda good: Step(content=HTML),
    "truncated": lambda good: Step(content=good[:-1]),
    "truncated-to-nothing": lambda good: Step(content=b""),
    "appended": lambda good: Step(content=good + b"\0"),
    "first-byte-flipped": lambda good: Step(content=flipped(good, 0)),
    "last-byte-flipped": lambda good: Step(content=flipped(good, len(good) - 1)),
    "another-body-of-the-same-length": lambda good: Step(content=noise(len(good), 9)),
}


@pytest.mark.parametrize("key", [ARCHIVE, BINARY])
@pytest.mark.parametrize("good", [SMALL, BIG], ids=["small", "large"])
@pytest.mark.parametrize("has_length", [True, False], ids=["length", "no-length"])
@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_wrong_body_is_never_whole_never_stored_and_told(
    tmp_path: Path, key: str, good: bytes, has_length: bool, attack: str
) -> None:
    async with World(tmp_path) as world:
        resource = world.releases.put(path_of(key), good, has_length=has_length)
        resource.steps = [ATTACKS[attack](good)]
        world.releases.put(path_of(key) + ".sha256", sha256_file(good))
        reply = await world.ask(key)
        if isinstance(reply, Growing):
            await ended(reply)
            assert reply.file.state is FlightState.FAILED
            assert reply.file.sendable <= max(0, reply.file.landed - 65536)
        else:
            assert isinstance(reply, Failed)
            assert reply.status == 502
        await world.settled()
        assert len(world.releases.played) == 1
        assert world.stored(key) is None
        assert world.stored(key + ".sha256") is None
        assert world.log.named("digest-mismatch")[0]["key"] == key
        assert world.partials() == []
        world.clock.move(STALE_HOLD_S + 1)
        reply = await world.ask(key)
        if isinstance(reply, Growing):
            await ended(reply)
        await world.settled()
        assert world.stored_content(key) == good
        assert world.quarantined() == []


async def test_an_endless_body_ends_at_the_limit_and_leaves_nothing(tmp_path: Path) -> None:
    async with World(tmp_path, max_object=1_000_000) as world:
        world.releases.put(path_of(ARCHIVE), noise(8_000_000), has_length=False)
        world.releases.put(path_of(ARCHIVE) + ".sha256", sha256_file(BIG))
        reply = await ended(await world.ask(ARCHIVE))
        assert reply.file.state is FlightState.FAILED
        await world.settled()
        assert world.releases.sent(path_of(ARCHIVE)) <= 1_000_000 + 65536
        assert world.stored(ARCHIVE) is None
        assert world.partials() == []


async def test_a_body_that_claims_less_than_it_sends_is_refused(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        resource = world.releases.put(path_of(ARCHIVE), BIG)
        resource.steps = [Step(fields={"content-length": "1000000"})]
        world.releases.put(path_of(ARCHIVE) + ".sha256", sha256_file(BIG[:1_000_000]))
        reply = await ended(await world.ask(ARCHIVE))
        assert len(world.releases.played) == 1
        assert reply.file.state is FlightState.FAILED
        assert world.stored(ARCHIVE) is None


WRONG_PARTS = {
    "begins-elsewhere": "bytes 600000-1499999/1500000",
    "ends-before-the-end": "bytes 700000-1400000/1500000",
    "of-another-length": "bytes 700000-1499999/1600000",
    "of-another-unit": "lines 700000-1499999/1500000",
    "no-range-at-all": "",
    "end-before-start": "bytes 700000-600000/1500000",
    "two-ranges": "bytes 700000-800000,900000-1499999/1500000",
}


@pytest.mark.parametrize("value", WRONG_PARTS.values(), ids=list(WRONG_PARTS))
async def test_a_206_with_a_wrong_content_range_on_resume_is_not_joined(
    tmp_path: Path, value: str
) -> None:
    async with World(tmp_path) as world:
        world.vouch(path_of(ARCHIVE), sha256(BIG))
        resource = world.releases.put(path_of(ARCHIVE), BIG)
        resource.steps = [Step(cut_at=700_000), Step(fields={"content-range": value})]
        await ended(await world.ask(ARCHIVE))
        await world.settled()
        assert len(world.releases.played) == 2
        assert world.releases.requests[1].fields["Range"] == "bytes=700000-"
        assert world.stored_content(ARCHIVE) == BIG  # by a further, right answer


async def test_a_206_that_joins_other_bytes_is_found_by_the_digest(tmp_path: Path) -> None:
    """Its Content-Range is right; what it carries is not of this representation."""
    async with World(tmp_path) as world:
        world.vouch(path_of(ARCHIVE), sha256(BIG))
        resource = world.releases.put(path_of(ARCHIVE), BIG)
        resource.steps = [Step(cut_at=700_000), Step(content=noise(len(BIG), 5))]
        reply = await ended(await world.ask(ARCHIVE))
        assert len(world.releases.played) == 2
        assert reply.file.state is FlightState.FAILED
        assert world.stored(ARCHIVE) is None
        assert world.log.named("digest-mismatch")


async def test_followers_of_a_wrong_body_are_all_cut_before_its_end(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.vouch(path_of(ARCHIVE), sha256(BIG))
        resource = world.releases.put(path_of(ARCHIVE), BIG)
        resource.steps = [Step(content=flipped(BIG, 3))]
        replies = await asyncio.gather(*(world.ask(ARCHIVE) for _ in range(20)))
        for reply in replies:
            await ended(reply)
            assert isinstance(reply, Growing)
            assert reply.file.sendable == len(BIG) - 65536
        assert len(world.releases.played) == 1
