"""`.sha256` and `.asc` files are answered when they agree with their subjects, never else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.fill.messages import Failed, Purpose, StoredAnswer
from mirror.fill.outcomes import STALE_HOLD_S
from mirror.fill.replies import Growing, PassThrough, Reply
from tests.unit.fill.keeper_world import (
    START,
    World,
    ended,
    inline,
    noise,
    sha256,
    sha256_file,
)
from tests.unit.fill.scripted_pool import Step
from tests.unit.fill.signed_world import (
    KEY_PATH,
    RELEASE,
    flipped,
    sampled,
    signature,
    signed_world,
    signer,
)

DATED = "releases:/dist/2026-01-01/rustc-1.95.0-x86_64-unknown-linux-gnu.tar.xz"
LEGACY = "releases:/dist/2016-01-01/rustc-1.5.0-x86_64-unknown-linux-gnu.tar.gz"
NIGHTLY = "releases:/dist/rustc-nightly-x86_64-unknown-linux-gnu.tar.xz"
BINARY = "releases:/rustup/archive/1.29.0/x86_64-unknown-linux-gnu/rustup-init"
V1 = "releases:/dist/channel-rust-stable"
SUBJECTS = [DATED, NIGHTLY, BINARY, V1]
BODY = noise(3000)
BIG = noise(700_000)


def path_of(key: str) -> str:
    return key.partition(":")[2]


def publish(world: World, key: str, content: bytes, *, by: str = "release") -> None:
    world.releases.put(path_of(key), content)
    world.releases.put(path_of(key) + ".sha256", sha256_file(content))
    if not key.startswith("releases:/rustup"):
        world.releases.put(path_of(key) + ".asc", signature(content, by))


def refused(reply: Reply) -> bool:
    return isinstance(reply, Failed) and reply.status == 502


@pytest.mark.parametrize("key", SUBJECTS)
async def test_a_digest_file_is_answered_once_it_agrees_with_its_subject(
    tmp_path: Path, key: str
) -> None:
    async with World(tmp_path) as world:
        publish(world, key, BODY)
        reply = inline(await world.ask(key + ".sha256"))
        assert reply.content == sha256_file(BODY)
        assert (reply.entry.proof, reply.entry.voucher) == ("agrees", f"{key}@{sha256(BODY).hex()}")
        await world.settled()
        assert world.stored_content(key) == BODY  # whoever asks for the proof asks for it next
        assert world.releases.sent(path_of(key)) == len(BODY)


@pytest.mark.parametrize("key", [DATED, BINARY])
async def test_a_flipped_byte_in_a_digest_file_is_refused_wherever_it_is(
    tmp_path: Path, key: str
) -> None:
    """Behind the digest and its blank nothing is compared (the file's name is not), and a digit's
    case does not matter: there the content is as good as before."""
    good = sha256_file(BODY)
    async with World(tmp_path) as world:
        publish(world, key, BODY)
        await world.ask(key)
        await world.settled()
        await world.filler._desk.withdraw([key + ".sha256"])
        resource = world.releases.resources[path_of(key) + ".sha256"]
        for at in range(64):
            resource.steps = [Step(content=flipped(good, at))]
            reply = await world.ask(key + ".sha256")
            assert refused(reply), at
            assert world.stored(key + ".sha256") is None
            world.clock.move(STALE_HOLD_S + 1)
        assert len(world.releases.played) == 64
        told = world.log.named("proof-refused") + world.log.named("content-refused")
        assert len(told) == 64  # one flip makes a digit that is none
        assert inline(await world.ask(key + ".sha256")).content == good


@pytest.mark.parametrize("key", [NIGHTLY, V1])
async def test_a_flipped_byte_in_a_moving_digest_file_never_replaces_the_good_one(
    tmp_path: Path, key: str
) -> None:
    """The subject is looked at again first, and brings the good one along."""
    good = sha256_file(BODY)
    async with World(tmp_path) as world:
        publish(world, key, BODY)
        await world.ask(key)
        await world.settled()
        for at in range(0, 64, 9):
            world.clock.move(61)
            resource = world.releases.resources[path_of(key) + ".sha256"]
            resource.steps = [Step(content=flipped(good, at), fields={"etag": f'"{at}"'})]
            resource.etag = f'"after {at}"'
            reply = await world.ask(key + ".sha256", Purpose.REVALIDATE)
            assert isinstance(reply, StoredAnswer)
            assert reply.is_stale
            await world.settled()
            assert world.stored_content(key + ".sha256") == good
        assert len(world.log.named("proof-refused")) == len(world.releases.played) == 8


async def test_a_wrong_digest_file_and_its_subject_heal_when_the_good_one_arrives(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, BODY)
        world.releases.resources[path_of(DATED) + ".sha256"].content = sha256_file(b"another")
        assert refused(await world.ask(DATED))
        assert refused(await world.ask(DATED + ".sha256"))
        await world.settled()
        assert world.stored(DATED) is None
        assert world.stored(DATED + ".sha256") is None
        assert world.quarantined()
        world.clock.move(STALE_HOLD_S + 1)
        world.releases.put(path_of(DATED) + ".sha256", sha256_file(BODY))
        assert inline(await world.ask(DATED)).content == BODY
        await world.settled()
        assert world.stored_content(DATED + ".sha256") == sha256_file(BODY)
        assert world.quarantined() == []


async def test_a_digest_file_is_compared_with_the_manifest_without_the_body(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, BODY)
        world.vouch(path_of(DATED), sha256(BODY))
        assert inline(await world.ask(DATED + ".sha256")).entry.proof == "agrees"
        assert path_of(DATED) not in world.releases.paths()


async def test_a_digest_file_against_the_manifest_is_refused_whatever_the_body_is(
    tmp_path: Path,
) -> None:
    """An attacker who replaces an archive replaces its `.sha256` too."""
    async with World(tmp_path) as world:
        publish(world, DATED, b"replaced")
        world.vouch(path_of(DATED), sha256(BODY))
        assert refused(await world.ask(DATED + ".sha256"))
        assert world.log.named("proof-refused")[0]["expected"] == sha256(BODY).hex()
        assert world.stored(DATED + ".sha256") is None


@pytest.mark.parametrize("suffix", [".sha256", ".asc"])
async def test_a_proof_of_nothing_is_not_passed_on(tmp_path: Path, suffix: str) -> None:
    async with signed_world(tmp_path, "archive") as world:
        publish(world, DATED, BODY)
        del world.releases.resources[path_of(DATED)]
        assert refused(await world.ask(DATED + suffix))
        assert world.stored(DATED + suffix) is None


@pytest.mark.parametrize("suffix", [".sha256", ".asc"])
async def test_an_absent_proof_is_absent(tmp_path: Path, suffix: str) -> None:
    async with World(tmp_path) as world:
        world.releases.put(path_of(DATED), BODY)
        reply = await world.ask(DATED + suffix)
        assert isinstance(reply, StoredAnswer)
        assert reply.stored.entry.status == 404


async def test_a_proof_that_agreed_is_a_hit_for_ever_when_it_is_dated(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, BODY)
        await world.ask(DATED)
        await world.settled()
        count = len(world.releases.requests)
        reply = await world.ask(DATED + ".sha256")
        assert isinstance(reply, StoredAnswer)
        assert reply.outcome == "hit"
        assert len(world.releases.requests) == count


async def test_a_moving_proof_brings_its_subject_along(tmp_path: Path) -> None:
    """The stored night is over: the proof of the next is no disagreement."""
    async with World(tmp_path) as world:
        publish(world, NIGHTLY, BODY)
        await world.ask(NIGHTLY)
        await world.settled()
        world.clock.move(61)
        publish(world, NIGHTLY, BIG)
        reply = inline(await world.ask(NIGHTLY + ".sha256", Purpose.REVALIDATE))
        assert reply.content == sha256_file(BIG)
        await world.settled()
        assert world.stored_content(NIGHTLY) == BIG
        assert world.log.named("proof-refused") == []


async def test_a_moving_proof_is_confirmed_by_one_conditional_request(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, NIGHTLY, BODY)
        await world.ask(NIGHTLY)
        await world.settled()
        world.clock.move(61)
        count = len(world.releases.requests)
        reply = await world.ask(NIGHTLY + ".sha256", Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert not reply.is_stale
        assert [request.status for request in world.releases.requests[count:]] == [304]


async def test_a_stored_proof_serves_as_stale_while_upstream_is_away(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, NIGHTLY, BODY)
        await world.ask(NIGHTLY)
        await world.settled()
        world.clock.move(61)
        world.releases.outage = "status 503"
        reply = await world.ask(NIGHTLY + ".sha256", Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert reply.is_stale


async def test_body_and_proof_asked_for_at_once_wait_for_neither(tmp_path: Path) -> None:
    async with signed_world(tmp_path, "archive", "channel_manifest") as world:
        publish(world, DATED, BIG)
        gate = asyncio.Event()
        world.releases.resources[path_of(DATED)].steps = [Step(body_gate=gate, gate_at=1000)]
        keys = [DATED + ".asc", DATED + ".sha256", DATED] * 5
        asked = [asyncio.create_task(world.ask(key)) for key in keys]
        async with asyncio.timeout(20):
            while not world.releases.sent(path_of(DATED)):
                await asyncio.sleep(0.001)
            gate.set()
            replies = await asyncio.gather(*asked)
        assert not [reply for reply in replies if isinstance(reply, Failed)]
        for reply in replies:
            if isinstance(reply, Growing):
                await ended(reply)
        assert world.releases.sent(path_of(DATED)) == len(BIG)


@pytest.mark.parametrize("key", [DATED, NIGHTLY, V1])
@pytest.mark.parametrize("content", [BODY, BIG], ids=["small", "large"])
async def test_a_signature_is_checked_over_the_bytes_of_its_subject(
    tmp_path: Path, key: str, content: bytes
) -> None:
    async with signed_world(tmp_path, "channel_manifest") as world:
        publish(world, key, content)
        reply = inline(await world.ask(key + ".asc"))
        assert reply.content == signature(content)
        assert reply.entry.proof == "agrees"
        assert reply.entry.voucher == f"{key}@{sha256(content).hex()}"


async def test_a_signature_over_another_archive_is_refused(tmp_path: Path) -> None:
    async with signed_world(tmp_path, "channel_manifest") as world:
        publish(world, DATED, BODY)
        world.releases.put(path_of(DATED) + ".asc", signature(BIG))
        assert refused(await world.ask(DATED + ".asc"))
        assert world.stored(DATED + ".asc") is None
        assert world.log.named("proof-refused")[0]["key"] == DATED + ".asc"
        assert inline(await world.ask(DATED)).content == BODY  # its digest is another matter
        world.clock.move(STALE_HOLD_S + 1)
        world.releases.put(path_of(DATED) + ".asc", signature(BODY))
        assert inline(await world.ask(DATED + ".asc")).entry.proof == "agrees"


async def test_a_signature_by_another_key_is_refused(tmp_path: Path) -> None:
    async with signed_world(tmp_path, "channel_manifest") as world:
        publish(world, DATED, BODY, by="somebody else")
        assert refused(await world.ask(DATED + ".asc"))
        assert world.stored(DATED + ".asc") is None


async def test_a_signature_by_another_key_over_a_legacy_release_is_refused_too(
    tmp_path: Path,
) -> None:
    async with signed_world(tmp_path, "channel_manifest") as world:
        publish(world, LEGACY, BODY, by="somebody else")
        assert refused(await world.ask(LEGACY + ".asc"))
        assert world.stored(LEGACY + ".asc") is None


async def test_a_sha1_signature_over_a_legacy_release_is_passed_on_unproved_if_it_is_good(
    tmp_path: Path,
) -> None:
    async with signed_world(tmp_path, "channel_manifest") as world:
        publish(world, LEGACY, BODY)
        key = signer(RELEASE)
        weak = [key.detached_signature([b], int(START), hash_name="sha1") for b in (BODY, BIG)]
        world.releases.put(path_of(LEGACY) + ".asc", weak[1])
        assert refused(await world.ask(LEGACY + ".asc"))
        world.clock.move(STALE_HOLD_S + 1)
        world.releases.put(path_of(LEGACY) + ".asc", weak[0])
        entry = inline(await world.ask(LEGACY + ".asc")).entry
        assert (entry.proof, entry.voucher) == ("parsed", "")


async def test_a_flipped_byte_in_a_signature_is_refused_or_harmless(tmp_path: Path) -> None:
    """What is not covered (a blank, an unhashed hint) may change; then the signature still is one
    over these bytes by this key, and a client that checks it comes to the same verdict."""
    good = signature(BODY)
    async with signed_world(tmp_path, "channel_manifest") as world:
        publish(world, DATED, BODY)
        await world.ask(DATED)
        await world.settled()
        resource = world.releases.resources[path_of(DATED) + ".asc"]
        offsets = list(sampled(good, 60))
        answered = 0
        for at in offsets:
            resource.steps = [Step(content=flipped(good, at))]
            reply = await world.ask(DATED + ".asc")
            if refused(reply):
                assert world.stored(DATED + ".asc") is None
            else:
                answered += 1
                assert inline(reply).entry.proof == "agrees"
                await world.settled()
                await world.filler._desk.withdraw([DATED + ".asc"])
            world.clock.move(STALE_HOLD_S + 1)
        assert len(world.releases.played) == len(offsets)
        assert answered <= 3


async def test_without_a_pinned_key_a_signature_is_checked_for_its_form(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, BODY, by="a private tree")
        assert inline(await world.ask(DATED + ".asc")).entry.proof == "parsed"
        world.releases.put(path_of(NIGHTLY) + ".asc", b"<html>error</html>")
        assert refused(await world.ask(NIGHTLY + ".asc"))
        assert KEY_PATH not in world.releases.paths()


async def test_without_the_key_a_signature_waits_for_it(tmp_path: Path) -> None:
    async with signed_world(tmp_path, "channel_manifest") as world:
        publish(world, DATED, BODY)
        del world.releases.resources[KEY_PATH]
        reply = await world.ask(DATED + ".asc")
        assert isinstance(reply, Failed)
        assert reply.status == 503
        assert "release key" in reply.reason


async def test_cancelled_askers_leave_the_proof_to_be_stored(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, DATED, BIG)
        gate = asyncio.Event()
        world.releases.resources[path_of(DATED)].steps = [Step(body_gate=gate, gate_at=1000)]
        asking = asyncio.create_task(world.ask(DATED + ".sha256"))
        async with asyncio.timeout(10):
            while not world.releases.sent(path_of(DATED)):
                await asyncio.sleep(0.001)
        asking.cancel()
        await asyncio.wait([asking])
        gate.set()
        await world.settled()
        assert world.stored_content(DATED + ".sha256") == sha256_file(BIG)


async def test_a_body_whose_reader_leaves_before_its_end_proves_nothing(tmp_path: Path) -> None:
    async with World(tmp_path, budget=400_000) as world:
        publish(world, BINARY, BIG)
        world.releases.put(path_of(BINARY) + ".sha256", sha256_file(b"another"))
        reply = await world.ask(BINARY)
        assert isinstance(reply, PassThrough)
        assert await reply.source.read()
        reply.source.close()
        await world.settled()
        assert world.stored(BINARY + ".sha256") is None


async def test_a_proof_of_a_body_that_the_disk_cannot_take_is_compared_as_it_passes(
    tmp_path: Path,
) -> None:
    async with World(tmp_path, budget=400_000) as world:
        publish(world, BINARY, BIG)
        assert inline(await world.ask(BINARY + ".sha256")).entry.proof == "agrees"
        await world.settled()
        assert world.stored(BINARY) is None


@pytest.mark.parametrize("signed", [BIG, BIG[:-1]], ids=["good", "bad"])
async def test_a_signature_of_a_body_that_the_disk_cannot_take_is_checked_as_it_passes(
    tmp_path: Path, signed: bytes
) -> None:
    async with signed_world(tmp_path, "channel_manifest", budget=400_000) as world:
        publish(world, NIGHTLY, BIG)
        world.releases.put(path_of(NIGHTLY) + ".asc", signature(signed))
        reply = await world.ask(NIGHTLY + ".asc")
        if signed is BIG:
            assert inline(reply).entry.proof == "agrees"
        else:
            assert refused(reply)
        await world.settled()
        assert world.stored(NIGHTLY) is None
        assert world.releases.paths().count(path_of(NIGHTLY)) <= 2
