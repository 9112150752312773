"""Nothing is taken over as a channel that the pinned key did not sign for this name and date."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from mirror.fill.messages import Failed, StoredAnswer
from mirror.store.entry import former_key
from tests.unit.fill.keeper_world import World, inline, sha256, sha256_file
from tests.unit.fill.signed_channels import (
    DAY_1,
    DAY_2,
    DAY_3,
    KEY_PATH,
    SUFFIXES,
    content_of,
    dated,
    entry,
    events,
    get,
    head,
    manifest,
    publish,
    publish_key,
    release,
    require_generation,
    signature,
    signed_trust,
    signer,
    stranger,
    triple,
)

ONE, TWO = manifest(DAY_1), manifest(DAY_2)
Files = dict[str, bytes]


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def flip(suffix: str, at: int) -> Callable[[], Files]:
    def spoil() -> Files:
        files = triple(TWO)
        return files | {suffix: flipped(files[suffix], at)}

    return spoil


def signed_by(content: bytes, signed: bytes) -> Files:
    """`signed` is what the signature is over."""
    return triple(content) | {".asc": signed}


FLIPS = {
    "flip-a-byte-of-the-manifest-date": flip("", 30),
    "flip-a-byte-of-the-manifest": flip("", 100),
    "flip-a-byte-of-the-sha256": flip(".sha256", 5),
    "flip-a-byte-of-the-armour": flip(".asc", 3),
    "flip-a-byte-of-the-signature": flip(".asc", 300),
    "another-key": lambda: signed_by(TWO, signature(TWO, stranger())),
    "the-right-key-over-another-file": lambda: signed_by(TWO, signature(b"another file")),
    "the-signature-of-the-former-manifest": lambda: signed_by(TWO, signature(ONE)),
    "sha1": lambda: signed_by(TWO, signature(TWO, hash_name="sha1")),
    "not-signed": lambda: {"": TWO, ".sha256": sha256_file(TWO)},
    "an-html-page-as-signature": lambda: triple(TWO) | {".asc": b"<html>no</html>"},
    "an-html-page-as-sha256": lambda: triple(TWO) | {".sha256": b"<html>no</html>"},
    "an-html-page-with-its-sha256": lambda: triple(b"<html>no</html>"),
    "the-manifest-of-nightly": lambda: triple(manifest(DAY_2, "nightly")),
    "the-manifest-of-beta": lambda: triple(manifest(DAY_2, "beta")),
    "a-manifest-without-rust": lambda: triple(TWO.replace(b"[pkg.rust]\n", b"[pkg.rustc]\n")),
    "a-manifest-without-a-date": lambda: triple(TWO.replace(b"date = ", b"day = ")),
    "a-manifest-with-two-dates": lambda: triple(
        TWO.replace(b"\n[pkg", f'date = "{DAY_3}"\n[pkg'.encode(), 1)
    ),
    "an-archive-of-the-right-key": lambda: triple(b"\x1f\x8b not a manifest"),
}
ATTACKS = pytest.mark.parametrize("files", list(FLIPS.values()), ids=list(FLIPS))


@ATTACKS
async def test_an_attack_on_a_held_channel_changes_nothing_and_heals(
    tmp_path: Path, files: Callable[[], Files]
) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        release(world, ONE, DAY_1)
        inline(await get(world, head()))
        world.clock.move(61)
        publish(world, head(), files())
        for suffix in SUFFIXES:
            reply = await get(world, head() + suffix)
            assert isinstance(reply, StoredAnswer)
            assert reply.is_stale
            assert content_of(reply) == sha256(triple(ONE)[suffix])
        require_generation(world, head(), ONE)
        assert {"channel-refused", "channel-skew"} & set(events(world))
        world.clock.move(61)
        release(world, TWO, DAY_2)
        assert inline(await get(world, head())).content == TWO
        require_generation(world, head(), TWO)
        assert world.filler.held == []


@ATTACKS
async def test_an_attack_on_an_empty_mirror_is_held_and_then_503(
    tmp_path: Path, files: Callable[[], Files]
) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        publish(world, head(), files())
        reply = await get(world, head())
        assert isinstance(reply, Failed)
        assert (reply.status, reply.retry_after_s > 0) == (503, True)
        assert sum(world.pauses) >= world.config.upstream.hold
        assert [world.stored("releases:" + head() + suffix) for suffix in SUFFIXES] == [None] * 3
        assert {"channel-refused", "channel-skew"} & set(events(world))
        assert world.state.channels() == {}
        world.clock.move(2)
        release(world, TWO, DAY_2)
        assert inline(await get(world, head())).content == TWO
        require_generation(world, head(), TWO)


@ATTACKS
async def test_an_attack_on_the_head_is_answered_from_the_dated_directory(
    tmp_path: Path, files: Callable[[], Files]
) -> None:
    """Where the spoiled manifest still says which date it is of."""
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        release(world, TWO, DAY_2)
        publish(world, head(), files())
        reply = await get(world, head())
        if isinstance(reply, Failed):
            assert f'date = "{DAY_2}"'.encode() not in files()[""]
            return
        assert inline(reply).content == TWO
        assert inline(reply).entry.fresh_until <= world.clock.now() + 10
        require_generation(world, head(), TWO)
        assert world.log.named("channel-recovered")


async def test_a_manifest_of_another_date_under_a_dated_path_is_refused(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        publish(world, dated(DAY_2), triple(ONE))
        reply = await get(world, dated(DAY_2))
        assert isinstance(reply, Failed)
        assert reply.status == 503
        assert DAY_1 in str(world.log.named("channel-refused"))
        assert world.stored("releases:" + dated(DAY_2)) is None
        world.clock.move(2)
        publish(world, dated(DAY_2), triple(TWO))
        assert inline(await get(world, dated(DAY_2))).content == TWO


@pytest.mark.parametrize(
    ("name", "version"),
    [
        pytest.param("1.95", "1.95.1", id="minor"),
        pytest.param("1.95.0", "1.95.0", id="point"),
        pytest.param("1.96.0-beta", "1.96.0-beta.2", id="beta-series"),
    ],
)
async def test_a_channel_by_version_has_its_own_newest_date(
    tmp_path: Path, name: str, version: str
) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        release(world, manifest(DAY_3), DAY_3)
        await get(world, head())
        content = manifest(DAY_1, version=version)
        publish(world, head(name), triple(content))
        assert inline(await get(world, head(name))).content == content
        assert world.state.channels() == {"stable": DAY_3, name: DAY_1}


async def test_a_switch_keeps_the_former_generation_and_the_dated_copy(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        release(world, ONE, DAY_1)
        await get(world, head())
        world.clock.move(61)
        release(world, TWO, DAY_2)
        epoch = world.page.epoch
        await get(world, head())
        assert world.page.epoch > epoch
        for day, content in ((DAY_1, ONE), (DAY_2, TWO)):
            require_generation(world, dated(day), content)
            assert entry(world, dated(day)).fresh_until == math.inf
        for suffix in SUFFIXES:
            former = world.stored(former_key("releases:" + head() + suffix))
            assert former is not None
            assert former.entry.digest == sha256(triple(ONE)[suffix])
            assert former.entry.fresh_until == math.inf
            assert former.entry.voucher == f"releases:{head()}@{sha256(ONE).hex()}"
        # And what it copied needs no request.
        asked = len(world.releases.requests)
        assert content_of(await get(world, dated(DAY_2))) == sha256(TWO)
        assert len(world.releases.requests) == asked


async def test_current_former_and_copy_come_back_apart_after_a_lost_index(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        for content, day in ((ONE, DAY_1), (TWO, DAY_2)):
            release(world, content, day)
            await get(world, head())
            world.clock.move(61)
        await world.lose_index()
        require_generation(world, head(), TWO)
        require_generation(world, dated(DAY_1), ONE)
        require_generation(world, dated(DAY_2), TWO)
        for suffix in SUFFIXES:
            former = world.stored(former_key("releases:" + head() + suffix))
            assert former is not None
            assert former.entry.digest == sha256(triple(ONE)[suffix])


async def test_an_unchanged_manifest_with_another_sha256_text_keeps_the_former(
    tmp_path: Path,
) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        release(world, ONE, DAY_1)
        await get(world, head())
        world.clock.move(61)
        world.releases.put(head() + ".sha256", sha256_file(ONE, "renamed"))
        await get(world, head())
        assert world.stored_content("releases:" + head() + ".sha256") == sha256_file(ONE, "renamed")
        assert world.stored(former_key("releases:" + head())) is None


async def test_what_stands_under_a_date_is_kept_when_a_day_is_published_twice(
    tmp_path: Path,
) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        release(world, ONE, DAY_1)
        await get(world, head())
        world.clock.move(61)
        again = manifest(DAY_1, note="again")
        publish(world, head(), triple(again))
        assert inline(await get(world, head())).content == again
        require_generation(world, head(), again)
        require_generation(world, dated(DAY_1), ONE)
        assert world.log.named("dated-differs")


async def test_a_replaced_key_changes_nothing_while_the_stored_one_is_good(
    tmp_path: Path,
) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        release(world, ONE, DAY_1)
        await get(world, head())
        publish_key(world, stranger())
        world.clock.move(8 * 86400)
        publish(world, head(), triple(TWO) | {".asc": signature(TWO, stranger())})
        assert content_of(await get(world, head())) == sha256(ONE)
        require_generation(world, head(), ONE)
        world.clock.move(61)
        publish_key(world)
        release(world, TWO, DAY_2)
        assert inline(await get(world, head())).content == TWO


async def test_a_wrong_key_from_upstream_verifies_nothing(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world, stranger())
        publish(world, head(), triple(ONE) | {".asc": signature(ONE, stranger())})
        reply = await get(world, head())
        assert isinstance(reply, Failed)
        assert (reply.status, "key" in reply.reason) == (503, True)
        assert world.stored("releases:" + head()) is None
        world.clock.move(2)
        publish_key(world)
        release(world, ONE, DAY_1)
        assert inline(await get(world, head())).content == ONE


async def test_a_first_start_without_upstream_serves_what_is_proved(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        release(world, ONE, DAY_1)
        await get(world, head())
        world.releases.outage = "status 503"
        world.clock.move(61)
        await world.lose_index()
        assert content_of(await get(world, head())) == sha256(ONE)
        reply = await get(world, head("nightly"))
        assert isinstance(reply, Failed)
        assert (reply.status, bool(reply.reason)) == (503, True)


async def test_without_a_key_a_new_generation_is_503_with_the_reason(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        release(world, ONE, DAY_1)
        reply = await get(world, head())
        assert isinstance(reply, Failed)
        assert reply.status == 503
        assert "release key" in reply.reason
        assert world.stored("releases:" + head()) is None


async def test_a_key_of_a_file_needs_no_upstream_key(tmp_path: Path) -> None:
    file = tmp_path / "key.asc"
    file.write_bytes(signer().public_key())
    trust = signed_trust(release_key_file=str(file))
    async with World(tmp_path / "mirror", trust=trust) as world:
        release(world, ONE, DAY_1)
        assert inline(await get(world, head())).content == ONE
        assert KEY_PATH not in world.releases.paths()
