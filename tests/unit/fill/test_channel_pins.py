"""Pinned fingerprints that change: what a removed key proved is proved no more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from mirror.config import Trust
from mirror.errors import StoreError
from mirror.fill.messages import Failed, StoredAnswer
from mirror.fill.reproving import PINS_FACT
from mirror.simulator.openpgp_signer import Signer
from mirror.store.entry import former_key
from mirror.store.store import Store
from tests.unit.fill.keeper_world import World, inline, noise, sha256, sha256_file
from tests.unit.fill.signed_channels import (
    DAY_1,
    DAY_2,
    KEY_PATH,
    SUFFIXES,
    content_of,
    dated,
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

ARCHIVE = f"/dist/{DAY_2}/rustc-1.95.0-x86_64-unknown-linux-gnu.tar.xz"
BODY = noise(3000)
ONE = manifest(DAY_1)
TWO = (
    manifest(DAY_2)
    + (
        "[pkg.rustc.target.x86_64-unknown-linux-gnu]\navailable = true\n"
        f'xz_url = "https://static.rust-lang.org{ARCHIVE}"\nxz_hash = "{sha256(BODY).hex()}"\n'
    ).encode()
)


async def filled(world: World) -> None:
    publish_key(world)
    for content, day in ((ONE, DAY_1), (TWO, DAY_2)):
        release(world, content, day)
        await get(world, head())
        world.clock.move(61)
    world.releases.put(ARCHIVE, BODY)
    assert inline(await get(world, ARCHIVE)).entry.proof == "manifest"


async def pin(world: World, *keys: Signer, **more: object) -> None:
    """Restart with these keys pinned, and no others."""
    pins = tuple(key.fingerprint for key in keys)
    settings = signed_trust(**{"release_key_fingerprints": pins, **more})
    trust = msgspec.structs.replace(Trust(), **settings)
    world.config = msgspec.structs.replace(world.config, trust=trust)
    await world.restart()


def absent(world: World, paths: Sequence[str]) -> bool:
    return all(world.stored("releases:" + path) is None for path in paths)


async def test_what_a_removed_key_signed_is_not_served_any_more(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        await filled(world)
        world.releases.outage = "status 503"
        await pin(world, stranger())
        generations = [head() + suffix for suffix in SUFFIXES]
        generations += [dated(day) + suffix for day in (DAY_1, DAY_2) for suffix in SUFFIXES]
        assert absent(world, [*generations, ARCHIVE, KEY_PATH])
        assert absent(world, [former_key(head() + suffix) for suffix in SUFFIXES])
        for path in (head(), dated(DAY_2), ARCHIVE, KEY_PATH):
            assert isinstance(await get(world, path), Failed)
        assert world.log.named("generations-withdrawn")
        assert world.log.named("pin-removed")


async def test_what_the_other_key_signs_takes_its_place_and_bytes_cost_no_download(
    tmp_path: Path,
) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        await filled(world)
        publish_key(world, stranger())
        signed = triple(TWO) | {".asc": signature(TWO, stranger())}
        for path in (head(), dated(DAY_2)):
            publish(world, path, signed)
        await pin(world, stranger())
        assert inline(await get(world, head())).content == TWO
        reply = await get(world, ARCHIVE)
        assert isinstance(reply, StoredAnswer)
        assert content_of(reply) == sha256(BODY)
        assert world.releases.sent(ARCHIVE) == len(BODY)


async def test_a_pin_that_is_added_takes_nothing_away(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        await filled(world)
        world.releases.outage = "status 503"
        await pin(world, signer(), stranger())
        require_generation(world, head(), TWO)
        assert world.stored("releases:" + ARCHIVE) is not None
        assert not world.log.named("generations-withdrawn")
        # The former one was noted with it: now the key that signed goes.
        await pin(world, stranger())
        assert absent(world, [head(), ARCHIVE])


async def test_a_removed_pin_of_a_key_that_signed_nothing_keeps_what_is_proved(
    tmp_path: Path,
) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        await filled(world)
        await pin(world, signer(), stranger())
        world.releases.outage = "status 503"
        await pin(world, signer())
        require_generation(world, head(), TWO)
        require_generation(world, dated(DAY_1), ONE)
        assert world.stored("releases:" + ARCHIVE) is not None
        assert world.state.fact(PINS_FACT) == signer().fingerprint


async def test_a_pin_removed_while_digests_were_enough_is_noticed_later(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        await filled(world)
        world.releases.outage = "status 503"
        await pin(world, stranger(), channel_manifest="digest")
        assert world.stored("releases:" + head()) is not None
        await pin(world, stranger())
        assert absent(world, [head(), dated(DAY_2), ARCHIVE])


async def test_an_archive_that_a_removed_key_signed_is_not_served_any_more(
    tmp_path: Path,
) -> None:
    trust = signed_trust(archive="signature", channel_manifest="digest")
    async with World(tmp_path, trust=trust) as world:
        publish_key(world)
        body = noise(3000, seed=2)
        for suffix, content in (
            ("", body),
            (".sha256", sha256_file(body)),
            (".asc", signature(body)),
        ):
            world.releases.put(ARCHIVE + suffix, content)
        assert inline(await get(world, ARCHIVE)).content == body
        stored = world.stored("releases:" + ARCHIVE)
        assert stored is not None
        assert (stored.entry.proof, stored.entry.voucher) == ("signature", signer().fingerprint)
        world.releases.outage = "status 503"
        more = {"archive": "signature", "channel_manifest": "digest"}
        await pin(world, stranger(), **more)
        assert absent(world, [ARCHIVE, ARCHIVE + ".asc"])


async def test_an_archive_of_an_unsigned_manifest_is_not_served_when_signatures_are_wanted(
    tmp_path: Path,
) -> None:
    """Also when its manifest has been replaced since, so that nobody can look at it any more."""
    async with World(tmp_path, trust=signed_trust(channel_manifest="digest")) as world:
        publish_key(world)
        false = noise(3000, seed=2)
        files = {"": TWO.replace(sha256(BODY).hex().encode(), sha256(false).hex().encode())}
        publish(world, head(), files | {".sha256": sha256_file(files[""])})
        await get(world, head())
        await world.filler._channels.manifests_parsed()
        world.releases.put(ARCHIVE, false)
        assert inline(await get(world, ARCHIVE)).content == false
        world.clock.move(61)
        for path in (head(), dated(DAY_2)):
            publish(world, path, triple(TWO))
        await get(world, head())
        await pin(world, signer())
        require_generation(world, head(), TWO)
        assert world.log.named("unvouched-withdrawn")
        world.releases.put(ARCHIVE, BODY)
        assert inline(await get(world, ARCHIVE)).content == BODY
        await world.restart()  # the mode is noted: what is proved stays
        assert world.stored("releases:" + ARCHIVE) is not None


class UnreadableStore(Store):
    """Its disk does not give the records of what it stores."""

    def recover_all(self) -> None:
        raise StoreError("heads", "Input/output error")


async def test_what_could_not_be_read_at_a_start_is_judged_at_the_next(tmp_path: Path) -> None:
    async with World(tmp_path, trust=signed_trust()) as world:
        await filled(world)
        pins = world.state.fact(PINS_FACT)
        marks = (world.store.trust_mark(), world.state.fact("trust-mark"))
        assert pins
        assert all(marks)
        await world.filler.aclose()
        world.store.__class__ = UnreadableStore
        fingerprints = (stranger().fingerprint,)
        trust = msgspec.structs.replace(
            Trust(), **signed_trust(release_key_fingerprints=fingerprints)
        )
        world.config = msgspec.structs.replace(world.config, trust=trust)
        world.start()
        await world.filler.reprove()
        assert world.log.named("not-reproved")
        assert absent(world, [head()])  # what is there is judged all the same
        assert world.state.fact(PINS_FACT) == pins
        assert (world.store.trust_mark(), world.state.fact("trust-mark")) == marks
        await world.restart()
        assert world.state.fact(PINS_FACT) != pins
        assert world.state.fact("trust-mark") != marks[1]
