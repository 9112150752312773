"""The release key and rustup's release file: what vouches for small objects beyond their form."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.errors import StoreError
from mirror.fill.messages import Failed, Purpose, StoredAnswer
from mirror.fill.small_proofs import NEWEST_FACT
from tests.unit.fill.keeper_world import World, inline, sha256
from tests.unit.fill.signed_world import KEY_PATH, RELEASE, flipped, signed_world, signer

KEY = "releases:" + KEY_PATH
RELEASE_PATH = "/rustup/release-stable.toml"
HEAD = "releases:" + RELEASE_PATH


def release(version: str) -> bytes:
    return f"schema-version = '1'\nversion = '{version}'\n".encode()


async def test_the_pinned_key_is_served_with_its_fingerprint_as_the_voucher(
    tmp_path: Path,
) -> None:
    async with signed_world(tmp_path, "channel_manifest") as world:
        entry = inline(await world.ask(KEY)).entry
        assert (entry.proof, entry.voucher) == ("key", signer(RELEASE).fingerprint)


@pytest.mark.parametrize("form", ["another key", "flipped", "html"])
async def test_a_key_that_is_not_the_pinned_one_is_never_served(tmp_path: Path, form: str) -> None:
    good = signer(RELEASE).public_key()
    wrong = {
        "another key": signer("somebody else").public_key(),
        "flipped": flipped(good, 150),
        "html": b"<html>200</html>",
    }[form]
    async with signed_world(tmp_path, "archive") as world:
        world.releases.put(KEY_PATH, wrong)
        reply = await world.ask(KEY)
        assert isinstance(reply, Failed)
        assert reply.status == 502
        assert world.stored(KEY) is None
        assert world.log.named("content-refused")[0]["key"] == KEY


async def test_the_good_key_serves_on_when_another_is_offered(tmp_path: Path) -> None:
    async with signed_world(tmp_path, "channel_manifest") as world:
        await world.ask(KEY)
        await world.settled()
        world.clock.move(8 * 86400)
        world.releases.put(KEY_PATH, signer("somebody else").public_key())
        reply = await world.ask(KEY, Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert reply.is_stale
        assert reply.stored.entry.digest == sha256(signer(RELEASE).public_key())
        assert world.log.named("content-refused")


async def test_without_signatures_any_key_of_the_right_form_is_passed_on(tmp_path: Path) -> None:
    async with signed_world(tmp_path) as world:
        world.releases.put(KEY_PATH, signer("a private tree").public_key())
        assert inline(await world.ask(KEY)).entry.proof == "parsed"


async def test_rustup_rolled_back_upstream_is_refused_and_the_newest_serves_on(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        world.releases.put(RELEASE_PATH, release("1.29.0"))
        await world.ask(HEAD)
        await world.settled()
        world.clock.move(61)
        world.releases.put(RELEASE_PATH, release("1.28.2"))
        reply = await world.ask(HEAD, Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert reply.is_stale
        assert reply.stored.entry.digest == sha256(release("1.29.0"))
        event = world.log.named("rustup-release-rollback")[0]
        assert (event["expected"], event["got"]) == ("1.29.0 or later", "1.28.2")
        world.clock.move(61)
        world.releases.put(RELEASE_PATH, release("1.29.1"))
        assert inline(await world.ask(HEAD, Purpose.REVALIDATE)).content == release("1.29.1")


async def test_rustup_rolled_back_is_refused_after_the_store_was_lost(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.releases.put(RELEASE_PATH, release("1.29.0"))
        await world.ask(HEAD)
        await world.settled()
        await world.filler._desk.withdraw([HEAD])
        await world.lose_index()
        world.releases.put(RELEASE_PATH, release("1.28.2"))
        reply = await world.ask(HEAD)
        assert isinstance(reply, Failed)
        assert reply.status == 502
        assert world.stored(HEAD) is None


async def test_the_newest_rustup_is_durable_before_it_is_answered(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.releases.put(RELEASE_PATH, release("1.29.0"))
        inline(await world.ask(HEAD))
        assert world.state.fact(NEWEST_FACT) == "1.29.0"


class FullState:
    """A state database that can be read and not written."""

    asked = 0

    def fact(self, _: str) -> str | None:
        return "1.28.0"

    def set_fact(self, name: str, _: str) -> None:
        self.asked += 1
        raise StoreError(name, "disk full")


async def test_a_rustup_that_cannot_be_noted_is_not_answered(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.releases.put(RELEASE_PATH, release("1.29.0"))
        state = FullState()
        parts = world.filler._procedures.small._proofs._parts
        object.__setattr__(parts, "trust", state)  # frozen; the world builds the real one
        reply = await world.ask(HEAD)
        assert isinstance(reply, Failed)
        assert (reply.status, state.asked) == (503, 1)
        assert world.stored(HEAD) is None
