"""`mirror.fill.release_key`: the pinned key, from a file or from upstream, and no other."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mirror.config import Trust
from mirror.errors import ConfigError, UpstreamError, VerificationError
from mirror.fill.release_key import MAX_FILE_BYTES, ReleaseKeys, check_key_file
from tests.unit.fill.keeper_world import World
from tests.unit.fill.signed_channels import (
    KEY_PATH,
    publish_key,
    signed_trust,
    signer,
    stranger,
)


def keys(world: World) -> ReleaseKeys:
    return ReleaseKeys(world.filler._channels._parts, world.filler)


def trust(file: Path) -> Trust:
    return msgspec.structs.replace(Trust(), **signed_trust(release_key_file=str(file)))


async def test_the_key_of_upstream_is_fetched_once(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        holder = keys(world)
        assert (await holder.get()).fingerprint == signer().fingerprint
        await world.settled()
        assert await holder.get() is await holder.get()
        assert world.releases.paths() == [KEY_PATH]


async def test_a_stored_key_serves_while_upstream_is_away(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        await keys(world).get()
        await world.settled()
        world.clock.move(30 * 86400)
        world.releases.outage = "status 503"
        assert (await keys(world).get()).fingerprint == signer().fingerprint
        stored = await keys(world).stored()
        assert stored is not None
        assert stored.fingerprint == signer().fingerprint


@pytest.mark.parametrize("outage", ["status 503", ""], ids=["away", "absent"])
async def test_without_a_key_there_is_a_reason(tmp_path: Path, outage: str) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        world.releases.outage = outage
        with pytest.raises(UpstreamError, match="the release key cannot be had") as caught:
            await keys(world).get()
        assert caught.value.status == 503
        assert await keys(world).stored() is None


async def test_another_key_is_never_the_release_key(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world, stranger())
        with pytest.raises((UpstreamError, VerificationError)):
            await keys(world).get()
        await world.settled()
        assert await keys(world).stored() is None
        assert world.log.errors


async def test_other_pins_make_a_stored_key_be_asked_for_again(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        publish_key(world)
        await keys(world).get()
        await world.settled()
        pins = (stranger().fingerprint,)
        trust = msgspec.structs.replace(world.config.trust, release_key_fingerprints=pins)
        world.config = msgspec.structs.replace(world.config, trust=trust)
        await world.restart()
        publish_key(world, stranger())
        world.clock.move(1)
        assert (await keys(world).get()).fingerprint == stranger().fingerprint


async def test_a_file_wins_and_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(signer().public_key())
    async with World(tmp_path / "w", trust=signed_trust(release_key_file=str(file))) as world:
        holder = keys(world)
        assert (await holder.get()).fingerprint == signer().fingerprint
        file.write_bytes(stranger().public_key())
        with pytest.raises(VerificationError):
            await holder.get()
        with pytest.raises(VerificationError):
            await holder.get()
        assert world.log.errors == ["release-key-refused"]
        file.unlink()
        with pytest.raises(UpstreamError, match="cannot be read"):
            await holder.get()
        assert await holder.stored() is None
        assert world.releases.requests == []


def test_a_good_file_is_accepted_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(signer().public_key())
    check_key_file(trust(file))
    check_key_file(Trust())  # none is configured


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "cannot be read", id="missing"),
        pytest.param(b"x" * (MAX_FILE_BYTES + 1), "cannot be read", id="endless"),
        pytest.param(b"", "is not the key", id="empty"),
        pytest.param(b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n", "is not the key", id="private"),
        pytest.param(b"key of a stranger", "is not the key", id="text"),
    ],
)
def test_a_wrong_file_is_refused_at_the_start(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        check_key_file(trust(file))
    assert caught.value.key == "trust.release_key_file"


def test_the_file_of_another_key_is_refused_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(stranger().public_key())
    with pytest.raises(ConfigError, match=r"trust\.release_key_fingerprints"):
        check_key_file(trust(file))
