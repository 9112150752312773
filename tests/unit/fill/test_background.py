"""Background checks: of crates that are served, and of what is served stale."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from mirror.config import Duration
from mirror.fill.background import QUEUED_MAX, RUNNING_MAX, BackgroundChecks
from mirror.fill.flights import Flights
from mirror.fill.messages import Purpose, StoredAnswer
from mirror.fill.objects import ANY_TIME
from mirror.route.crates import crate_route
from mirror.route.route import Route
from mirror.route.sparse_index import index_route
from tests.unit.fill.crate_world import (
    BODY,
    INDEX,
    INDEX_PATH,
    OTHER,
    content_of,
    delete,
    fill,
    key,
    publish,
)
from tests.unit.fill.keeper_world import START, World
from tests.unit.fill.scripted_pool import Step


async def checked(world: World, *keys: str) -> None:
    world.filler.check(keys)
    async with asyncio.timeout(10):
        while world.filler.checks:
            await asyncio.sleep(0.001)
    await world.settled()


async def test_a_check_confirms_the_index_entry_that_workers_look_at(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        world.clock.move(61)
        await checked(world, key("1.0.0"))
        stored = world.stored(INDEX)
        assert stored is not None
        assert stored.entry.confirmed_at == world.clock.now()
        assert world.index.requests[-1].status == 304


async def test_what_was_confirmed_lately_is_not_asked_about(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        world.clock.move(59)
        await checked(world, key("1.0.0"))
        assert len(world.index.requests) == 1


async def test_a_check_withdraws_what_the_index_lists_no_more(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY, "1.0.1": OTHER})
        publish(world, {"1.0.1": OTHER})
        world.clock.move(61)
        epoch = world.page.epoch
        await checked(world, key("1.0.0"), key("1.0.1"))
        assert world.stored(key("1.0.0")) is None
        assert world.stored(key("1.0.1")) is not None
        assert world.page.epoch > epoch
        assert len(world.index.requests) == 2


async def test_a_check_of_a_deleted_crate_withdraws_all_of_it(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        delete(world)
        world.clock.move(61)
        await checked(world, key("1.0.0"))
        assert world.stored(key("1.0.0")) is None


async def test_a_check_while_upstream_is_away_changes_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        world.clock.move(61)
        world.index.outage = "status 503"
        await checked(world, key("1.0.0"))
        assert world.stored(key("1.0.0")) is not None
        asked = len(world.index.requests)
        await checked(world, key("1.0.0"))
        assert len(world.index.requests) == asked  # held off


async def test_a_hit_that_waits_is_checked_by_the_shorter_limit(tmp_path: Path) -> None:
    """With an index that is fresh for longer than crates may go unchecked."""
    async with World(tmp_path) as world:
        freshness = msgspec.structs.replace(world.config.freshness, index=Duration(86400))
        world.config = msgspec.structs.replace(world.config, freshness=freshness)
        await world.restart()
        await fill(world, {"1.0.0": BODY})
        world.clock.move(601)
        reply = await world.ask(key("1.0.0"), Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert reply.stored.entry.confirmed_at == world.clock.now()
        assert not reply.is_stale
        assert len(world.index.requests) == 2


async def test_a_hit_that_waits_is_served_stale_when_upstream_is_away(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        world.clock.move(601)
        world.index.outage = "status 503"
        reply = await world.ask(key("1.0.0"), Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert reply.is_stale
        assert content_of(world, reply) == BODY


async def test_what_is_not_stored_or_no_key_is_not_asked_about(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await checked(world, INDEX, "releases:/dist/x", "crates:/../x", "", "\x00")
        assert [pool.requests for pool in world.pools.values()] == [[], [], []]


async def test_a_running_check_is_ended_with_the_keeper(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        world.clock.move(61)
        world.index.resources[INDEX_PATH].steps = [Step(gate=asyncio.Event())]
        world.filler.check([key("1.0.0")])
        async with asyncio.timeout(10):
            while len(world.index.requests) < 2:
                await asyncio.sleep(0.001)
        await world.restart()
        assert world.stored(key("1.0.0")) is not None


class SlowObjects:
    """An index that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []
        self.running = 0
        self.most = 0
        self.may_answer = asyncio.Event()
        self.error: Exception | None = None

    async def refresh(self, route: Route, *, since: float = ANY_TIME) -> None:
        self.asked.append((route.key, since))
        self.running += 1
        self.most = max(self.most, self.running)
        await self.may_answer.wait()
        self.running -= 1
        if self.error is not None:
            raise self.error


