"""A releases upstream whose channels are signed, for the tests of what a signature proves.

Runs in: tests.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from mirror.fill.messages import Failed, Purpose, StoredAnswer
from mirror.fill.replies import Inline, Reply
from mirror.simulator.openpgp_signer import Signer
from mirror.store.entry import SIGNED_GENERATION, Entry
from tests.unit.fill.keeper_world import World, sha256, sha256_file

KEY_PATH = "/rust-key.gpg.ascii"
SUFFIXES = ("", ".sha256", ".asc")
SIGNED_AT = 1_790_000_000
DAY_1, DAY_2, DAY_3 = "2026-12-01", "2027-01-10", "2027-01-12"
VERSIONS = {"stable": "1.95.0", "beta": "1.96.0-beta.1", "nightly": "1.97.0-nightly"}


@functools.cache
def signer() -> Signer:
    """The pinned key; making one takes 0.1 s."""
    return Signer()


@functools.cache
def stranger() -> Signer:
    return Signer()


def signed_trust(**more: object) -> dict[str, object]:
    """The `[trust]` of a mirror that wants signatures by the pinned key."""
    pins = (signer().fingerprint,)
    return {"channel_manifest": "signature", "release_key_fingerprints": pins, **more}


def manifest(date: str = DAY_1, name: str = "stable", version: str = "", note: str = "") -> bytes:
    version = version or VERSIONS.get(name, name)
    return (
        f'manifest-version = "2"\ndate = "{date}"\n\n[pkg.cargo]\nversion = "0.96.0 (a 2026)"\n'
        f'[pkg.rust]\nversion = "{version} (59807616e 2026-04-14)"\ngit_commit_hash = "{note}"\n'
        "[pkg.rust.target.x86_64-unknown-linux-gnu]\navailable = false\n"
    ).encode()


def head(name: str = "stable") -> str:
    return f"/dist/channel-rust-{name}.toml"


def dated(date: str, name: str = "stable") -> str:
    return f"/dist/{date}/channel-rust-{name}.toml"


def signature(content: bytes, by: Signer | None = None, hash_name: str = "sha512") -> bytes:
    key = signer() if by is None else by
    return key.detached_signature([content], SIGNED_AT, hash_name=hash_name)


def triple(content: bytes) -> dict[str, bytes]:
    """A right generation by suffix."""
    return {"": content, ".sha256": sha256_file(content), ".asc": signature(content)}


def publish(
    world: World, path: str, files: dict[str, bytes], only: Iterable[str] = SUFFIXES
) -> None:
    """Put the files in place of what stands below `path`; without a key the file goes."""
    for suffix in only:
        if suffix in files:
            world.releases.put(path + suffix, files[suffix])
        else:
            world.releases.resources.pop(path + suffix, None)


def publish_key(world: World, by: Signer | None = None) -> None:
    world.releases.put(KEY_PATH, (signer() if by is None else by).public_key())


def release(world: World, content: bytes, date: str, name: str = "stable") -> None:
    """Publish as upstream does when all goes well: below the date, then as the head."""
    publish(world, dated(date, name), triple(content))
    publish(world, head(name), triple(content))


async def get(world: World, path: str, purpose: Purpose = Purpose.REVALIDATE) -> Reply:
    """Ask, and let the flight end."""
    reply = await world.ask("releases:" + path, purpose)
    await world.settled()
    return reply


def content_of(reply: Reply) -> bytes:
    """The digest of what a reply selects, stale or not; b"" for a refusal."""
    if isinstance(reply, Inline):
        return reply.entry.digest
    if isinstance(reply, StoredAnswer):
        return reply.stored.entry.digest
    assert isinstance(reply, Failed), reply
    return b""


def entry(world: World, path: str) -> Entry:
    stored = world.stored("releases:" + path)
    assert stored is not None, path
    return stored.entry


def require_generation(world: World, path: str, content: bytes) -> None:
    """The store holds exactly the generation of `content`, all three files, signed."""
    files = triple(content)
    found = [entry(world, path + suffix) for suffix in SUFFIXES]
    assert [one.digest for one in found] == [sha256(files[suffix]) for suffix in SUFFIXES]
    voucher = f"releases:{path}@{sha256(content).hex()}"
    assert {(one.proof, one.voucher) for one in found} == {(SIGNED_GENERATION, voucher)}


def events(world: World) -> list[str]:
    return [name for name, _ in world.log.events]
