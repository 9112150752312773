"""Gzip variants: when they are made, that they are right, and that nothing waits for them."""

from __future__ import annotations

import asyncio
import gzip
import os
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.fill.coding import decode_content
from mirror.fill.messages import StoredAnswer
from mirror.fill.variants import WANTED_MAX, gzip_of
from mirror.route.policy import CODED_MIN_BYTES
from mirror.store.entry import NoVariant, Stored
from tests.unit.fill.keeper_world import World, index_lines, inline, noise

KEY = "index:/se/rd/serde"
LINES = index_lines("serde", {f"1.0.{number}": b"%d" % number for number in range(50)})


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path) as running:
        yield running


async def idle(world: World) -> None:
    """Wait until no variant is wanted any more."""
    async with asyncio.timeout(10):
        while len(world.filler._variants):
            await asyncio.sleep(0.001)


async def filled(world: World, content: bytes = LINES) -> Stored:
    world.index.put("/se/rd/serde", content)
    await world.ask(KEY)
    await world.settled()
    return stored_of(world)


def stored_of(world: World) -> Stored:
    stored = world.stored(KEY)
    assert stored is not None
    return stored


def form_of(world: World) -> bytes | NoVariant:
    """What a worker loads."""
    found = world.reader.variant(stored_of(world))
    if isinstance(found, NoVariant):
        return found
    content = world.reader.load_small(found)
    assert isinstance(content, bytes), content
    return content


@given(st.binary(max_size=5000))
def test_form_is_the_content_coded_and_the_same_each_time(content: bytes) -> None:
    form = gzip_of(content * 3)
    assert form == gzip_of(content * 3)
    if form:
        assert gzip.decompress(form) == content * 3
        assert decode_content(form, "gzip", 15_000) == content * 3
        assert len(form) <= 0.9 * 3 * len(content)
        assert form[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"  # no name, no time


def test_what_saves_less_than_a_tenth_is_not_kept() -> None:
    assert gzip_of(noise(10_000)) == b""
    assert gzip_of(b"") == b""
    assert gzip_of(noise(5_000) + bytes(800))
    assert not gzip_of(noise(5_000) + bytes(400))


async def test_variant_is_made_from_what_is_stored(world: World) -> None:
    await filled(world)
    assert form_of(world) is NoVariant.UNKNOWN
    world.filler.code((KEY,))
    await idle(world)
    form = form_of(world)
    assert isinstance(form, bytes)
    assert zlib.decompress(form, 31) == LINES
    assert isinstance(await world.ask(KEY), StoredAnswer)
    assert len(world.index.requests) == 1


async def test_wish_that_comes_before_the_commit_is_fulfilled_after_it(world: World) -> None:
    world.index.put("/se/rd/serde", LINES)
    world.files.may_sync.clear()
    try:
        assert inline(await world.ask(KEY)).content == LINES
        world.filler.code((KEY,))
        await asyncio.sleep(0)
        assert world.stored(KEY) is None
    finally:
        world.files.may_sync.set()
    await idle(world)
    assert isinstance(form_of(world), bytes)


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        pytest.param(noise(9_000), NoVariant.POINTLESS, id="hardly-shrinks"),
        pytest.param(bytes(1_000), NoVariant.UNKNOWN, id="too-small-to-be-asked-for"),
    ],
)
async def test_what_does_not_pay_takes_no_room(
    world: World, body: bytes, verdict: NoVariant
) -> None:
    key = "releases:/rustup/rustup-init.sh"
    world.releases.put("/rustup/rustup-init.sh", b"#!/bin/sh\n" + body)
    await world.ask(key)
    await world.settled()
    stored = world.stored(key)
    assert stored is not None
    assert (stored.entry.length < CODED_MIN_BYTES) is (verdict is NoVariant.UNKNOWN)
    used_bytes = world.store.used_bytes
    for _ in range(2):
        world.filler.code((key,))
        await idle(world)
        assert world.reader.variant(stored) is verdict
    assert world.store.used_bytes == used_bytes


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("crates:/crates/serde/serde-1.0.0.crate", id="crate"),
        pytest.param("releases:/dist/channel-rust-stable.toml.sha256", id="proof"),
        pytest.param("releases:/dist/channel-rust-stable.toml.asc", id="signature"),
        pytest.param("releases:/dist/2026-01-01/rustc-1.0.0-x86_64-unknown-linux-gnu.tar.gz",
                     id="archive"),
        pytest.param("../../etc/passwd", id="no-key"),
    ],
)  # fmt: skip
async def test_other_kinds_are_ignored(world: World, key: str) -> None:
    world.filler.code((key,))
    assert len(world.filler._variants) == 0


