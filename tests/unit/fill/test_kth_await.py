"""A fill is cancelled at its k-th await, for every k: nothing is left, and a later ask works.

A flight publishes in threads that it awaits, so publishing is among what is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from mirror.errors import MirrorError
from mirror.fill.messages import Ask, Purpose
from mirror.fill.replies import Growing, PassThrough
from tests.counting_awaits import AwaitCounter
from tests.unit.fill.broken_world import BrokenWorld, flush_often
from tests.unit.fill.test_kth_call import BIG, Upstream

MANY = 3000  # more awaits than any fill has
WHOLE = 3  # a run has an await less when a thread was quick: so many must end before their k-th
FLIGHT = "Flights._fly"
ASKER = "Filler.ask"


async def cancelled_at_every_await(tmp_path: Path, watched: str, kind: str, budget: int) -> int:
    """Return at how many awaits, from the first one on without a gap, a run was cancelled."""
    counter = AwaitCounter(watched)
    k = 1
    whole = 0  # runs in a row that ended before their k-th await
    async with BrokenWorld(tmp_path, budget=budget) as world:
        upstream = Upstream(world)
        make: Callable[[], tuple[str, bytes]] = getattr(upstream, kind)
        with counter.counting():
            tasks = asyncio.all_tasks()
            while whole < WHOLE:
                assert k < MANY, "a fill without an end"
                key, content = make()
                counter.arm(k)
                await _asked(world, key)
                await world.settled()
                has_fired = counter.fired
                counter.arm(0)
                world.clock.move(400.0)  # hold-offs end
                assert await world.fetched(key) == content, f"after await {k}"
                await world.settled()
                world.require_tidy()
                await _until_only(tasks, f"a task is left after await {k}")
                k, whole = (k + 1, 0) if has_fired else (k, whole + 1)
        assert world.log.errors == []
        assert world.store.trouble.is_storing
    return k - 1


async def _asked(world: BrokenWorld, key: str) -> None:
    """Ask as a worker's connection does, in a task of its own, and follow what comes."""
    task = asyncio.create_task(world.filler.ask(Ask(purpose=Purpose.FETCH, key=key)))
    await asyncio.wait([task])
    reply = None if task.cancelled() else task.result()
    if isinstance(reply, PassThrough):
        with contextlib.suppress(MirrorError):  # the flight was cancelled under it
            while await reply.source.read():
                pass
    elif isinstance(reply, Growing):
        async with asyncio.timeout(20):
            while not reply.file.is_over:
                await asyncio.sleep(0)


async def _until_only(tasks: set[asyncio.Task[object]], what: str) -> None:
    """Wait until no other task runs: what writes behind an answer ends by itself."""
    try:
        async with asyncio.timeout(5):
            while asyncio.all_tasks() != tasks:
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"{what}: {asyncio.all_tasks() - tasks}") from None


ROOMY, TIGHT = 1 << 30, 2 * len(BIG) - 100_000  # the second has room for one archive
WITHOUT_ROOM = len(BIG) // 2


@pytest.mark.parametrize("watched", [FLIGHT, ASKER], ids=["the-flight", "who-asks"])
@pytest.mark.parametrize(
    ("kind", "budget"),
    [
        pytest.param("archive", ROOMY, id="a-growing-body"),
        pytest.param("archive", TIGHT, id="a-growing-body-that-evicts"),
        pytest.param("archive", WITHOUT_ROOM, id="a-body-that-passes-through"),
        pytest.param("crate", ROOMY, id="a-small-body-behind-its-index"),
    ],
)
@pytest.mark.full
async def test_a_fill_cancelled_at_any_await_leaves_nothing_and_can_be_had_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: str, kind: str, budget: int
) -> None:
    flushes = flush_often(monkeypatch)
    fired = await cancelled_at_every_await(tmp_path, watched, kind, budget)
    print(f"{watched}, {kind}: cancelled at each of {fired} awaits")
    assert bool(flushes) is (kind == "archive" and budget != WITHOUT_ROOM)
    assert fired >= (1 if watched == ASKER else 4)
