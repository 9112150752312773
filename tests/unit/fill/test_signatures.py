"""Archives that need a signature of their own: checked in the same pass, before they are whole."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mirror.fill.messages import Failed, FlightState, Purpose, StoredAnswer
from mirror.fill.outcomes import STALE_HOLD_S
from mirror.fill.replies import Growing, PassThrough, Reply
from mirror.fill.signatures import SignatureMismatchError
from mirror.simulator.openpgp_signer import Signer
from tests.unit.fill.keeper_world import START, World, ended, inline, noise, sha256, sha256_file
from tests.unit.fill.scripted_pool import Step
from tests.unit.fill.signed_world import (
    KEY_PATH,
    RELEASE,
    flipped,
    signature,
    signed_world,
    signer,
)

DATED = "releases:/dist/2026-01-01/rustc-1.95.0-x86_64-unknown-linux-gnu.tar.xz"
LEGACY = "releases:/dist/2016-01-01/rustc-1.5.0-x86_64-unknown-linux-gnu.tar.gz"
LEGACY_UNDATED = "releases:/dist/rustc-1.5.0-x86_64-unknown-linux-gnu.tar.gz"
UNDATED = "releases:/dist/rustc-1.95.0-x86_64-unknown-linux-gnu.tar.xz"
NIGHTLY = "releases:/dist/rustc-nightly-x86_64-unknown-linux-gnu.tar.xz"
V1 = "releases:/dist/channel-rust-stable"
SMALL = noise(3000)
BIG = noise(2_000_000)
SIZES = pytest.mark.parametrize("content", [SMALL, BIG], ids=["small", "large"])


def path_of(key: str) -> str:
    return key.partition(":")[2]


def weak_signature(content: bytes, by: str = RELEASE) -> bytes:
    return signer(by).detached_signature([content], int(START), hash_name="sha1")


def publish(world: World, key: str, content: bytes, asc: bytes | None) -> None:
    world.releases.put(path_of(key), content)
    world.releases.put(path_of(key) + ".sha256", sha256_file(content))
    if asc is not None:
        world.releases.put(path_of(key) + ".asc", asc)


async def failed(world: World, reply: Reply) -> bool:
    """Whether the reply failed, and the last 64 KiB of its body never became sendable."""
    await world.settled()
    if isinstance(reply, Growing):
        await ended(reply)
        assert reply.file.sendable <= len(BIG) - 65536
        return reply.file.state is FlightState.FAILED
    return isinstance(reply, Failed) and reply.status == 502


@SIZES
@pytest.mark.parametrize("key", [DATED, UNDATED, NIGHTLY])
async def test_a_signed_archive_is_published_with_its_signature_as_the_proof(
    tmp_path: Path, key: str, content: bytes
) -> None:
    async with signed_world(tmp_path, "archive") as world:
        publish(world, key, content, signature(content))
        reply = await world.ask(key)
        if isinstance(reply, Growing):
            await ended(reply)
        await world.settled()
        stored = world.stored(key)
        assert stored is not None
        entry = stored.entry
        assert (entry.proof, entry.voucher) == ("signature", signer(RELEASE).fingerprint)
        assert world.stored_content(key + ".asc") == signature(content)
        assert world.releases.sent(path_of(key)) == len(content)


@SIZES
async def test_an_archive_signed_by_another_key_is_refused(tmp_path: Path, content: bytes) -> None:
    async with signed_world(tmp_path, "archive") as world:
        publish(world, DATED, content, signature(content, "somebody else"))
        assert await failed(world, await world.ask(DATED))
        assert world.stored(DATED) is None
        assert path_of(DATED) not in world.releases.paths()  # told before a byte was fetched
        assert world.log.named("signature-mismatch")[0]["key"] == DATED


@SIZES
async def test_an_archive_with_the_signature_of_another_archive_is_refused_and_quarantined(
    tmp_path: Path, content: bytes
) -> None:
    async with signed_world(tmp_path, "archive") as world:
        publish(world, DATED, content, signature(b"another archive"))
        assert await failed(world, await world.ask(DATED))
        assert world.stored(DATED) is None
        assert world.stored(DATED + ".asc") is None
        assert world.log.named("signature-mismatch")
        assert [path.read_bytes() for path in world.quarantined()] == [content]
        assert world.partials() == []
        world.clock.move(STALE_HOLD_S + 1)
        publish(world, DATED, content, signature(content))
        reply = await world.ask(DATED)
        if isinstance(reply, Growing):
            await ended(reply)
        await world.settled()
        assert world.stored_content(DATED) == content
        assert world.quarantined() == []


async def test_a_manifest_of_an_attacker_who_has_not_the_key_is_not_enough(tmp_path: Path) -> None:
    """Replaced archive, replaced `.sha256`; the signature is what cannot be replaced."""
    async with signed_world(tmp_path, "archive") as world:
        publish(world, DATED, flipped(BIG, 1_000_000), signature(BIG))
        assert await failed(world, await world.ask(DATED))
        assert world.stored(DATED) is None


async def test_an_archive_without_a_signature_is_refused(tmp_path: Path) -> None:
    async with signed_world(tmp_path, "archive") as world:
        publish(world, DATED, SMALL, None)
        assert await failed(world, await world.ask(DATED))
        assert path_of(DATED) not in world.releases.paths()


async def test_a_sha1_signature_proves_nothing(tmp_path: Path) -> None:
    asc = weak_signature(SMALL)
    async with signed_world(tmp_path, "archive") as world:
        publish(world, DATED, SMALL, asc)
        assert await failed(world, await world.ask(DATED))
        assert world.log.named("signature-mismatch")[0]["got"] == "sha1"


@pytest.mark.parametrize("key", [LEGACY, LEGACY_UNDATED])
@pytest.mark.parametrize("form", ["absent", "sha1"])
async def test_a_legacy_archive_has_its_digest_proof_alone(
    tmp_path: Path, key: str, form: str
) -> None:
    asc = {
        "absent": None,
        "sha1": weak_signature(SMALL),
    }[form]
    async with signed_world(tmp_path, "archive") as world:
        publish(world, key, SMALL, asc)
        entry = inline(await world.ask(key)).entry
        assert (entry.proof, entry.voucher.partition("@")[0]) == ("sha256", key + ".sha256")


@pytest.mark.parametrize(
    "asc",
    [
        pytest.param(lambda: signature(b"other bytes"), id="over-other-bytes"),
        pytest.param(lambda: weak_signature(b"other bytes"), id="sha1-over-other-bytes"),
        pytest.param(lambda: signature(SMALL, "somebody else"), id="another-key"),
        pytest.param(lambda: weak_signature(SMALL, "somebody else"), id="another-key-sha1"),
        pytest.param(lambda: b"<html>", id="no-signature-at-all"),
    ],
)
@pytest.mark.parametrize("key", [LEGACY, LEGACY_UNDATED])
async def test_a_legacy_archive_with_a_bad_signature_is_refused_and_the_stored_one_kept(
    tmp_path: Path, key: str, asc: Callable[[], bytes]
) -> None:
    async with signed_world(tmp_path, "archive") as world:
        publish(world, key, SMALL, asc())
        assert await failed(world, await world.ask(key))
        assert world.stored(key) is None
        world.clock.move(STALE_HOLD_S + 1)
        publish(world, key, SMALL, weak_signature(SMALL))
        assert inline(await world.ask(key)).entry.proof == "sha256"
        await world.settled()
        world.clock.move(8 * 86400)
        publish(world, key, SMALL, asc())
        assert isinstance(await world.ask(key, Purpose.REVALIDATE), StoredAnswer)
        await world.settled()
        assert world.stored_content(key) == SMALL


async def test_a_resumed_body_is_checked_from_its_first_byte(tmp_path: Path) -> None:
    async with signed_world(tmp_path, "archive", attempts=1) as world:
        publish(world, DATED, BIG, signature(BIG))
        world.releases.resources[path_of(DATED)].steps = [Step(cut_at=1_200_000)]
        await ended(await world.ask(DATED))
        await world.settled()
        assert len(world.releases.played) == 1
        await world.restart()
        await ended(await world.ask(DATED))
        assert world.releases.requests[-1].fields["Range"].startswith("bytes=1")
        stored = world.stored(DATED)
        assert stored is not None
        assert stored.entry.proof == "signature"


async def test_a_body_that_the_disk_cannot_take_is_checked_as_it_passes(tmp_path: Path) -> None:
    async with signed_world(tmp_path, "archive", budget=1_000_000) as world:
        publish(world, DATED, BIG, signature(BIG))
        publish(world, UNDATED, BIG, signature(b"another archive"))
        assert await passed(await world.ask(DATED)) == len(BIG)
        await world.settled()
        reply = await world.ask(UNDATED)
        with pytest.raises(SignatureMismatchError):
            await passed(reply)
        await world.settled()
        assert world.log.named("signature-mismatch")[0]["key"] == UNDATED


async def passed(reply: Reply) -> int:
    """Read a body that passes through to its end; how long it was."""
    assert isinstance(reply, PassThrough)
    got = 0
    while piece := await reply.source.read():
        got += len(piece)
    return got


async def test_what_is_stored_under_another_name_is_checked_before_it_has_this_one(
    tmp_path: Path,
) -> None:
    async with signed_world(tmp_path, "archive") as world:
        publish(world, DATED, BIG, signature(BIG))
        publish(world, UNDATED, BIG, signature(b"another archive"))
        await ended(await world.ask(DATED))
        await world.settled()
        assert await failed(world, await world.ask(UNDATED))
        assert world.stored(UNDATED) is None
        assert world.stored_content(DATED) == BIG
        world.clock.move(STALE_HOLD_S + 1)
        publish(world, UNDATED, BIG, signature(BIG))
        reply = await world.ask(UNDATED)
        assert isinstance(reply, StoredAnswer)
        assert reply.stored.entry.proof == "signature"
        assert path_of(UNDATED) not in world.releases.paths()


async def test_a_copy_from_before_signatures_were_required_does_not_stand_in(
    tmp_path: Path,
) -> None:
    async with signed_world(tmp_path) as world:
        publish(world, NIGHTLY, SMALL, signature(b"other bytes"))
        assert inline(await world.ask(NIGHTLY)).entry.proof == "sha256"
        await world.settled()
        await world.filler.aclose()
        trust = msgspec.structs.replace(world.config.trust, archive="signature")
        world.config = msgspec.structs.replace(world.config, trust=trust)
        world.start()
        world.clock.move(61)
        assert await failed(world, await world.ask(NIGHTLY, Purpose.REVALIDATE))
        assert world.stored(NIGHTLY) is None


async def test_archives_from_before_signatures_were_required_are_checked_without_a_download(
    tmp_path: Path,
) -> None:
    async with signed_world(tmp_path) as world:
        for key in (DATED, LEGACY):
            publish(world, key, BIG if key == DATED else SMALL, None)
            reply = await world.ask(key)
            if isinstance(reply, Growing):
                await ended(reply)
        await world.settled()
        trust = msgspec.structs.replace(world.config.trust, archive="signature")
        world.config = msgspec.structs.replace(world.config, trust=trust)
        await world.restart()
        await world.filler.reprove()
        assert world.stored(DATED) is None
        assert world.stored(LEGACY) is not None
        assert world.log.named("unsigned-withdrawn")[0]["keys"] == [DATED]
        world.releases.put(path_of(DATED) + ".asc", signature(BIG))
        reply = await world.ask(DATED)
        assert isinstance(reply, StoredAnswer)
        assert reply.stored.entry.proof == "signature"
        assert world.releases.sent(path_of(DATED)) == len(BIG)


async def test_what_only_had_its_form_checked_is_withdrawn_when_a_key_is_pinned(
    tmp_path: Path,
) -> None:
    async with signed_world(tmp_path) as world:
        for key in (DATED, LEGACY):
            publish(world, key, SMALL, signature(b"other bytes"))
            await world.ask(key)
            assert inline(await world.ask(key + ".asc")).entry.proof == "parsed"
        world.releases.put(KEY_PATH, signer("somebody else").public_key())
        await world.ask("releases:" + KEY_PATH)
        await world.settled()
        trust = msgspec.structs.replace(world.config.trust, channel_manifest="signature")
        world.config = msgspec.structs.replace(world.config, trust=trust)
        await world.restart()
        assert world.stored(DATED + ".asc") is None
        assert world.stored("releases:" + KEY_PATH) is None
        assert world.stored(LEGACY + ".asc") is not None
        assert world.stored(DATED) is not None
        world.releases.put(KEY_PATH, signer(RELEASE).public_key())
        assert await failed(world, await world.ask(DATED + ".asc"))


async def test_a_signed_copy_is_confirmed_without_a_signature_being_read_again(
    tmp_path: Path,
) -> None:
    async with signed_world(tmp_path, "archive") as world:
        publish(world, NIGHTLY, SMALL, signature(SMALL))
        await world.ask(NIGHTLY)
        await world.settled()
        world.clock.move(61)
        count = len(world.releases.requests)
        reply = await world.ask(NIGHTLY, Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert world.releases.paths()[count:] == [path_of(NIGHTLY) + ".sha256"]
        assert reply.stored.entry.proof == "signature"


async def test_a_version_1_channel_file_is_no_way_around_a_signed_manifest(
    tmp_path: Path,
) -> None:
    async with signed_world(tmp_path, "channel_manifest") as world:
        publish(world, V1, b"rust-evil.tar.gz\n", signature(b"rust-1.95.0.tar.gz\n"))
        assert await failed(world, await world.ask(V1))
        assert world.stored(V1) is None
        world.clock.move(STALE_HOLD_S + 1)
        good = b"rust-1.95.0.tar.gz\n"
        publish(world, V1, good, signature(good))
        assert inline(await world.ask(V1)).entry.proof == "signature"


async def test_a_version_1_channel_file_must_agree_with_its_digest(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, V1, b"rust-1.95.0.tar.gz\n", None)
        resource = world.releases.resources[path_of(V1)]
        resource.steps = [Step(content=b"<html>200 with an error page</html>")]
        assert await failed(world, await world.ask(V1))
        assert len(world.releases.played) == 1
        world.clock.move(STALE_HOLD_S + 1)
        entry = inline(await world.ask(V1)).entry
        assert (entry.proof, entry.digest) == ("sha256", sha256(b"rust-1.95.0.tar.gz\n"))


async def test_a_signed_fill_of_48_mib_holds_less_than_30(tmp_path: Path) -> None:
    body = noise(48 << 20)
    asc = signature(body)
    async with signed_world(tmp_path, "archive") as world:
        publish(world, DATED, body, asc)
        tracemalloc.start()
        try:
            reply = await ended(await world.ask(DATED))
            await world.settled()
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert reply.file.state is FlightState.VERIFIED
        assert peak_bytes < 30 << 20


async def test_a_fill_that_is_cancelled_while_it_is_checked_publishes_nothing(
    tmp_path: Path,
) -> None:
    async with signed_world(tmp_path, "archive") as world:
        publish(world, DATED, BIG, signature(BIG))
        gate = asyncio.Event()
        world.releases.resources[path_of(DATED)].steps = [Step(body_gate=gate, gate_at=1_000_000)]
        reply = await world.ask(DATED)
        assert isinstance(reply, Growing)
        await world.restart()
        assert reply.file.state is FlightState.FAILED
        assert world.stored(DATED) is None


def test_the_signer_of_the_tests_is_the_simulators() -> None:
    assert isinstance(signer(RELEASE), Signer)
