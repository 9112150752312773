"""Random walks: whatever upstream, disk and crashes do, no version changes its bytes unseen.

The model knows what upstream showed: what it offers at the time of a request for the index file.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from mirror.fill.checks import parse_facts
from mirror.fill.messages import Purpose
from tests.unit.fill.crate_world import (
    BODY,
    INDEX,
    INDEX_PATH,
    OTHER,
    THIRD,
    content_of,
    delete,
    key,
    publish,
)
from tests.unit.fill.keeper_world import World, sha256

STEPS = 120
VERSIONS = ("1.0.0", "1.0.1", "1.0.2")
BODIES = (BODY, OTHER, THIRD)
MOVES = (
    *("offer", "offer", "offer", "look", "look", "look", "crate", "crate", "crate", "time"),
    *("time", "time", "delete", "outage", "restart", "crash", "lose", "check"),
)


class Walk:
    """One keeper, its upstream, and the model of what the keeper may say."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.live: dict[str, bytes] = {}
        self.buried: dict[str, bytes] = {}
        self.looked = 0
        self.done: Counter[str] = Counter()

    async def step(self) -> None:
        name = self.random.choice(MOVES)
        self.done[name] += 1
        await getattr(self, name)()
        await self.world.settled()
        self.note_what_was_shown()
        self.check_what_is_stored()

    async def offer(self) -> None:
        chosen = [v for v in VERSIONS if self.random.random() < 0.7] or [VERSIONS[0]]
        offered = {v: BODIES[VERSIONS.index(v)] for v in chosen}
        if self.random.random() < 0.4:
            offered[chosen[0]] = self.random.choice(BODIES)
        publish(self.world, offered)

    async def look(self) -> None:
        content = content_of(self.world, await self.world.ask(INDEX, Purpose.REVALIDATE))
        self.note_what_was_shown()
        if content:
            listed = parse_facts(INDEX, content).versions
            wrong = {v for v, c in listed.items() if self.live.get(v, self.buried.get(v)) != c}
            assert not wrong, f"the index says of {wrong} what was never taken over"

    async def crate(self) -> None:
        version = self.random.choice(VERSIONS)
        purpose = self.random.choice((Purpose.FETCH, Purpose.REVALIDATE))
        content = content_of(self.world, await self.world.ask(key(version), purpose))
        self.note_what_was_shown()
        if content:
            assert sha256(content) == self.live.get(version), f"other bytes for {version}"
            self.done["served"] += 1

    async def time(self) -> None:
        self.world.clock.move(self.random.choice((1, 61, 601)))

    async def delete(self) -> None:
        delete(self.world)

    async def outage(self) -> None:
        for outage in ("status 503", ""):
            for pool in self.world.pools.values():
                pool.outage = outage
            for _ in range(3):
                await self.random.choice((self.look, self.crate, self.time))()

    async def restart(self) -> None:
        await self.world.restart()

    async def crash(self) -> None:
        self.world.state.close()  # what is written behind is lost
        await self.world.restart()

    async def lose(self) -> None:
        await self.world.lose_index()

    async def check(self) -> None:
        self.world.filler.check([key(VERSIONS[0])])
        async with asyncio.timeout(10):
            while self.world.filler.checks:
                await asyncio.sleep(0.001)

    def note_what_was_shown(self) -> None:
        requests = self.world.index.requests[self.looked :]
        self.looked += len(requests)
        if not any(request.status in (200, 304, 404) for request in requests):
            return
        resource = self.world.index.resources.get(INDEX_PATH)
        offered = {} if resource is None else parse_facts(INDEX, resource.content).versions
        gone = {cksum for v, cksum in self.live.items() if v not in offered}
        for version, cksum in offered.items():
            known = self.live.get(version)
            if known not in (None, cksum) or (known is None and cksum in gone):
                self.done["held"] += 1
                return
        self.done["again"] += sum(self.buried.get(v, c) != c for v, c in offered.items())
        self.done["deleted"] += len(self.live.keys() - offered.keys())
        before = {**self.buried, **self.live}
        self.buried = {v: cksum for v, cksum in before.items() if v not in offered}
        self.live = offered

    def check_what_is_stored(self) -> None:
        for version in VERSIONS:
            stored = self.world.stored(key(version))
            if stored is not None and stored.entry.status == 200:
                assert stored.entry.digest == self.live.get(version), f"stored {version}"


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(1), id="one"),
        pytest.param(range(1, 100), id="many", marks=[pytest.mark.full, pytest.mark.timeout(600)]),
    ],
)
async def test_no_walk_leads_to_other_bytes_of_a_version(tmp_path: Path, seeds: range) -> None:
    done: Counter[str] = Counter()
    for seed in seeds:
        async with World(tmp_path / str(seed)) as world:
            walk = Walk(world, seed)
            publish(world, {VERSIONS[0]: BODY})
            for _ in range(STEPS):
                await walk.step()
            done += walk.done
    for event in ("served", "held", "deleted", "again", "crash", "lose"):
        assert done[event] >= len(seeds) // 2, (event, done)
