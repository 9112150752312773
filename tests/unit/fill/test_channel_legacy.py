"""Legacy releases, and generations that were stored when digests were enough."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mirror.config import Trust
from mirror.fill.messages import Failed, Purpose, StoredAnswer
from mirror.fill.replies import Inline
from mirror.store.entry import DIGEST_GENERATION, SIGNED_GENERATION, former_key
from tests.unit.fill.keeper_world import World, inline, sha256, sha256_file
from tests.unit.fill.signed_channels import (
    DAY_1,
    DAY_2,
    KEY_PATH,
    SUFFIXES,
    content_of,
    dated,
    entry,
    get,
    head,
    manifest,
    publish,
    publish_key,
    release,
    require_generation,
    signature,
    signed_trust,
    stranger,
    triple,
)

LEGACY_DAY = "2017-08-31"
OLD = manifest(LEGACY_DAY, version="1.20.0")
BARE = {"": OLD, ".sha256": sha256_file(OLD)}
WEAK = triple(OLD) | {".asc": signature(OLD, hash_name="sha1")}


@pytest.mark.parametrize("path", [dated(LEGACY_DAY), head("1.20.0"), head("1.20")])
@pytest.mark.parametrize("files", [BARE, WEAK], ids=["unsigned", "sha1"])
async def test_a_legacy_release_has_its_digest_proof_only_and_is_listed(
    tmp_path: Path, path: str, files: dict[str, bytes]
) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        publish(world, path, files)
        assert inline(await get(world, path)).content == OLD
        assert entry(world, path).proof == DIGEST_GENERATION
        assert world.filler.legacy_channels() == ["releases:" + path]
        assert len(world.log.named("channel-legacy")) == 1
        await world.restart()
        assert world.filler.legacy_channels() == ["releases:" + path]
        reply = await get(world, path)
        assert isinstance(reply, StoredAnswer)
        assert content_of(reply) == sha256(OLD)


@pytest.mark.parametrize(
    "signed",
    [
        pytest.param(lambda: signature(b"other"), id="bad-signature"),
        pytest.param(lambda: signature(b"other", hash_name="sha1"), id="bad-sha1-signature"),
        pytest.param(lambda: signature(OLD, stranger()), id="another-key"),
        pytest.param(lambda: signature(OLD, stranger(), "sha1"), id="another-key-sha1"),
        pytest.param(lambda: b"<html>", id="no-signature-at-all"),
    ],
)
async def test_a_legacy_release_with_a_bad_signature_is_refused(
    tmp_path: Path, signed: object
) -> None:
    assert callable(signed)
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        publish(world, dated(LEGACY_DAY), BARE | {".asc": signed()})
        assert isinstance(await get(world, dated(LEGACY_DAY)), Failed)
        assert world.stored("releases:" + dated(LEGACY_DAY)) is None
        assert world.log.named("channel-refused")


async def test_a_legacy_release_with_a_strong_signature_is_signed(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        publish(world, dated(LEGACY_DAY), triple(OLD))
        await get(world, dated(LEGACY_DAY))
        require_generation(world, dated(LEGACY_DAY), OLD)
        assert world.filler.legacy_channels() == []


@pytest.mark.parametrize(
    "path", [head(), dated(DAY_1), dated("2019-01-01"), head("1.32.0"), head("1.95")]
)
@pytest.mark.parametrize("kind", ["unsigned", "sha1"])
async def test_an_unsigned_release_that_is_not_legacy_is_refused(
    tmp_path: Path, path: str, kind: str
) -> None:
    """Also a head that says it is of an old date."""
    day = path.split("/")[2] if path.startswith("/dist/2") else LEGACY_DAY
    version = "1.32.0" if "1.32" in path else "1.95.0"
    content = manifest(day, version=version)
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        weak = {".asc": signature(content, hash_name="sha1")}
        more = weak if kind == "sha1" else {}
        publish(world, path, {"": content, ".sha256": sha256_file(content), **more})
        assert isinstance(await get(world, path), Failed)
        assert world.stored("releases:" + path) is None


async def test_a_late_signature_of_a_legacy_release_makes_it_signed(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        publish(world, dated(LEGACY_DAY), BARE)
        await get(world, dated(LEGACY_DAY))
        world.clock.move(31)
        publish(world, dated(LEGACY_DAY), triple(OLD))
        await get(world, dated(LEGACY_DAY) + ".asc")
        require_generation(world, dated(LEGACY_DAY), OLD)
        assert world.filler.legacy_channels() == []


async def require_signatures(world: World, **more: object) -> None:
    """Restart with `channel_manifest = "signature"`."""
    trust = msgspec.structs.replace(Trust(), **signed_trust(**more))
    world.config = msgspec.structs.replace(world.config, trust=trust)
    await world.restart()


async def test_stored_generations_are_proved_when_signatures_are_wanted(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish_key(world)
        good, bad = manifest(DAY_1), manifest(DAY_1, "beta")
        publish(world, head(), triple(good))
        publish(world, head("beta"), triple(bad) | {".asc": signature(bad, stranger())})
        publish(world, head("nightly"), triple(manifest(DAY_1)))  # stable's, under another name
        publish(world, dated(LEGACY_DAY), BARE)
        paths = [head(), head("beta"), head("nightly"), dated(LEGACY_DAY)]
        for path in paths:
            await get(world, path)
            assert entry(world, path).proof == DIGEST_GENERATION
        await get(world, KEY_PATH)
        world.releases.outage = "status 503"
        await require_signatures(world)
        require_generation(world, head(), good)
        assert entry(world, dated(LEGACY_DAY)).proof == DIGEST_GENERATION
        assert world.filler.legacy_channels() == ["releases:" + dated(LEGACY_DAY)]
        for path in (head("beta"), head("nightly")):
            assert [world.stored("releases:" + path + suffix) for suffix in SUFFIXES] == [None] * 3
            assert isinstance(await get(world, path), Failed)
        await world.lose_index()
        assert world.stored("releases:" + head("beta")) is None
        require_generation(world, head(), good)


async def test_without_any_key_unproved_generations_are_withdrawn_and_the_start_goes_on(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        publish(world, head(), triple(manifest(DAY_1)))
        await get(world, head())
        world.releases.outage = "status 503"
        await require_signatures(world)
        reply = await get(world, head())
        assert isinstance(reply, Failed)
        assert (reply.status, world.stored("releases:" + head())) == (503, None)
        assert world.log.named("generations-withdrawn")
        world.releases.outage = ""
        publish_key(world)
        world.clock.move(2)
        assert isinstance(await get(world, head()), Inline)
        require_generation(world, head(), manifest(DAY_1))


async def test_the_key_is_asked_for_once_when_stored_generations_need_it(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish_key(world)
        for name in ("stable", "beta"):
            publish(world, head(name), triple(manifest(DAY_1, name)))
            await get(world, head(name))
        await require_signatures(world)
        for name in ("stable", "beta"):
            require_generation(world, head(name), manifest(DAY_1, name))
        assert world.releases.paths().count(KEY_PATH) == 1


async def test_an_unproved_former_generation_goes(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish_key(world)
        for day in (DAY_1, DAY_2):
            release(world, manifest(day), day)
            await get(world, head())
            world.clock.move(61)
        assert world.stored(former_key("releases:" + head())) is not None
        await require_signatures(world)
        assert world.stored(former_key("releases:" + head())) is None
        require_generation(world, head(), manifest(DAY_2))


async def test_a_signature_that_is_no_armour_is_refused_in_digest_mode_too(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        publish(world, head(), triple(manifest(DAY_1)) | {".asc": b"<html>no</html>"})
        assert isinstance(await get(world, head()), Failed)
        assert world.log.named("channel-refused")
        assert world.stored("releases:" + head()) is None


async def test_what_digests_prove_is_kept_while_digests_are_enough(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, head(), triple(manifest(DAY_1)))
        await get(world, head())
        await world.restart()
        reply = await world.ask("releases:" + head(), Purpose.FETCH)
        assert content_of(reply) == sha256(manifest(DAY_1))
        assert entry(world, head()).proof != SIGNED_GENERATION
        # And no dated copy was made of it: nobody vouches for the date.
        assert world.stored("releases:" + dated(DAY_1)) is None