async def test_what_is_not_stored_is_ignored(world: World) -> None:
    world.filler.code((KEY,))
    await idle(world)
    assert world.index.requests == []
    assert world.log.errors == []


async def test_wishes_are_bounded(world: World) -> None:
    world.filler.code(tuple(f"index:/se/rd/serd{number}" for number in range(2 * WANTED_MAX)))
    assert len(world.filler._variants) == WANTED_MAX
    await idle(world)


async def test_flipped_variant_is_quarantined_and_made_again(world: World) -> None:
    await filled(world)
    world.filler.code((KEY,))
    await idle(world)
    form = form_of(world)
    found = world.store.variants.find(stored_of(world))
    assert isinstance(found, Stored)
    path = Path(world.store.blob_path(found.entry.digest))
    flipped = bytearray(path.read_bytes())
    flipped[20] ^= 1
    path.write_bytes(flipped)
    world.filler.code((KEY,))
    await idle(world)
    assert [fields["keys"] for fields in world.log.named("blob-condemned")] == [[KEY]]
    assert len(world.quarantined()) == 1
    assert form_of(world) == form


async def test_touched_variant_is_vouched_for_without_being_written(world: World) -> None:
    await filled(world)
    world.filler.code((KEY,))
    await idle(world)
    found = world.store.variants.find(stored_of(world))
    assert isinstance(found, Stored)
    path = world.store.blob_path(found.entry.digest)
    inode = os.stat(path).st_ino
    os.utime(path)
    world.filler.code((KEY,))
    await idle(world)
    assert os.stat(path).st_ino == inode
    assert isinstance(form_of(world), bytes)
    assert world.log.named("blob-condemned") == []


async def test_evicted_variant_is_made_again(world: World) -> None:
    await filled(world)
    world.filler.code((KEY,))
    await idle(world)
    found = world.store.variants.find(stored_of(world))
    assert isinstance(found, Stored)
    os.unlink(world.store.blob_path(found.entry.digest))
    world.filler.code((KEY,))
    await idle(world)
    assert isinstance(form_of(world), bytes)


async def test_full_disk_costs_the_variant_only(world: World) -> None:
    await filled(world)
    world.files.is_full = True
    world.filler.code((KEY,))
    await idle(world)
    assert world.files.refused
    assert [fields["keys"] for fields in world.log.named("not-coded")] == [[KEY]]
    assert form_of(world) is NoVariant.UNKNOWN
    world.files.is_full = False
    world.filler.code((KEY,))
    await idle(world)
    assert isinstance(form_of(world), bytes)


async def test_lost_index_makes_the_same_variant_again(world: World) -> None:
    await filled(world)
    world.filler.code((KEY,))
    await idle(world)
    form, used_bytes = form_of(world), world.store.used_bytes
    await world.lose_index()
    world.reader.refresh()
    assert isinstance(await world.ask(KEY), StoredAnswer)  # which hashes the content
    world.filler.code((KEY,))
    await idle(world)
    assert form_of(world) == form
    assert world.store.used_bytes == used_bytes


async def test_closing_while_variants_are_wanted_ends_cleanly(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await filled(world)
        world.filler.code((KEY,))
        await asyncio.sleep(0)
    world.filler.code((KEY,))  # too late: ignored
    assert world.log.errors == []
