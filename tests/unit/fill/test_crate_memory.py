"""The histories of crates: durable when they must be, written behind when they may."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from mirror.errors import StoreError
from mirror.fill.crate_memory import BATCH_MAX, UNWRITTEN_MAX, VERSIONS_MAX, CrateMemory
from mirror.fill.desk import StoreDesk
from mirror.store.state import CrateRecord, StateDatabase
from mirror.verify.crate_history import CrateHistory, unpack
from tests.unit.fill.keeper_world import World


def history(name: str = "Serde", live: int = 1, *, is_marked: bool = False) -> CrateHistory:
    versions = {f"1.0.{n}": n.to_bytes(32, "big") for n in range(live)}
    return CrateHistory(name=name, listed=b"", live=versions, deleted={}, is_marked=is_marked)


class SlowState(StateDatabase):
    """A disk that writes when it may, and fails when it is told to."""

    def prepare(self) -> SlowState:
        self.may_write = threading.Event()
        self.may_write.set()
        self.batches: list[list[str]] = []
        self.begun = 0
        self.fails = False
        return self

    def put_crate_records(self, records: Sequence[CrateRecord]) -> None:
        self.begun += 1
        assert self.may_write.wait(10)
        if self.fails:
            raise StoreError("state.db", "the disk is full", noun="state")
        self.batches.append([record.name for record in records])
        super().put_crate_records(records)


class Memories:
    """Makes memories over one desk."""

    def __init__(self, world: World) -> None:
        self.log = world.log
        self.desk = StoreDesk(world.store, world.reader)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Memories]:
    async with World(tmp_path) as world:
        memories = Memories(world)
        yield memories
        await memories.desk.aclose()


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[SlowState]:
    state = SlowState.open(str(tmp_path / "other.db"))
    assert isinstance(state, SlowState)
    yield state.prepare()
    state.close()


def memory_of(world: Memories, state: SlowState, write_behind_s: float = 0) -> CrateMemory:
    return CrateMemory(world.desk, state, world.log, write_behind_s=write_behind_s)


def kept(state: SlowState, name: str = "serde") -> CrateHistory | None:
    record = state.crate_record(name)
    return None if record is None else unpack(record, name)


async def begun(state: SlowState, count: int) -> None:
    async with asyncio.timeout(10):
        while state.begun < count:
            await asyncio.sleep(0.001)


async def test_what_is_kept_is_durable_when_keep_returns(world: Memories, state: SlowState) -> None:
    memory = memory_of(world, state)
    await memory.keep(history(is_marked=True))
    assert kept(state) == history(is_marked=True)
    assert state.marked_crates() == ["serde"]
    await memory.aclose()


async def test_what_is_noted_is_known_at_once_and_written_later(
    world: Memories, state: SlowState
) -> None:
    memory = memory_of(world, state, write_behind_s=60)
    memory.note(history())
    assert await memory.recall("serde") == history()
    assert kept(state) is None
    assert repr(memory) == "<CrateMemory 1 recent, 1 unwritten>"
    await memory.aclose()
    assert kept(state) == history()


async def test_histories_that_come_together_are_written_together(
    world: Memories, state: SlowState
) -> None:
    memory = memory_of(world, state, write_behind_s=60)
    for n in range(BATCH_MAX + 1):
        memory.note(history(f"c{n}"))
    await begun(state, 1)  # a full batch does not wait
    await memory.aclose()
    assert [len(batch) for batch in state.batches] == [BATCH_MAX, 1]


async def test_an_earlier_history_never_lands_on_a_later_one(
    world: Memories, state: SlowState
) -> None:
    """(1) A batch with the first one is being written, (2) the second must be durable."""
    memory = memory_of(world, state)
    state.may_write.clear()
    memory.note(history())
    await begun(state, 1)
    keeping = asyncio.create_task(memory.keep(history(live=2, is_marked=True)))
    await asyncio.sleep(0)
    assert not keeping.done()
    state.may_write.set()
    await keeping
    await memory.aclose()
    assert kept(state) == history(live=2, is_marked=True)
    assert await memory.recall("serde") == history(live=2, is_marked=True)


async def test_what_is_noted_while_its_batch_is_written_is_written_too(
    world: Memories, state: SlowState
) -> None:
    memory = memory_of(world, state)
    state.may_write.clear()
    memory.note(history())
    await begun(state, 1)
    memory.note(history(live=3))
    state.may_write.set()
    await memory.aclose()
    assert kept(state) == history(live=3)


async def test_a_disk_that_fails_is_told_and_tried_again(world: Memories, state: SlowState) -> None:
    memory = memory_of(world, state)
    state.fails = True
    memory.note(history())
    async with asyncio.timeout(10):
        while not world.log.named("crate-memory-not-written"):
            await asyncio.sleep(0.001)
    assert await memory.recall("serde") == history()
    with pytest.raises(StoreError):
        await memory.keep(history("Syn"))
    assert await memory.recall("syn") is None
    state.fails = False
    await memory.aclose()
    assert kept(state) == history()


async def test_what_a_dead_disk_does_not_take_is_bounded(world: Memories, state: SlowState) -> None:
    memory = memory_of(world, state)
    state.fails = True
    for n in range(UNWRITTEN_MAX + 10):
        memory.note(history(f"c{n}"))
    assert f"{UNWRITTEN_MAX} unwritten" in repr(memory)
    await memory.aclose()


async def test_memory_is_bounded_by_versions(world: Memories, state: SlowState) -> None:
    memory = memory_of(world, state)
    half = VERSIONS_MAX // 2
    for name in ("a", "b", "c"):
        await memory.keep(history(name, live=half - 1))
    assert repr(memory) == "<CrateMemory 2 recent, 0 unwritten>"
    assert await memory.recall("a") == history("a", live=half - 1)
    await memory.aclose()


async def test_a_damaged_record_is_an_error_with_a_hint(world: Memories, state: SlowState) -> None:
    state.put_crate_records([CrateRecord(name="serde", is_marked=False, record=b"\x00")])
    memory = memory_of(world, state)
    with pytest.raises(StoreError, match="restore a backup"):
        await memory.recall("serde")
    assert await memory.recall("never-seen") is None
    await memory.aclose()


async def test_a_cancelled_keep_is_not_undone_by_what_was_noted_before(
    world: Memories, state: SlowState
) -> None:
    memory = memory_of(world, state, write_behind_s=60)
    memory.note(history())
    state.may_write.clear()
    keeping = asyncio.create_task(memory.keep(history(live=2, is_marked=True)))
    await begun(state, 1)
    keeping.cancel()
    state.may_write.set()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    await memory.aclose()
    assert kept(state) == history(live=2, is_marked=True)


async def test_a_failed_keep_leaves_what_was_noted_before_to_be_written(
    world: Memories, state: SlowState
) -> None:
    memory = memory_of(world, state, write_behind_s=60)
    memory.note(history())
    state.fails = True
    with pytest.raises(StoreError):
        await memory.keep(history(live=2, is_marked=True))
    state.fails = False
    assert await memory.recall("serde") == history()
    await memory.aclose()
    assert kept(state) == history()


async def test_a_history_that_is_noted_again_is_not_written_again(
    world: Memories, state: SlowState
) -> None:
    memory = memory_of(world, state)
    await memory.keep(history())
    known = await memory.recall("serde")
    assert known is not None
    memory.note(known)
    await memory.aclose()
    assert state.batches == [["serde"]]
