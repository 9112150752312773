"""Group commit and threads: what is asked together is written together, and nothing is lost."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mirror.errors import StoreError
from mirror.fill.desk import BEHIND_BYTES, TOUCHED_MAX, StoreDesk, finished
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


class Reserved:
    """A reservation that nobody counts."""

    def release(self) -> None: ...


class CountingStore:
    """Only what a group commit needs; the first commit waits until `gate` is set."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.batches: list[int] = []
        self.recorded: list[int] = []
        self.bad = b""
        self.with_puts: list[int] = []
        self.withdrawn: list[str] = []
        self.touched = 0

    def touch(self, keys: list[str]) -> None:
        self.gate.wait(10)
        self.touched += len(keys)

    def put_small(self, items: list[tuple[Entry, bytes]], records: list[Entry]) -> list[Stored]:
        self.gate.wait(10)
        self.with_puts.append(len(records))
        self.batches.append(len(items))
        if any(content == self.bad for _, content in items):
            raise StoreError("x", "bad")
        return [Stored(entry=entry, attestation=None) for entry, _ in items]

    def record(self, entries: list[Entry]) -> None:
        self.recorded.append(len(entries))

    def reserve(self, nbytes: int, resuming: tuple[str, bytes] | None = None) -> Reserved:
        return Reserved()

    def withdraw(self, keys: list[str]) -> None:
        self.withdrawn += keys


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
        assert store.with_puts in ([1], [0, 1])
        assert store.recorded == []
        await desk.aclose()


