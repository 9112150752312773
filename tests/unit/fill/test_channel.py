"""A channel's three files move as one generation, or not at all."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import cast

import pytest

from mirror.fill.messages import Failed, Purpose, StoredAnswer
from mirror.fill.replies import Reply
from tests.unit.fill.keeper_world import World, inline, noise, sha256, sha256_file
from tests.unit.fill.scripted_pool import Step

BASE = "/dist/channel-rust-stable.toml"
DATED = "/dist/2026-01-22/channel-rust-stable.toml"
ARMOUR = b"-----BEGIN PGP SIGNATURE-----\nxx\n-----END PGP SIGNATURE-----\n"
ARCHIVE = "/dist/2026-01-22/rustc-1.95.0-x86_64-unknown-linux-gnu.tar.xz"
BODY = noise(3000)


def manifest(version: str) -> bytes:
    return (
        f'manifest-version = "2"\ndate = "2026-01-22"\n[pkg.rustc]\nversion = "{version}"\n'
        f"[pkg.rustc.target.x86_64-unknown-linux-gnu]\navailable = true\n"
        f'xz_url = "https://static.rust-lang.org{ARCHIVE}"\nxz_hash = "{sha256(BODY).hex()}"\n'
    ).encode()


ONE, TWO = manifest("1.95.0"), manifest("1.96.0")


def publish(world: World, content: bytes, base: str = BASE, *, is_signed: bool = True) -> None:
    world.releases.put(base, content)
    world.releases.put(base + ".sha256", sha256_file(content))
    if is_signed:
        world.releases.put(base + ".asc", ARMOUR + sha256(content).hex().encode())


def key(suffix: str = "", base: str = BASE) -> str:
    return f"releases:{base}{suffix}"


def digest(reply: Reply) -> bytes:
    assert isinstance(reply, StoredAnswer)
    return reply.stored.entry.digest


async def test_one_ask_brings_the_whole_generation(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE)
        assert inline(await world.ask(key(".sha256"))).content == sha256_file(ONE)
        await world.settled()
        for suffix in ("", ".sha256", ".asc"):
            assert isinstance(await world.ask(key(suffix)), StoredAnswer)
        assert world.releases.paths() == [BASE + ".sha256", BASE, BASE + ".asc"]


async def test_asks_for_all_three_at_once_share_a_flight(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE)
        replies = await asyncio.gather(*(world.ask(key(s)) for s in ("", ".sha256", ".asc")))
        assert inline(replies[0]).content == ONE
        assert inline(replies[2]).outcome.endswith("; collapsed")
        assert len(world.releases.requests) == 3


async def test_an_unchanged_channel_is_confirmed_by_one_conditional_request(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE)
        await world.ask(key())
        await world.settled()
        world.clock.move(61)
        reply = await world.ask(key(".sha256"), Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert reply.outcome == "fwd=stale; fwd-status=304"
        await world.settled()
        assert len(world.releases.requests) == 4
        assert "If-None-Match" in world.releases.requests[3].fields
        fresh = {key(s): world.stored(key(s)) for s in ("", ".sha256", ".asc")}
        assert {s.entry.fresh_until for s in fresh.values() if s} == {world.clock.now() + 60}


async def test_a_new_release_switches_all_three_and_moves_the_epoch(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE)
        await world.ask(key())
        await world.settled()
        epoch = world.page.epoch
        world.clock.move(61)
        publish(world, TWO)
        assert inline(await world.ask(key(".sha256"), Purpose.REVALIDATE)).content == (
            sha256_file(TWO)
        )
        await world.settled()
        assert world.stored_content(key()) == TWO
        assert world.stored_content(key(".asc")).endswith(sha256(TWO).hex().encode())
        assert world.page.epoch > epoch


async def test_a_skewed_channel_goes_on_serving_the_last_generation(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE)
        await world.ask(key())
        await world.settled()
        world.clock.move(61)
        world.pause_gate = asyncio.Event()
        world.releases.put(BASE + ".sha256", sha256_file(TWO))
        for suffix in (".sha256", "", ".asc"):
            reply = await world.ask(key(suffix), Purpose.REVALIDATE)
            assert isinstance(reply, StoredAnswer)
            assert reply.is_stale
        assert world.stored_content(key(".sha256")) == sha256_file(ONE)
        assert world.log.named("channel-skew")
        publish(world, TWO)
        world.pause_gate.set()
        await world.settled()
        assert world.stored_content(key(".sha256")) == sha256_file(TWO)
        assert world.stored_content(key()) == TWO


async def test_a_skewed_channel_without_a_generation_is_waited_for(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, TWO)
        world.releases.resources[BASE].steps = [Step(content=ONE), Step(content=ONE)]
        assert inline(await world.ask(key(".sha256"))).content == sha256_file(TWO)
        assert len(world.releases.played) == 2
        assert len(world.pauses) == 2


async def test_a_channel_that_stays_skewed_is_503_after_the_hold(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE)
        world.releases.put(BASE + ".sha256", sha256_file(TWO))
        reply = await world.ask(key(".sha256"))
        assert isinstance(reply, Failed)
        assert (reply.status, reply.retry_after_s > 0) == (503, True)
        assert world.config.upstream.hold <= sum(world.pauses) < world.config.upstream.hold + 3
        assert world.stored(key()) is None


async def test_a_channel_without_a_signature_is_served_while_digests_are_enough(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE, is_signed=False)
        assert inline(await world.ask(key())).content == ONE
        await world.settled()
        signature = await world.ask(key(".asc"))
        assert isinstance(signature, StoredAnswer)
        assert signature.stored.entry.status == 404
        assert len(world.releases.requests) == 3


async def test_a_signature_never_outlives_its_manifest(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE)
        await world.ask(key())
        await world.settled()
        world.clock.move(61)
        publish(world, TWO, is_signed=False)
        del world.releases.resources[BASE + ".asc"]
        await world.ask(key(), Purpose.REVALIDATE)
        await world.settled()
        signature = world.stored(key(".asc"))
        assert signature is not None
        assert signature.entry.status == 404


@pytest.mark.parametrize(
    ("base", "paths"),
    [
        pytest.param(DATED, [DATED + ".sha256"], id="dated"),
        # The second shows that the first is not missing from a channel that is being published.
        pytest.param(BASE, [BASE + ".sha256", BASE], id="head"),
    ],
)
async def test_an_absent_channel_is_absent_with_few_requests(
    tmp_path: Path, base: str, paths: list[str]
) -> None:
    async with World(tmp_path) as world:
        for suffix in (".sha256", "", ".asc"):
            reply = await world.ask(key(suffix, base))
            assert isinstance(reply, StoredAnswer)
            assert reply.stored.entry.status == 404
            await world.settled()
        asked = [path for path in world.releases.paths() if path != "/manifests.txt"]
        assert asked == paths


async def test_a_channel_that_upstream_drops_is_withdrawn_whole(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE)
        await world.ask(key())
        await world.settled()
        world.clock.move(61)
        world.releases.resources.clear()
        await world.ask(key(), Purpose.REVALIDATE)
        await world.settled()
        for suffix in (".sha256", "", ".asc"):
            stored = world.stored(key(suffix))
            assert stored is not None
            assert stored.entry.status == 404


@pytest.mark.parametrize("suffix", [".sha256", "", ".asc"])
async def test_a_channel_is_stale_while_upstream_is_away(tmp_path: Path, suffix: str) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE)
        await world.ask(key())
        await world.settled()
        world.clock.move(61)
        world.releases.outage = "status 503"
        reply = await world.ask(key(suffix), Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert reply.is_stale


async def test_trouble_between_the_files_mixes_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE)
        await world.ask(key())
        await world.settled()
        world.clock.move(61)
        publish(world, TWO)
        world.releases.resources[BASE + ".asc"].steps = [Step(error="no answer in time")]
        assert digest(await world.ask(key(".sha256"), Purpose.REVALIDATE)) == (
            sha256(sha256_file(ONE))
        )
        assert digest(await world.ask(key(), Purpose.REVALIDATE)) == sha256(ONE)
        assert len(world.releases.played) == 1


async def test_a_sha256_file_without_a_digest_is_held_and_then_503(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE)
        world.releases.put(BASE + ".sha256", b"<html>")
        reply = await world.ask(key())
        assert isinstance(reply, Failed)
        assert (reply.status, "sha256 digest" in reply.reason) == (503, True)
        assert world.log.named("channel-refused")


async def test_a_dated_generation_is_kept_for_ever(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE, DATED)
        entry = inline(await world.ask(key(base=DATED))).entry
        assert entry.fresh_until == math.inf


async def test_a_late_signature_of_a_dated_manifest_is_fetched(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE, DATED, is_signed=False)
        await world.ask(key(base=DATED))
        await world.settled()
        world.clock.move(31)
        publish(world, ONE, DATED)
        assert inline(await world.ask(key(".asc", DATED))).content.startswith(ARMOUR)
        await world.settled()
        assert world.stored_content(key(".asc", DATED)).startswith(ARMOUR)


async def test_a_manifest_vouches_for_its_archives(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE, DATED)
        world.releases.put(ARCHIVE, BODY)
        await world.ask(key(base=DATED))
        # Right behind the manifest: the archive waits for its reading, not for another request.
        reply = inline(await world.ask("releases:" + ARCHIVE))
        assert (reply.content, reply.entry.proof) == (BODY, "manifest")
        assert ARCHIVE + ".sha256" not in world.releases.paths()


async def test_a_manifest_that_cannot_be_read_is_served_and_vouches_for_nothing(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        publish(world, b"not = [toml", DATED)
        assert inline(await world.ask(key(base=DATED))).content == b"not = [toml"
        world.releases.put(ARCHIVE, BODY)
        world.releases.put(ARCHIVE + ".sha256", sha256_file(BODY))
        assert inline(await world.ask("releases:" + ARCHIVE)).entry.proof == "sha256"
        assert world.log.named("manifest-not-read")


async def test_a_missing_part_of_a_generation_is_fetched_with_the_rest(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE)
        await world.ask(key())
        await world.settled()
        Path(world.store.blob_path(sha256(ONE))).unlink()
        assert inline(await world.ask(key())).content == ONE
        assert len(world.releases.requests) == 6


@pytest.mark.parametrize("base", [DATED, BASE], ids=["dated", "head"])
async def test_a_lost_index_and_no_upstream_still_serve_what_the_manifest_states(
    tmp_path: Path, base: str
) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE, base)
        world.releases.put(ARCHIVE, BODY)
        await world.ask(key(base=base))
        await world.settled()
        await world.ask("releases:" + ARCHIVE)
        await world.settled()
        await world.lose_index()
        for pool in world.pools.values():
            pool.outage = "status 503"
        replies = await asyncio.gather(*(world.ask("releases:" + ARCHIVE) for _ in range(3)))
        assert [digest(reply) for reply in replies] == [sha256(BODY)] * 3
        assert digest(await world.ask(key(base=base))) == sha256(ONE)


async def test_a_stored_manifest_that_states_nothing_is_read_once(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, b"not = [toml", DATED)
        await world.ask(key(base=DATED))
        await world.settled()
        await world.lose_index()
        for _ in range(3):
            await world.ask("releases:" + ARCHIVE)
            await world.settled()
            world.clock.move(60)
        assert len(world.log.named("manifest-not-read")) == 2  # when it came, and after the loss


async def test_a_manifest_of_another_date_is_not_read_for_an_archive(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE.replace(b'date = "2026-01-22"', b'date = "2026-03-05"'))
        await world.ask(key())
        await world.settled()
        await world.lose_index()
        world.releases.outage = "status 503"
        assert isinstance(await world.ask("releases:" + ARCHIVE), Failed)
        assert world.store.manifest_read(key()) is None


async def test_a_switch_to_no_signature_is_one_commit(tmp_path: Path) -> None:
    """Between any two commits a worker sees one generation, its missing signature included."""
    async with World(tmp_path) as world:
        publish(world, ONE)
        await world.ask(key())
        await world.settled()
        world.clock.move(61)
        publish(world, TWO, is_signed=False)
        del world.releases.resources[BASE + ".asc"]
        seen: set[tuple[bytes, int]] = set()
        asking = asyncio.create_task(world.ask(key(), Purpose.REVALIDATE))
        while not asking.done() or world.filler.flights:
            # One statement, so that no commit comes between the two rows.
            rows = world.store.index._read(
                "SELECT m.digest, s.status FROM entry m, entry s WHERE m.key = ? AND s.key = ?",
                key(), key(".asc"),
            )  # fmt: skip
            seen.update(cast("list[tuple[bytes, int]]", rows))
            await asyncio.sleep(0)
        assert seen <= {(sha256(ONE), 200), (sha256(TWO), 404)}
        assert len(world.log.named("withdrawn")) == 0


async def test_the_date_of_a_head_is_noted_and_that_of_an_archive_is_not(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, ONE)
        publish(world, ONE, DATED)
        await world.ask(key(base=DATED))
        await world.settled()
        await world.filler._channels.manifests_parsed()  # read behind the answer
        assert world.state.channels() == {}
        await world.ask(key())
        await world.settled()
        await world.filler._channels.manifests_parsed()  # read behind the answer
        assert list(world.state.channels()) == ["stable"]
