"""How often clients can have upstream asked, and how long a stored copy stands in for it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mirror.config import DurationOrZero
from mirror.errors import ErrorType, UpstreamError
from mirror.fill.messages import Ask, Failed, Purpose, StoredAnswer
from mirror.fill.replies import Reply, failed
from tests.unit.fill.crate_world import BODY, INDEX, fill
from tests.unit.fill.keeper_world import World


async def wish(world: World, since: float, key: str = INDEX) -> Reply:
    return await world.filler.ask(Ask(purpose=Purpose.REVALIDATE, key=key, since=since))


async def limited(world: World, stale_if_error_s: float) -> None:
    limit = DurationOrZero(stale_if_error_s)
    freshness = msgspec.structs.replace(world.config.freshness, stale_if_error=limit)
    world.config = msgspec.structs.replace(world.config, freshness=freshness)
    await world.restart()


async def test_a_wish_is_heard_once_per_floor_however_often_it_comes(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        outcomes = []
        for _ in range(20):  # twenty seconds of no-cache, with a floor of five
            world.clock.move(1)
            reply = await wish(world, world.clock.now())
            assert isinstance(reply, StoredAnswer)
            outcomes.append(reply.outcome)
            await world.settled()
        assert len(world.index.requests) == 1 + outcomes.count("fwd=stale; fwd-status=304")
        assert outcomes.count("hit") == 20 - len(world.index.requests) + 1
        assert len(world.index.requests) in (4, 5)


async def test_an_older_wish_is_granted_by_what_is_younger(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        world.clock.move(20)
        reply = await wish(world, world.clock.now() - 20)
        assert isinstance(reply, StoredAnswer)
        assert reply.outcome == "hit"
        assert len(world.index.requests) == 1


@pytest.mark.parametrize(
    ("stale_s", "serves"), [pytest.param(100, True, id="at"), pytest.param(101, False, id="over")]
)
async def test_a_copy_stands_in_within_stale_if_error(
    tmp_path: Path, stale_s: float, serves: bool
) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        await limited(world, 100)
        world.index.outage = "status 503"
        world.clock.move(60 + stale_s)
        for turn in range(2):  # by the flight, then held off without one
            reply = await world.ask(INDEX, Purpose.REVALIDATE)
            if serves:
                assert isinstance(reply, StoredAnswer)
                expected = ("hit; detail=stale-if-error", "fwd=stale; fwd-status=503")[turn == 0]
                assert reply.outcome.startswith(expected)
                assert reply.is_stale
            else:
                assert isinstance(reply, Failed)
                assert (reply.status, reply.upstream_status) == (503, 503)


def test_the_type_of_an_error_travels_to_the_worker() -> None:
    error = UpstreamError(
        "https://x", "no", upstream_status=500, error_type=ErrorType.DESTINATION_UNAVAILABLE
    )
    said = failed(error)
    assert (said.error_type, said.upstream_status) == (ErrorType.DESTINATION_UNAVAILABLE, 500)
