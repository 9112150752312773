"""Dated manifests that upstream's own list does not name cost no request."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mirror.fill.messages import StoredAnswer
from tests.unit.fill.keeper_world import START, World

# The world begins on 2027-01-15 at 08:00 UTC.
LIST = b"".join(
    b"static.example/dist/%s/channel-rust-%s.toml\n" % line
    for line in (
        (b"2026-12-01", b"nightly"),
        (b"2026-12-03", b"nightly"),
        (b"2026-12-03", b"beta"),
    )
)


def test_the_world_begins_in_the_middle_of_january() -> None:
    assert datetime.fromtimestamp(START, UTC).isoformat() == "2027-01-15T08:00:00+00:00"


async def is_answered_by_the_list(world: World, name: str) -> bool:
    """Whether no request for the file itself was made; it is absent upstream in any case."""
    reply = await world.ask(f"releases:/dist/{name}")
    assert isinstance(reply, StoredAnswer)
    assert reply.stored.entry.status == 404
    paths = [path for path in world.releases.paths() if path.startswith("/dist/")]
    world.releases.requests = [r for r in world.releases.requests if r.path[:6] != "/dist/"]
    return paths == []


@pytest.mark.parametrize(
    "name",
    [
        "2026-12-02/channel-rust-nightly.toml",
        "2026-12-02/channel-rust-nightly.toml.sha256",
        "2026-12-02/channel-rust-nightly.toml.asc",
        "2026-12-02/channel-rust-nightly.sha256",
        "2026-12-02/channel-rust-nightly",
        "2026-11-30/channel-rust-nightly.toml.sha256",
        "2014-12-20/channel-rust-nightly.toml.sha256",
        "2026-12-01/channel-rust-beta.toml",
        "2026-12-04/channel-rust-stable.toml",
        "2027-01-13/channel-rust-nightly.toml.sha256",
    ],
)
async def test_an_unlisted_date_is_absent_without_a_request(tmp_path: Path, name: str) -> None:
    async with World(tmp_path) as world:
        world.releases.put("/manifests.txt", LIST)
        assert await is_answered_by_the_list(world, name)
        assert world.releases.paths() == ["/manifests.txt"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("2026-12-03/channel-rust-nightly.toml.sha256", id="listed"),
        pytest.param("2026-12-03/channel-rust-nightly.sha256", id="listed-v1"),
        pytest.param("2026-11-30/channel-rust-nightly.sha256", id="v1-before-the-list"),
        pytest.param("2026-12-04/channel-rust-stable.sha256", id="v1-of-a-channel-never-listed"),
        pytest.param("2027-01-14/channel-rust-nightly.toml", id="less-than-two-days-old"),
        pytest.param("2027-02-01/channel-rust-nightly.toml", id="in-the-future"),
        pytest.param("2026-02-30/channel-rust-nightly.toml", id="a-day-that-never-was"),
        pytest.param("2026-12-02/channel-rust-1.95.0.toml", id="a-version"),
        pytest.param("channel-rust-nightly.toml", id="a-head"),
    ],
)
async def test_upstream_is_asked_where_the_list_says_nothing(tmp_path: Path, name: str) -> None:
    async with World(tmp_path) as world:
        world.releases.put("/manifests.txt", LIST)
        assert not await is_answered_by_the_list(world, name)


@pytest.mark.parametrize("trouble", ["absent", "outage", "nonsense"])
async def test_without_a_list_upstream_is_asked(tmp_path: Path, trouble: str) -> None:
    async with World(tmp_path) as world:
        if trouble == "nonsense":
            world.releases.put("/manifests.txt", b"<html>")
        name = "releases:/dist/2026-12-02/channel-rust-nightly.toml.sha256"
        if trouble == "outage":
            world.releases.outage = "status 503"
        await world.ask(name)
        assert name.partition(":")[2] in world.releases.paths()


async def test_a_list_older_than_the_date_is_fetched_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.releases.put("/manifests.txt", LIST)
        await world.ask("releases:/manifests.txt")
        await world.settled()
        world.clock.move(2 * 86400)
        assert await is_answered_by_the_list(world, "2027-01-15/channel-rust-nightly.toml")
        assert world.releases.paths() == ["/manifests.txt", "/manifests.txt"]


async def test_a_list_confirmed_since_the_date_is_enough_even_when_stale(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.releases.put("/manifests.txt", LIST)
        await world.ask("releases:/manifests.txt")
        await world.settled()
        world.clock.move(30 * 86400)
        world.releases.outage = "status 503"
        assert await is_answered_by_the_list(world, "2026-12-02/channel-rust-nightly.toml")
        assert world.releases.paths() == ["/manifests.txt"]


async def test_a_walk_back_through_many_days_fetches_the_list_once(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.releases.put("/manifests.txt", LIST)
        names = [f"2025-{m:02}-{d:02}" for m in range(1, 13) for d in range(1, 29)]
        await asyncio.gather(
            *(
                world.ask(f"releases:/dist/{name}/channel-rust-nightly.toml.sha256")
                for name in names
            )
        )
        assert world.releases.paths() == ["/manifests.txt"]
