"""Archives and rustup binaries: the digest first, then the body, never anything unverified."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from mirror.errors import StoreError
from mirror.fill.blobs import Blobs
from mirror.fill.expected import Expected, ExpectedDigests
from mirror.fill.messages import Failed, FlightState, Purpose, StoredAnswer
from mirror.fill.outcomes import STALE_HOLD_S
from mirror.fill.replies import Growing
from mirror.route.match import route_of_key
from mirror.route.route import Route
from tests.unit.fill.keeper_world import START, World, ended, inline, noise, sha256, sha256_file
from tests.unit.fill.scripted_pool import Step

DATED = "releases:/dist/2026-01-01/rustc-1.95.0-x86_64-unknown-linux-gnu.tar.xz"
UNDATED = "releases:/dist/rustc-1.95.0-x86_64-unknown-linux-gnu.tar.xz"
NIGHTLY = "releases:/dist/rustc-nightly-x86_64-unknown-linux-gnu.tar.xz"
BINARY = "releases:/rustup/dist/x86_64-unknown-linux-gnu/rustup-init"
BIG = noise(2_000_000)
SMALL = noise(1000)


def path_of(key: str) -> str:
    return key.partition(":")[2]


def publish(world: World, key: str, content: bytes) -> None:
    world.releases.put(path_of(key), content)
    world.releases.put(path_of(key) + ".sha256", sha256_file(content))


async def test_a_large_body_grows_and_is_published(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, BIG)
        reply = await ended(await world.ask(DATED))
        assert reply.file.state is FlightState.VERIFIED
        assert reply.file.stored == world.stored(DATED)
        assert world.stored_content(DATED) == BIG
        assert world.releases.sent(path_of(DATED)) == len(BIG)
        await world.settled()
        assert world.partials() == []
        again = await world.ask(DATED)
        assert isinstance(again, StoredAnswer)
        assert again.outcome == "hit"


async def test_a_small_body_is_verified_before_its_first_byte(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, SMALL)
        assert inline(await world.ask(DATED)).content == SMALL
        await world.settled()
        assert world.stored_content(DATED) == SMALL


async def test_an_empty_body_is_a_body(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, b"")
        assert inline(await world.ask(DATED)).content == b""
        await world.settled()
        assert world.stored_content(DATED) == b""


async def test_fifty_asks_cost_upstream_one_object(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, BIG)
        replies = await asyncio.gather(*(world.ask(DATED) for _ in range(50)))
        files = {reply.file for reply in replies if isinstance(reply, Growing)}
        assert len(files) == 1
        assert sum(reply.collapsed for reply in replies if isinstance(reply, Growing)) == 49
        await ended(replies[0])
        assert world.releases.sent(path_of(DATED)) == len(BIG)


async def test_the_end_of_a_body_is_withheld_until_its_digest_agrees(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, BIG)
        gate = asyncio.Event()
        resource = world.releases.resources[path_of(DATED)]
        resource.steps = [Step(body_gate=gate, gate_at=len(BIG) - 1)]
        reply = await world.ask(DATED)
        assert isinstance(reply, Growing)
        async with asyncio.timeout(10):
            while reply.file.landed < len(BIG) - 1:
                await asyncio.sleep(0.001)
        assert reply.file.sendable == len(BIG) - 65536
        assert Path(reply.file.path).read_bytes() == BIG[:-1]
        gate.set()
        assert (await ended(reply)).file.sendable == len(BIG)


async def test_a_body_of_unknown_length_withholds_its_newest_bytes(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, BIG)
        gate = asyncio.Event()
        resource = world.releases.resources[path_of(DATED)]
        resource.has_length = False
        resource.steps = [Step(body_gate=gate, gate_at=1_000_000)]
        reply = await world.ask(DATED)
        assert isinstance(reply, Growing)
        assert reply.file.length == -1
        async with asyncio.timeout(10):
            while reply.file.landed < 1_000_000:
                await asyncio.sleep(0.001)
        assert reply.file.sendable == 1_000_000 - 65536
        gate.set()
        await ended(reply)
        assert reply.file.length == len(BIG)
        assert world.stored_content(DATED) == BIG


@pytest.mark.parametrize("content", [BIG, SMALL], ids=["large", "small"])
async def test_a_wrong_digest_publishes_nothing_and_is_an_event(
    tmp_path: Path, content: bytes
) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, content)
        wrong = content[:-1] + b"!"
        world.releases.resources[path_of(DATED)].steps = [Step(content=wrong)]
        reply = await world.ask(DATED)
        if isinstance(reply, Growing):
            await ended(reply)
            assert reply.file.state is FlightState.FAILED
            assert reply.file.sendable <= len(content) - 65536
        else:
            assert isinstance(reply, Failed)
            assert reply.status == 502
        await world.settled()
        assert len(world.releases.played) == 1
        assert world.stored(DATED) is None
        event = world.log.named("digest-mismatch")[0]
        assert event == {
            "key": DATED,
            "expected": sha256(content).hex(),
            "got": sha256(wrong).hex(),
        }
        assert [path.read_bytes() for path in world.quarantined()] == [wrong]
        assert world.partials() == []
        assert world.store.used_bytes == 0  # nor its `.sha256`: one of the two is wrong


async def test_after_a_wrong_digest_upstream_rests_and_then_gets_another_chance(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, SMALL)
        world.releases.resources[path_of(DATED)].steps = [Step(content=SMALL + b"!")]
        assert isinstance(await world.ask(DATED), Failed)
        await world.settled()
        count = len(world.releases.requests)
        assert isinstance(await world.ask(DATED), Failed)
        assert len(world.releases.requests) == count
        world.clock.move(10)
        assert inline(await world.ask(DATED)).content == SMALL
        # The proof was asked about again: it could have been the wrong one.
        assert world.releases.paths()[count:] == [path_of(DATED) + ".sha256", path_of(DATED)]


async def test_a_manifest_hash_needs_no_proof_request(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.releases.put(path_of(DATED), SMALL)
        world.vouch(path_of(DATED), sha256(SMALL))
        assert inline(await world.ask(DATED)).entry.proof == "manifest"
        assert world.releases.paths() == [path_of(DATED)]


async def test_a_manifest_hash_counts_more_than_the_proof_beside(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, b"replaced")
        world.vouch(path_of(DATED), sha256(SMALL))
        assert isinstance(await world.ask(DATED), Failed)
        assert world.log.named("digest-mismatch")


async def test_an_absent_archive_is_absent(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        reply = await world.ask(DATED)
        assert isinstance(reply, StoredAnswer)
        assert reply.stored.entry.status == 404
        assert world.releases.paths()[1:] == [path_of(DATED) + ".sha256", path_of(DATED)]


async def test_an_archive_without_a_stated_digest_is_502(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.releases.put(path_of(DATED), BIG)
        reply = await world.ask(DATED)
        assert isinstance(reply, Failed)
        assert reply.status == 502
        assert world.releases.sent(path_of(DATED)) == 0


async def test_a_stated_digest_without_an_archive_is_absent(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.releases.put(path_of(DATED) + ".sha256", sha256_file(SMALL))
        reply = await world.ask(DATED)
        assert isinstance(reply, StoredAnswer)
        assert reply.stored.entry.status == 404


@pytest.mark.parametrize("key", [DATED, UNDATED, NIGHTLY, BINARY])
async def test_upstream_trouble_never_becomes_404(tmp_path: Path, key: str) -> None:
    async with World(tmp_path) as world:
        publish(world, key, SMALL)
        world.releases.outage = "status 503"
        reply = await world.ask(key)
        assert isinstance(reply, Failed)
        assert reply.status == 503


async def test_a_moving_archive_is_confirmed_by_its_proof_alone(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, NIGHTLY, SMALL)
        await world.ask(NIGHTLY)
        await world.settled()
        world.clock.move(61)
        reply = await world.ask(NIGHTLY, Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert not reply.is_stale
        assert world.releases.paths()[2:] == [path_of(NIGHTLY) + ".sha256"]
        await world.settled()
        stored = world.stored(NIGHTLY)
        assert stored is not None
        assert stored.entry.fresh_until == world.clock.now() + 60


async def test_a_moving_archive_follows_its_proof(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, BINARY, SMALL)
        await world.ask(BINARY)
        await world.settled()
        world.clock.move(61)
        publish(world, BINARY, SMALL * 2)
        reply = inline(await world.ask(BINARY, Purpose.REVALIDATE))
        assert (reply.content, reply.outcome) == (SMALL * 2, "fwd=stale; fwd-status=200; stored")


async def test_a_moving_archive_is_stale_while_upstream_is_away(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, NIGHTLY, SMALL)
        await world.ask(NIGHTLY)
        await world.settled()
        world.clock.move(61)
        world.releases.outage = "status 502"
        reply = await world.ask(NIGHTLY, Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert reply.is_stale


async def test_a_moving_archive_that_is_skewed_upstream_stays_as_it_was(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, NIGHTLY, SMALL)
        await world.ask(NIGHTLY)
        await world.settled()
        world.clock.move(61)
        world.releases.put(path_of(NIGHTLY) + ".sha256", sha256_file(b"the next night"))
        reply = await world.ask(NIGHTLY, Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert reply.is_stale
        assert reply.stored.entry.digest == sha256(SMALL)
        assert world.log.named("digest-mismatch")


async def test_a_blob_under_its_dated_name_is_adopted_without_a_download(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, BIG)
        publish(world, UNDATED, BIG)
        await ended(await world.ask(DATED))
        await world.settled()
        reply = await world.ask(UNDATED)
        assert isinstance(reply, StoredAnswer)
        assert reply.stored.entry.length == len(BIG)
        assert path_of(UNDATED) not in world.releases.paths()


async def test_an_attested_file_is_hashed_and_served_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, SMALL)
        await world.ask(DATED)
        await world.settled()
        blob = Path(world.store.blob_path(sha256(SMALL)))
        blob.chmod(0o600)  # moves its ctime
        reply = await world.ask(DATED, Purpose.ATTEST)
        assert isinstance(reply, StoredAnswer)
        stored = world.stored(DATED)
        assert stored is not None
        assert world.filler._desk.is_intact(stored)


async def test_a_rotten_file_is_quarantined_and_fetched_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, SMALL)
        await world.ask(DATED)
        await world.settled()
        blob = Path(world.store.blob_path(sha256(SMALL)))
        blob.chmod(0o600)
        blob.write_bytes(SMALL[:-1] + b"!")
        reply = inline(await world.ask(DATED, Purpose.ATTEST))
        assert reply.content == SMALL
        await world.settled()
        assert world.stored_content(DATED) == SMALL
        assert world.log.named("quarantine-cleared")  # the good object came


async def test_a_body_over_the_limit_of_an_object_is_refused(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, BINARY, SMALL)
        world.releases.resources[path_of(BINARY)].steps = [
            Step(fields={"content-length": str(1 << 40)})
        ]
        reply = await world.ask(BINARY)
        assert isinstance(reply, Failed)
        assert len(world.releases.played) == 1


async def test_a_mismatch_is_held_off_longer_than_trouble_without_a_copy(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, SMALL)
        world.releases.resources[path_of(DATED)].steps = [Step(content=SMALL + b"!")]
        await world.ask(DATED)
        await world.settled()
        count = len(world.releases.requests)
        world.clock.move(STALE_HOLD_S - 0.5)
        reply = await world.ask(DATED)
        assert isinstance(reply, Failed)
        assert reply.status == 502
        assert len(world.releases.requests) == count


class UnshakableProof:
    """States a wrong digest, and cannot note that it is doubted."""

    async def find(self, route: Route) -> Expected:
        return Expected(digest=sha256(b"x"), proof="sha256", confirmed_at=START, is_stale=False)

    async def distrust(self, route: Route) -> None:
        raise StoreError("index", "disk full")


async def test_a_mismatch_serves_the_stored_copy_though_the_store_fails(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, NIGHTLY, SMALL)
        await world.ask(NIGHTLY)
        await world.settled()
        proof = cast(ExpectedDigests, UnshakableProof())
        ready = world.filler._procedures.blobs
        blobs = Blobs(ready._parts, proof, ready._signatures)
        route = route_of_key(NIGHTLY)
        assert route is not None
        flights = world.filler._flights
        flight = flights.launch(NIGHTLY, (NIGHTLY,), lambda flight: blobs.fill(flight, route))
        reply = (await flight.replies())[NIGHTLY]
        assert isinstance(reply, StoredAnswer)
        assert reply.is_stale
        assert world.log.named("not-distrusted")
