"""What an earlier fill left is asked for from its end on, in the first request."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.fill.messages import Failed, FlightState, StoredAnswer
from mirror.fill.replies import Growing, PassThrough
from tests.unit.fill.keeper_world import World, ended, noise, sha256
from tests.unit.fill.scripted_pool import Request, Resource, Step

KEY = "releases:/dist/2026-01-01/rustc-1.95.0-x86_64-unknown-linux-gnu.tar.xz"
PATH = KEY.partition(":")[2]
BIG = noise(2_000_000)
LANDED = 1_000_000


async def interrupted(world: World, at: int = LANDED) -> Resource:
    """A fill that was killed with the keeper when `at` bytes had landed."""
    world.vouch(PATH, sha256(BIG))
    resource = world.releases.put(PATH, BIG)
    resource.steps = [Step(body_gate=asyncio.Event(), gate_at=at)]
    if at == len(BIG):
        resource.steps = [Step(cut_at=at - 1), *(Step(error="reset") for _ in range(2))]
    reply = await world.ask(KEY)
    assert isinstance(reply, Growing)
    async with asyncio.timeout(10):
        while reply.file.landed < at - (at == len(BIG)):
            await asyncio.sleep(0.001)
    if at == len(BIG):
        await ended(reply)
        await world.settled()
        [temp] = [p for p in (world.path / "store" / "partial").iterdir() if not p.suffix]
        temp.write_bytes(BIG)  # the last byte came just before the end
        world.clock.move(10)
    await world.restart()
    world.releases.requests.clear()
    return resource


async def resumed(world: World) -> list[Request]:
    reply = await ended(await world.ask(KEY))
    assert reply.file.state is FlightState.VERIFIED
    await world.settled()
    assert world.stored_content(KEY) == BIG
    assert world.partials() == []
    return world.releases.requests


async def test_the_first_request_asks_for_the_rest_alone(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        resource = await interrupted(world)
        [request] = await resumed(world)
        assert request.fields["Range"] == f"bytes={LANDED}-"
        assert request.fields["If-Range"] == resource.etag
        assert (request.status, request.sent) == (206, len(BIG) - LANDED)
        stored = world.stored(KEY)
        assert stored is not None
        assert stored.entry.upstream_etag == resource.etag


async def test_a_body_that_had_landed_whole_costs_one_byte(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await interrupted(world, at=len(BIG))
        [request] = await resumed(world)
        assert request.fields["Range"] == f"bytes={len(BIG) - 1}-"
        assert request.sent <= 1


async def test_an_upstream_without_ranges_is_asked_once(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        (await interrupted(world)).steps = [Step(ignores_range=True)]
        [request] = await resumed(world)
        assert request.status == 200


async def test_under_another_validator_the_body_begins_anew(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        (await interrupted(world)).etag = '"another"'
        [request] = await resumed(world)
        assert (request.status, request.sent) == (200, len(BIG))


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(Step(status=416), id="unsatisfiable"),
        pytest.param(Step(fields={"content-range": "bytes 5-9/10"}), id="another-part"),
        pytest.param(Step(fields={"etag": '"another"'}), id="part-of-another"),
    ],
)
async def test_an_unusable_answer_is_asked_again_for_the_whole(tmp_path: Path, step: Step) -> None:
    async with World(tmp_path) as world:
        (await interrupted(world)).steps = [step]
        requests = await resumed(world)
        assert "Range" in requests[0].fields
        assert "Range" not in requests[1].fields


async def test_what_is_gone_upstream_is_absent_with_one_request(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await interrupted(world)
        del world.releases.resources[PATH]
        reply = await world.ask(KEY)
        assert isinstance(reply, StoredAnswer)
        assert reply.stored.entry.status == 404
        assert len(world.releases.requests) == 1


async def test_trouble_while_resuming_keeps_what_landed(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        (await interrupted(world)).steps = [Step(error="reset")]
        assert isinstance(await world.ask(KEY), Failed)
        world.clock.move(10)
        await world.settled()
        assert (await resumed(world))[-1].sent == len(BIG) - LANDED


async def test_a_body_that_has_to_pass_through_after_all_is_whole(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await interrupted(world)
        world.files.is_full = True
        reply = await world.ask(KEY)
        if isinstance(reply, Growing):  # the temp is there: only writing to it fails
            await ended(reply)
            await world.settled()
            world.clock.move(10)
            reply = await world.ask(KEY)
        assert isinstance(reply, PassThrough)
        pieces = []
        while piece := await reply.source.read():
            pieces.append(piece)
        assert b"".join(pieces) == BIG
        await world.settled()


async def test_a_resumed_body_without_room_passes_through_whole(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await interrupted(world)
        await world.filler.aclose()
        held = world.store.reserve(world.store.budget_bytes - world.store.used_bytes - 8192)
        assert held is not None
        world.start()
        reply = await world.ask(KEY)
        assert isinstance(reply, PassThrough)
        assert "Range" in world.releases.requests[0].fields
        pieces = []
        while piece := await reply.source.read():
            pieces.append(piece)
        assert b"".join(pieces) == BIG
        await world.settled()
        held.release()
