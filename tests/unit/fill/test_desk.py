"""Group commit and threads: what is asked together is written together, and nothing is lost."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from mirror.errors import StoreError
from mirror.fill.desk import StoreDesk, finished
from mirror.fill.entries import NO_HEAD, EntryMaker
from mirror.route.match import route_of_key
from mirror.store.entry import Entry, Stored
from tests.unit.fill.keeper_world import World, sha256


def entry(world: World, name: str, content: bytes) -> Entry:
    route = route_of_key(f"index:/ab/cd/abcd{name}")
    assert route is not None
    maker = EntryMaker(freshness=world.config.freshness)
    return maker.present(
        route,
        digest=sha256(content),
        head=NO_HEAD,
        length=len(content),
        now=world.clock.now(),
        proof="parsed",
    )


class CountingStore:
    """Only what a group commit needs; the first commit waits until `gate` is set."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.batches: list[int] = []
        self.recorded: list[int] = []
        self.bad = b""

    def put_small(self, items: list[tuple[Entry, bytes]]) -> list[Stored]:
        self.gate.wait(10)
        self.batches.append(len(items))
        if any(content == self.bad for _, content in items):
            raise StoreError("x", "bad")
        return [Stored(entry=entry, attestation=None) for entry, _ in items]

    def record(self, entries: list[Entry]) -> None:
        self.recorded.append(len(entries))


async def test_what_comes_during_a_commit_goes_into_the_next_one_together(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        store = CountingStore()
        desk = StoreDesk(store, world.reader)  # type: ignore[arg-type] # a part of the door
        puts = [
            asyncio.create_task(desk.put([(entry(world, f"{n}", b"x"), b"x")])) for n in range(40)
        ]
        note = asyncio.create_task(desk.record([entry(world, "z", b"")]))
        await asyncio.sleep(0.01)
        store.gate.set()
        results = await asyncio.gather(*puts)
        await note
        assert [len(stored) for stored in results] == [1] * 40
        assert store.batches in ([40], [1, 39])
        assert store.recorded == [1]
        await desk.aclose()


async def test_one_bad_object_does_not_take_the_others_along(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        store = CountingStore()
        store.bad = b"bad"
        desk = StoreDesk(store, world.reader)  # type: ignore[arg-type] # a part of the door
        first = asyncio.create_task(desk.put([(entry(world, "0", b"x"), b"x")]))
        await asyncio.sleep(0.01)
        rest = [
            asyncio.create_task(desk.put([(entry(world, "n", content), content)]))
            for content in (b"good", b"bad", b"fine")
        ]
        store.gate.set()
        results = await asyncio.gather(first, *rest, return_exceptions=True)
        assert [isinstance(result, StoreError) for result in results] == [
            False,
            False,
            True,
            False,
        ]
        await desk.aclose()


async def test_a_cancelled_asker_does_not_undo_its_commit(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        desk = StoreDesk(world.store, world.reader)
        made = entry(world, "a", b"content")
        put = asyncio.create_task(desk.put([(made, b"content")]))
        await asyncio.sleep(0)
        put.cancel()
        with pytest.raises(asyncio.CancelledError):
            await put
        await desk.aclose()
        assert world.stored_content(made.key) == b"content"


async def test_a_cancelled_reservation_is_given_back(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        desk = StoreDesk(world.store, world.reader)
        reserving = asyncio.create_task(desk.reserve(1000))
        await asyncio.sleep(0)
        reserving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reserving
        assert world.store.used_bytes == 0
        await desk.aclose()


async def test_a_cancelled_beginning_leaves_no_temp_and_no_reservation(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        desk = StoreDesk(world.store, world.reader)
        reservation = await desk.reserve(1000)
        assert reservation is not None
        made = entry(world, "a", b"content")
        beginning = asyncio.create_task(
            desk.begin(made, validator='"v"', length=1000, reservation=reservation)
        )
        await asyncio.sleep(0)
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning
        assert world.store.used_bytes == 0
        assert world.partials() == []
        await desk.aclose()


async def test_a_thread_is_waited_for_through_two_cancellations() -> None:
    gate, ended = threading.Event(), threading.Event()

    def work() -> None:
        gate.wait(10)
        ended.set()
        raise RuntimeError("nobody hears this")

    future = asyncio.get_running_loop().run_in_executor(None, work)
    waiting = asyncio.create_task(finished(future))
    for _ in range(3):
        await asyncio.sleep(0)
        waiting.cancel()
    assert not waiting.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()