async def test_what_is_given_in_one_call_is_one_transaction(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        store = CountingStore()
        store.gate.set()
        desk = StoreDesk(store, world.reader)  # type: ignore[arg-type] # a part of the door
        [stored] = await desk.put([(entry(world, "0", b"x"), b"x")], [entry(world, "1", b"")])
        assert stored.entry.key == entry(world, "0", b"x").key
        await desk.record([entry(world, "2", b"")])
        assert (store.batches, store.with_puts, store.recorded) == ([1], [1], [1])
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


async def test_room_and_withdrawals_do_not_wait_for_a_group_commit(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        store = CountingStore()
        desk = StoreDesk(store, world.reader)  # type: ignore[arg-type] # a part of the door
        put = asyncio.create_task(desk.put([(entry(world, "0", b"x"), b"x")]))
        await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            assert await desk.reserve(1000) is not None
            await desk.withdraw(["k"])
        assert store.withdrawn == ["k"]
        assert not put.done()
        store.gate.set()
        await put
        await desk.aclose()


class SlowDisk:
    """A store whose publishing hangs until `gate` is set."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def publish(self, partial: object, entries: list[Entry]) -> list[Stored]:
        self.gate.wait(10)
        return []


async def test_bytes_of_bodies_do_not_wait_for_bodies_being_published(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        store = SlowDisk()
        desk = StoreDesk(store, world.reader)  # type: ignore[arg-type] # a part of the door
        nothing: Any = None
        publishing = [asyncio.create_task(desk.publish(nothing, [])) for _ in range(20)]
        await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            assert await desk.compute(len, b"abc") == 3
        store.gate.set()
        await asyncio.gather(*publishing)
        await desk.aclose()


async def test_contents_that_wait_for_the_disk_are_counted(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        store = CountingStore()
        desk = StoreDesk(store, world.reader)  # type: ignore[arg-type] # a part of the door
        content = bytes(BEHIND_BYTES // 2 + 1)
        made = entry(world, "0", content)
        puts, seen = [], []
        for _ in range(2):
            puts.append(asyncio.create_task(desk.put([(made, content)])))
            await asyncio.sleep(0.01)
            seen.append(desk.is_behind)
        store.gate.set()
        await asyncio.gather(*puts)
        assert [*seen, desk.is_behind] == [False, True, False]
        await desk.aclose()


class HashingStore:
    """Only what attesting needs; a hash ends when `gate` is set."""

    def __init__(self, stored: Stored) -> None:
        self.gate = threading.Event()
        self.hashes = 0
        self.index = self
        self._stored = stored
        self.error: StoreError | None = None

    def attest(self, stored: Stored) -> Stored | None:
        self.hashes += 1
        self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return stored

    def lookup(self, key: str) -> Stored | None:
        return self._stored


async def hashing(world: World) -> tuple[HashingStore, StoreDesk, Stored]:
    made = entry(world, "a", b"content")
    real = StoreDesk(world.store, world.reader)
    [stored] = await real.put([(made, b"content")])
    await real.aclose()
    store = HashingStore(stored)
    return store, StoreDesk(store, world.reader), stored  # type: ignore[arg-type] # a part


async def test_a_blob_is_hashed_once_for_all_who_ask(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        store, desk, stored = await hashing(world)
        other = Stored(entry=entry(world, "b", b"content"), attestation=None)
        asks = [asyncio.create_task(desk.attest(stored)) for _ in range(23)]
        asks.append(asyncio.create_task(desk.attest(other)))
        await asyncio.sleep(0)
        asks[0].cancel()  # the one who started it
        await asyncio.sleep(0)
        store.gate.set()
        results = await asyncio.gather(*asks, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [stored] * 23
        assert store.hashes == 1
        assert await desk.attest(stored) == stored
        assert store.hashes == 2  # a later doubt is looked into again
        await desk.aclose()


async def test_a_failed_hash_fails_all_who_asked_and_is_tried_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        store, desk, stored = await hashing(world)
        store.error = StoreError("x", "busy")
        store.gate.set()
        asks = [asyncio.create_task(desk.attest(stored)) for _ in range(3)]
        results = await asyncio.gather(*asks, return_exceptions=True)
        assert [type(result) for result in results] == [StoreError] * 3
        store.error = None
        assert await desk.attest(stored) == stored
        await desk.aclose()


async def test_hashes_do_not_hold_up_bodies(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        store, desk, stored = await hashing(world)
        stale = [
            Stored(entry=entry(world, f"{n}", b"%d" % n), attestation=stored.attestation)
            for n in range(20)
        ]
        asks = [asyncio.create_task(desk.attest(each)) for each in stale]
        await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            assert await desk.compute(len, b"abc") == 3
        store.gate.set()
        await asyncio.gather(*asks)
        await desk.aclose()


async def test_bodies_read_for_their_signatures_do_not_hold_up_others(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        _, desk, stored = await hashing(world)
        gate, fed = threading.Event(), list[bytes]()

        def take(piece: bytes) -> None:
            gate.wait(10)
            fed.append(piece)

        feeds = [asyncio.create_task(desk.feed(stored, take)) for _ in range(20)]
        await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            assert await desk.compute(len, b"abc") == 3
        assert not fed
        gate.set()
        assert await asyncio.gather(*feeds) == [True] * 20
        assert fed == [b"content"] * 20
        await desk.aclose()


@pytest.mark.parametrize("is_put_last", [True, False])
async def test_of_one_key_the_last_commit_of_a_group_stays(
    tmp_path: Path, is_put_last: bool
) -> None:
    async with World(tmp_path) as world:
        desk = StoreDesk(world.store, world.reader)
        before, after = entry(world, "a", b"before"), entry(world, "a", b"after")
        await desk.put([(before, b"before")])
        suspected = replace(before, fresh_until=0.0)
        world.files.may_sync.clear()
        first = asyncio.create_task(desk.put([(entry(world, "b", b"other"), b"other")]))
        async with asyncio.timeout(5):
            while not world.files.waiting_syncs:
                await asyncio.sleep(0.001)
        commits = [lambda: desk.record([suspected]), lambda: desk.put([(after, b"after")])]
        tasks = []
        for commit in commits if is_put_last else reversed(commits):
            tasks.append(asyncio.create_task(commit()))
            await asyncio.sleep(0)
        world.files.may_sync.set()
        await asyncio.gather(first, *tasks)
        found = desk.lookup(before.key)
        assert found is not None
        assert found.entry == (after if is_put_last else suspected)
        await desk.aclose()


async def test_uses_that_a_hanging_disk_cannot_note_do_not_pile_up(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        store = CountingStore()
        desk = StoreDesk(store, world.reader)  # type: ignore[arg-type] # a part of the door
        keys = [f"crates:/{number}" for number in range(512)]
        for _ in range(2 * TOUCHED_MAX // len(keys)):
            desk.touch(keys)
        store.gate.set()
        async with asyncio.timeout(10):
            while store.touched < TOUCHED_MAX:
                await asyncio.sleep(0.001)
        desk.touch(keys)
        await desk.aclose()
        assert store.touched == TOUCHED_MAX + len(keys)
