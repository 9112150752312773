"""What manifests state about dated archives: from the store, else from the dated manifest."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.fill.manifests import ABSENT_S
from mirror.fill.messages import Failed, StoredAnswer
from mirror.fill.outcomes import STALE_HOLD_S
from tests.unit.fill.keeper_world import World, inline, noise, sha256, sha256_file
from tests.unit.fill.scripted_pool import Step
from tests.unit.fill.signed_world import flipped, signature, signed_world

DATE = "2026-01-01"
HEAD = "/dist/channel-rust-stable.toml"
MANIFEST = f"/dist/{DATE}/channel-rust-stable.toml"
RUSTC = f"/dist/{DATE}/rustc-1.95.0-x86_64-unknown-linux-gnu.tar.xz"
CARGO = f"/dist/{DATE}/cargo-1.95.0-x86_64-unknown-linux-gnu.tar.xz"
BODIES = {RUSTC: noise(3000, 1), CARGO: noise(3000, 2)}


def manifest(date: str = DATE, bodies: dict[str, bytes] | None = None) -> bytes:
    lines = ['manifest-version = "2"', f'date = "{date}"', "[pkg.rust]", 'version = "1.95.0 (x)"']
    for number, (path, body) in enumerate((BODIES if bodies is None else bodies).items()):
        lines += [
            f"[pkg.p{number}.target.x]",
            "available = true",
            f'xz_url = "https://static.rust-lang.org{path}"',
            f'xz_hash = "{sha256(body).hex()}"',
        ]
    return "\n".join([*lines, ""]).encode()


def publish(world: World, path: str, content: bytes) -> None:
    world.releases.put(path, content)
    world.releases.put(path + ".sha256", sha256_file(content))
    world.releases.put(path + ".asc", signature(content))


def publish_bodies(world: World) -> None:
    for path, body in BODIES.items():
        publish(world, path, body)


@pytest.mark.parametrize("mode", ["channel_manifest", "archive"])
async def test_an_archive_of_an_old_date_is_vouched_for_by_its_dated_manifest(
    tmp_path: Path, mode: str
) -> None:
    async with signed_world(tmp_path, mode) as world:
        publish(world, MANIFEST, manifest())
        publish_bodies(world)
        entry = inline(await world.ask("releases:" + RUSTC)).entry
        if mode == "channel_manifest":
            assert entry.proof == "manifest"
            assert entry.voucher == f"releases:{MANIFEST}@{sha256(manifest()).hex()}"
        count = world.releases.paths().count(MANIFEST)
        inline(await world.ask("releases:" + CARGO))  # a later `component add`
        assert world.releases.paths().count(MANIFEST) == count == 1
        assert RUSTC + ".sha256" not in world.releases.paths()


async def test_forty_archives_of_a_date_cost_one_manifest(tmp_path: Path) -> None:
    bodies = {f"/dist/{DATE}/p{n}-1.95.0-x86_64.tar.xz": noise(100, n) for n in range(40)}
    async with World(tmp_path) as world:
        publish(world, MANIFEST, manifest(bodies=bodies))
        for path, body in bodies.items():
            world.releases.put(path, body)
        replies = await asyncio.gather(*(world.ask("releases:" + path) for path in bodies))
        assert {inline(reply).entry.proof for reply in replies} == {"manifest"}
        assert world.releases.paths().count(MANIFEST) == 1


async def test_knowledge_of_a_date_stays_when_the_head_moves_on(tmp_path: Path) -> None:
    async with signed_world(tmp_path, "channel_manifest") as world:
        publish(world, HEAD, manifest())
        publish_bodies(world)
        await world.ask("releases:" + HEAD)
        await world.settled()
        world.clock.move(61)
        publish(world, HEAD, manifest("2026-02-02", {}))
        await world.ask("releases:" + HEAD)
        await world.settled()
        count = len(world.releases.requests)
        assert inline(await world.ask("releases:" + CARGO)).entry.proof == "manifest"
        assert world.releases.paths()[count:] == [CARGO]


async def test_an_archive_that_does_not_match_its_manifest_is_refused(tmp_path: Path) -> None:
    """Upstream replaced the archive, its `.sha256` and its `.asc`: all three agree."""
    async with signed_world(tmp_path, "channel_manifest") as world:
        publish(world, MANIFEST, manifest())
        publish(world, RUSTC, b"other bytes, well signed")
        reply = await world.ask("releases:" + RUSTC)
        assert isinstance(reply, Failed)
        assert reply.status == 502
        assert world.log.named("digest-mismatch")[0]["expected"] == sha256(BODIES[RUSTC]).hex()
        assert world.stored("releases:" + RUSTC) is None
        await world.settled()
        world.clock.move(STALE_HOLD_S + 1)
        publish_bodies(world)
        assert inline(await world.ask("releases:" + RUSTC)).content == BODIES[RUSTC]
        await world.settled()
        assert world.quarantined() == []


async def test_two_archives_whose_bodies_were_swapped_are_both_refused(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, MANIFEST, manifest())
        world.releases.put(RUSTC, BODIES[CARGO])
        world.releases.put(CARGO, BODIES[RUSTC])
        for path in (RUSTC, CARGO):
            assert isinstance(await world.ask("releases:" + path), Failed)
            assert world.stored("releases:" + path) is None
        assert len(world.log.named("digest-mismatch")) == 2


async def test_a_manifest_with_a_bad_signature_is_not_gone_around(tmp_path: Path) -> None:
    """Whoever can spoil the manifest does not get his `.sha256` believed instead."""
    async with signed_world(tmp_path, "channel_manifest") as world:
        publish(world, MANIFEST, manifest())
        world.releases.put(MANIFEST + ".asc", signature(b"another manifest"))
        publish(world, RUSTC, b"evil")
        reply = await world.ask("releases:" + RUSTC)
        assert isinstance(reply, Failed)
        assert RUSTC not in world.releases.paths()


async def test_upstream_trouble_about_the_manifest_is_trouble_not_a_way_around(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        publish(world, MANIFEST, manifest())
        world.releases.resources[MANIFEST + ".sha256"].steps = [Step(status=503)]
        publish_bodies(world)
        reply = await world.ask("releases:" + RUSTC)
        assert isinstance(reply, Failed)
        assert reply.status == 503
        assert len(world.releases.played) == 1


async def test_without_a_dated_manifest_the_digest_file_vouches(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish_bodies(world)
        entry = inline(await world.ask("releases:" + RUSTC)).entry
        assert entry.proof == "sha256"
        assert entry.voucher == (
            f"releases:{RUSTC}.sha256@{sha256(sha256_file(BODIES[RUSTC])).hex()}"
        )
        assert world.releases.paths()[0] == MANIFEST + ".sha256"
        inline(await world.ask("releases:" + CARGO))
        assert world.releases.paths().count(MANIFEST + ".sha256") == 1  # remembered
        await world.settled()
        world.clock.move(ABSENT_S + 1)
        publish(world, MANIFEST, manifest())
        await world.filler._desk.withdraw(["releases:" + CARGO])
        reply = await world.ask("releases:" + CARGO)
        assert isinstance(reply, StoredAnswer)  # adopted
        assert reply.stored.entry.proof == "manifest"


async def test_what_the_manifest_does_not_list_has_its_digest_file(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, MANIFEST, manifest(bodies={CARGO: BODIES[CARGO]}))
        publish_bodies(world)
        assert inline(await world.ask("releases:" + RUSTC)).entry.proof == "sha256"


async def test_a_lost_index_costs_no_manifest(tmp_path: Path) -> None:
    async with signed_world(tmp_path, "channel_manifest") as world:
        publish(world, MANIFEST, manifest())
        publish_bodies(world)
        await world.ask("releases:" + MANIFEST)
        await world.settled()
        await world.lose_index()
        count = len(world.releases.requests)
        assert inline(await world.ask("releases:" + RUSTC)).entry.proof == "manifest"
        assert world.releases.paths()[count:] == [RUSTC]


async def test_a_flipped_byte_in_an_archive_is_refused_wherever_it_is(tmp_path: Path) -> None:
    body = BODIES[RUSTC]
    async with World(tmp_path) as world:
        publish(world, MANIFEST, manifest())
        publish_bodies(world)
        offsets = range(0, len(body), 97)
        for at in offsets:
            world.releases.resources[RUSTC].steps = [Step(content=flipped(body, at))]
            assert isinstance(await world.ask("releases:" + RUSTC), Failed)
            await world.settled()
            assert world.stored("releases:" + RUSTC) is None
            world.clock.move(STALE_HOLD_S + 1)
        assert len(world.releases.played) == len(offsets)
        assert inline(await world.ask("releases:" + RUSTC)).content == body