def checks_of(world: World, objects: SlowObjects) -> BackgroundChecks:
    flights = Flights(clock=world.clock, log=world.log)
    return BackgroundChecks(objects, flights, world.clock, world.log, after_s=60)


def keys_of(count: int) -> list[str]:
    routes = [crate_route(f"crate{n}", version) for n in range(count) for version in ("1.0.0",)]
    return [route.key for route in routes if route is not None]


async def ended(checks: BackgroundChecks) -> None:
    async with asyncio.timeout(10):
        while len(checks):
            await asyncio.sleep(0)


async def test_checks_are_bounded_and_what_comes_on_top_is_dropped(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        objects = SlowObjects()
        checks = checks_of(world, objects)
        checks.check(keys_of(QUEUED_MAX + 5))
        assert checks.dropped_total == 5
        await asyncio.sleep(0)
        assert repr(checks) == (
            f"<BackgroundChecks {RUNNING_MAX} running, {QUEUED_MAX - RUNNING_MAX} queued>"
        )
        checks.check(keys_of(20))  # they run or wait
        objects.may_answer.set()
        await ended(checks)
        assert (objects.most, len(objects.asked)) == (RUNNING_MAX, QUEUED_MAX)
        assert {since for _, since in objects.asked} == {START - 60}
        await checks.aclose()


async def test_versions_of_one_crate_are_one_check(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        objects = SlowObjects()
        objects.may_answer.set()
        checks = checks_of(world, objects)
        checks.check([key("1.0.0"), key("2.0.0"), key("1.0.0", name="mixedcase")])
        await ended(checks)
        assert [asked for asked, _ in objects.asked] == [INDEX]
        await checks.aclose()


async def test_a_check_that_crashes_is_told_and_the_next_goes_on(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        objects = SlowObjects()
        objects.may_answer.set()
        objects.error = RuntimeError("boom")
        checks = checks_of(world, objects)
        checks.check(keys_of(2))
        await ended(checks)
        assert len(world.log.named("check-crashed")) == 2
        await checks.aclose()
        checks.check(keys_of(2))
        assert len(checks) == 0


def test_every_crate_has_an_index_file() -> None:
    route = crate_route("MixedCase", "1.0.0")
    index = index_route("MixedCase")
    assert route is not None
    assert index is not None
    assert (route.key, index.key) == (key("1.0.0"), INDEX)


class CountingObjects:
    """Confirms everything at once, and counts."""

    def __init__(self) -> None:
        self.asked = 0

    async def refresh(self, route: Route, *, since: float = ANY_TIME) -> None:
        self.asked += 1


async def test_a_check_that_comes_as_the_last_one_ends_is_made(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        objects = CountingObjects()
        flights = world.filler._flights
        checks = BackgroundChecks(objects, flights, world.clock, world.log, after_s=60)
        for turns in range(8):  # one of them lies between a worker's end and its callback
            checks.check([key("1.0.0")])
            for _ in range(turns):
                await asyncio.sleep(0)
            checks.check([key("1.0.0", f"Other{turns}")])
            async with asyncio.timeout(5):
                while len(checks):
                    await asyncio.sleep(0)
            assert objects.asked == 2 * (turns + 1)
            await asyncio.sleep(0.001)
        await checks.aclose()


# What workers serve stale.


async def test_a_stale_object_is_revalidated_once_whoever_tells(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        world.clock.move(61)
        for _ in range(3):  # as three workers do
            world.filler.check([INDEX])
        await checked(world, INDEX)
        stored = world.stored(INDEX)
        assert stored is not None
        assert stored.entry.confirmed_at == world.clock.now()
        assert [request.status for request in world.index.requests[1:]] == [304]


async def test_what_is_fresh_is_not_asked_about_behind_an_answer(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        world.clock.move(59)
        await checked(world, INDEX)
        assert len(world.index.requests) == 1


async def test_a_failing_upstream_is_not_asked_behind_every_answer(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await fill(world, {"1.0.0": BODY})
        world.clock.move(61)
        world.index.outage = "status 503"
        await checked(world, INDEX)
        asked = len(world.index.requests)
        await checked(world, INDEX)
        assert len(world.log.named("upstream-trouble")) == 1
        assert len(world.index.requests) == asked
