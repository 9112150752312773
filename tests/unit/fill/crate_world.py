"""A registry with one crate, and a keeper in front of it.

Runs in: tests.
"""

from __future__ import annotations

import msgspec

from mirror.errors import StoreError
from mirror.fill.messages import Failed, Purpose, StoredAnswer
from mirror.fill.replies import Inline, Reply
from mirror.store.state import CrateRecord, StateDatabase
from tests.unit.fill.keeper_world import World, index_lines, noise, sha256

INDEX = "index:/mi/xe/mixedcase"
INDEX_PATH = "/mi/xe/mixedcase"
NAME = "MixedCase"
BODY = noise(5000)
OTHER = noise(5000, seed=2)
THIRD = noise(5000, seed=3)


def key(version: str, name: str = NAME) -> str:
    return f"crates:{path(version, name)}"


def path(version: str, name: str = NAME) -> str:
    return f"/crates/{name}/{name}-{version}.crate"


def publish(world: World, versions: dict[str, bytes], name: str = NAME) -> None:
    """Let upstream offer exactly these versions."""
    world.index.put(INDEX_PATH, index_lines(name, versions))
    for version, body in versions.items():
        world.crates.put(path(version, name), body)


def delete(world: World) -> None:
    """Let upstream delete the crate, files and all."""
    world.index.resources.clear()
    world.crates.resources.clear()


async def look(world: World, *, after_s: float = 61) -> Reply:
    """Ask for the index file when it is no longer fresh, and wait for all that follows."""
    world.clock.move(after_s)
    reply = await world.ask(INDEX, Purpose.REVALIDATE)
    await world.settled()
    return reply


async def fill(world: World, versions: dict[str, bytes], name: str = NAME) -> None:
    """Publish and store index and crates."""
    publish(world, versions, name)
    for version, body in versions.items():
        assert content_of(world, await world.ask(key(version, name))) == body
    await world.settled()


def content_of(world: World, reply: Reply) -> bytes:
    """The representation that a reply selects; b"" for an absence or a failure."""
    if isinstance(reply, Inline):
        return reply.content
    if isinstance(reply, StoredAnswer) and reply.stored.entry.status == 200:
        return world.stored_content(reply.stored.entry.key)
    return b""


def status_of(reply: Reply) -> int:
    if isinstance(reply, Failed):
        return reply.status
    if isinstance(reply, StoredAnswer):
        return reply.stored.entry.status
    assert isinstance(reply, Inline), reply
    return reply.entry.status


def accepting(version: str, body: bytes, name: str = NAME) -> str:
    return f"crate {name} {version} {sha256(body).hex()}"


async def accept(world: World, *lines: str) -> None:
    """Restart the keeper with these lines in `[trust] accept`."""
    trust = msgspec.structs.replace(world.config.trust, accept=lines)
    world.config = msgspec.structs.replace(world.config, trust=trust)
    await world.restart()


class DyingState(StateDatabase):
    """A state database whose keeper dies right after a crate's history became durable."""

    died = 0

    def put_crate_records(self, records: list[CrateRecord]) -> None:  # type: ignore[override]
        super().put_crate_records(records)
        if any(record.is_marked for record in records):
            self.died += 1
            raise StoreError("state.db", "the keeper died here")
