"""Upstream bodies that break: resumed inside the fill, never patched together wrongly."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.fill.messages import Failed, FlightState
from mirror.fill.replies import Growing
from mirror.fill.transfer import is_absent
from mirror.route.match import route_of_key
from tests.unit.fill.keeper_world import World, ended, inline, noise, sha256
from tests.unit.fill.scripted_pool import Resource, Step

KEY = "releases:/dist/2026-01-01/rustc-1.95.0-x86_64-unknown-linux-gnu.tar.xz"
PATH = KEY.partition(":")[2]
BIG = noise(2_000_000)


def publish(world: World, content: bytes = BIG, **more: object) -> Resource:
    world.vouch(PATH, sha256(content))
    return world.releases.put(PATH, content, **more)  # type: ignore[arg-type] # etag is a str


async def test_a_broken_body_goes_on_by_range_and_if_range(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        resource = publish(world)
        resource.steps = [Step(cut_at=700_000), Step(cut_at=500_000)]
        await ended(await world.ask(KEY))
        assert world.stored_content(KEY) == BIG
        asked = [request.fields for request in world.releases.requests]
        assert [fields.get("Range") for fields in asked] == [
            None,
            "bytes=700000-",
            "bytes=1200000-",
        ]
        assert asked[1]["If-Range"] == resource.etag
        assert world.releases.sent(PATH) == len(BIG)
        assert len(world.releases.played) == 2


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
async def test_without_a_strong_validator_the_given_prefix_is_skipped(
    tmp_path: Path, etag: str
) -> None:
    async with World(tmp_path) as world:
        publish(world, etag=etag).steps = [Step(cut_at=700_000)]
        await ended(await world.ask(KEY))
        assert world.stored_content(KEY) == BIG
        assert "Range" not in world.releases.requests[1].fields
        assert len(world.releases.played) == 1


async def test_a_200_to_a_range_request_is_skipped_to_the_offset(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world).steps = [Step(cut_at=700_000), Step(ignores_range=True)]
        await ended(await world.ask(KEY))
        assert world.stored_content(KEY) == BIG
        assert world.releases.requests[1].status == 200
        assert len(world.releases.played) == 2


async def test_a_changed_representation_behind_a_break_fails_by_its_digest(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        other = noise(len(BIG), seed=2)
        publish(world).steps = [Step(cut_at=700_000), Step(ignores_range=True, content=other)]
        reply = await ended(await world.ask(KEY))
        assert reply.file.state is FlightState.FAILED
        assert len(world.releases.played) == 2
        await world.settled()
        event = world.log.named("digest-mismatch")[0]
        assert event["got"] == sha256(BIG[:700_000] + other[700_000:]).hex()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(f"bytes 700001-{len(BIG) - 1}/{len(BIG)}", id="starts-later"),
        pytest.param(f"bytes 0-{len(BIG) - 1}/{len(BIG)}", id="starts-at-zero"),
        pytest.param(f"bytes 700000-{len(BIG)}/{len(BIG) + 1}", id="another-complete-length"),
        pytest.param(f"bytes 700000-{len(BIG) - 2}/{len(BIG)}", id="ends-early"),
        pytest.param(f"bytes 700000-{len(BIG) - 1}/*", id="unknown-complete-length"),
        pytest.param("bytes */2000000", id="unsatisfied"),
        pytest.param("", id="absent"),
    ],
)
async def test_a_wrong_content_range_is_an_error_and_tried_again(
    tmp_path: Path, value: str
) -> None:
    async with World(tmp_path) as world:
        publish(world).steps = [Step(cut_at=700_000), Step(fields={"content-range": value})]
        await ended(await world.ask(KEY))
        assert world.stored_content(KEY) == BIG
        assert len(world.releases.played) == 2
        reasons = [str(event["reason"]) for event in world.log.named("fill-resumes")]
        assert "Content-Range" in reasons[1]


async def test_tries_without_progress_are_bounded(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world).steps = [Step(cut_at=700_000)] + [Step(error="reset") for _ in range(9)]
        reply = await ended(await world.ask(KEY))
        assert reply.file.state is FlightState.FAILED
        assert reply.file.failure is not None
        assert reply.file.failure.status == 503
        # The break made progress, so it is the first failure of the three that are allowed.
        assert len(world.releases.played) == 1 + 2
        assert world.stored(KEY) is None


async def test_a_failed_fill_goes_on_where_it_ended(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world).steps = [Step(cut_at=700_000)] + [Step(error="reset") for _ in range(2)]
        await ended(await world.ask(KEY))
        await world.settled()
        assert world.partials() != []
        world.clock.move(10)
        reply = await ended(await world.ask(KEY))
        assert reply.file.state is FlightState.VERIFIED
        assert world.stored_content(KEY) == BIG
        assert world.releases.requests[-1].fields["Range"] == "bytes=700000-"
        assert world.releases.requests[-1].sent == len(BIG) - 700_000


async def test_a_partial_outlives_the_keeper(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        gate = asyncio.Event()
        publish(world).steps = [Step(body_gate=gate, gate_at=1_000_000)]
        reply = await world.ask(KEY)
        assert isinstance(reply, Growing)
        async with asyncio.timeout(10):
            while reply.file.landed < 1_000_000:
                await asyncio.sleep(0.001)
        await world.restart()
        assert reply.file.state is FlightState.FAILED
        again = await world.ask(KEY)
        assert isinstance(again, Growing)
        assert again.file.landed >= 1_000_000
        await ended(again)
        assert world.stored_content(KEY) == BIG
        assert world.releases.requests[-1].fields["Range"] == "bytes=1000000-"


async def test_a_body_that_is_longer_than_announced_is_refused(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world).steps = [Step(fields={"content-length": "1000000"})]
        reply = await ended(await world.ask(KEY))
        assert reply.file.state is FlightState.FAILED
        assert len(world.releases.played) == 1
        assert len(world.releases.requests) == 1


async def test_a_body_that_is_shorter_than_announced_is_asked_for_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world).steps = [Step(content=BIG[:-10], fields={"content-length": str(len(BIG))})]
        await ended(await world.ask(KEY))
        assert world.stored_content(KEY) == BIG
        assert world.releases.requests[-1].fields["Range"] == f"bytes={len(BIG) - 10}-"


async def test_a_break_behind_the_last_byte_is_no_break(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world).steps = [Step(cut_at=len(BIG))]
        await ended(await world.ask(KEY))
        assert world.stored_content(KEY) == BIG
        assert len(world.releases.requests) == 1


async def test_small_bodies_are_resumed_as_well(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, BIG[:1000]).steps = [Step(cut_at=600)]
        assert inline(await world.ask(KEY)).content == BIG[:1000]
        assert world.releases.sent(PATH) == 1000


async def test_an_unusual_status_is_trouble(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world).steps = [Step(status=416)]
        reply = await world.ask(KEY)
        assert isinstance(reply, Failed)
        assert reply.status == 503


@pytest.mark.parametrize(
    ("key", "absent"),
    [
        ("releases:/manifests.txt", {404, 410}),
        ("crates:/crates/serde/serde-1.0.0.crate", {403, 404, 410, 451}),
        ("index:/se/rd/serde", {404, 410, 451}),
    ],
)
def test_absence_is_what_each_upstream_calls_so(key: str, absent: set[int]) -> None:
    route = route_of_key(key)
    assert route is not None
    assert {status for status in range(100, 600) if is_absent(route, status)} == absent
