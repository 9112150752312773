"""`mirror.accounting.bookkeeper`: at the start, at the end, and whatever fails in between."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mirror.accounting.bookkeeper import Bookkeeper
from mirror.accounting.layout import layout_of_version_1
from mirror.errors import StoreError
from tests.unit.accounting.ledger_world import FOR_EVER, LAYOUTS, LedgerWorld, disk_error

HITS = ("served", "other", "crate", "hit", "requests")


class Events:
    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, /, **fields: object) -> None:
        self.told.append((event, fields))

    warning = error = info

    def named(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.told if name == event]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LedgerWorld]:
    made = LedgerWorld(tmp_path)
    yield made
    made.close()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def bookkeeper(world: LedgerWorld, events: Events) -> Bookkeeper:
    return Bookkeeper(world.ledger, world.path, world.layout, FOR_EVER, world.clock, events)


async def test_books_are_kept_at_the_start_and_at_the_end(
    world: LedgerWorld, bookkeeper: Bookkeeper
) -> None:
    worker = world.open(0)
    world.count_name(worker, HITS, 3)
    kept = asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell(_now: float) -> None:
        loop.call_soon_threadsafe(kept.set)

    bookkeeper.take_on(tell)
    bookkeeper.start()
    await asyncio.wait_for(kept.wait(), 10)
    assert world.lifetime() == world.counted
    world.count_name(worker, HITS, 4)
    assert bookkeeper.totals().named == world.counted
    await bookkeeper.aclose()
    assert world.lifetime() == world.counted == {HITS: 7}


async def test_the_last_turn_of_a_chore_may_be_another_one(bookkeeper: Bookkeeper) -> None:
    done: list[str] = []
    bookkeeper.take_on(lambda _now: done.append("each"), lambda _now: done.append("last"))
    bookkeeper.take_on(lambda _now: done.append("both"))
    bookkeeper.keep()
    await bookkeeper.aclose()
    assert done == ["each", "both", "last", "both"]


async def test_a_keeper_that_fails_before_it_starts_still_keeps_its_books(
    world: LedgerWorld, bookkeeper: Bookkeeper
) -> None:
    world.count_name(world.open(0), HITS)
    await bookkeeper.aclose()
    assert world.lifetime() == world.counted


def test_a_damaged_file_is_told_once_and_the_others_are_rolled_up(
    world: LedgerWorld, bookkeeper: Bookkeeper, events: Events
) -> None:
    worker = world.open(3)
    world.count_name(worker, HITS, 2)
    damaged = Path(world.path, "counters.0")
    damaged.write_bytes(b"x" * 4096)
    for _ in range(3):
        bookkeeper.keep()
    (told,) = events.named("ledger-not-complete")
    assert told["source"] == str(damaged)
    assert "move it away" in told["hint"]
    assert world.lifetime() == world.counted
    damaged.unlink()
    bookkeeper.keep()
    damaged.write_bytes(b"x" * 4096)
    bookkeeper.keep()
    assert len(events.named("ledger-not-complete")) == 2


def test_a_full_disk_is_told_with_a_hint_and_made_up_for(
    world: LedgerWorld, bookkeeper: Bookkeeper, events: Events
) -> None:
    world.count_name(world.open(0), HITS)
    world.database.before_commit = disk_error()
    bookkeeper.keep()
    (told,) = events.named("ledger-not-complete")
    assert "the disk is full" in told["reason"]
    assert told["hint"]
    bookkeeper.keep()
    assert world.lifetime() == world.counted


@pytest.mark.parametrize("error", [StoreError("curve", "cannot be kept"), ValueError("a fault")])
def test_a_chore_that_fails_stops_neither_the_roll_up_nor_other_chores(
    world: LedgerWorld, bookkeeper: Bookkeeper, events: Events, error: Exception
) -> None:
    done: list[float] = []

    def fail(_now: float) -> None:
        raise error

    bookkeeper.take_on(fail)
    bookkeeper.take_on(done.append)
    world.count_name(world.open(0), HITS)
    bookkeeper.keep()
    assert done == [world.clock.at]
    assert world.lifetime() == world.counted
    (told,) = events.named("ledger-not-complete")
    assert str(error.args[0]) in told["reason"]


def test_files_of_former_layouts_are_removed_when_they_are_rolled_up_and_free(
    world: LedgerWorld, bookkeeper: Bookkeeper, events: Events
) -> None:
    former, used = world.open(0, LAYOUTS[1]), world.open(1, LAYOUTS[1])
    present = world.open(2)
    for process in (former, used, present):
        world.count_name(process, HITS)
    world.kill(former)
    world.kill(present)
    bookkeeper.keep()
    assert sorted(os.path.basename(file.path) for file in world.files()) == [
        "counters.1",
        "counters.2",
    ]
    assert events.named("counters-file-removed") == [{"path": former.path}]
    assert bookkeeper.totals().named == world.counted == world.history().totals().named


def test_a_file_of_version_1_is_rolled_up_and_removed(
    world: LedgerWorld, bookkeeper: Bookkeeper
) -> None:
    import struct

    layout = layout_of_version_1()
    cells = [0] * layout.cells
    cells[layout.row("served", "other", "crate", "hit")] = 12
    path = Path(world.path, "counters.0")
    head = struct.pack("=8sQqQ", b"RMCOUNTS", 1, 0, layout.cells)
    path.write_bytes(head + struct.pack(f"={layout.cells}Q", *cells))
    bookkeeper.keep()
    assert not path.exists()
    assert world.lifetime() == {HITS: 12} == bookkeeper.totals().named
