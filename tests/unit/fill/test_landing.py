"""Bytes on their way to the disk: coalesced, in order, one thread at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mirror.errors import StoreError
from mirror.fill.desk import StoreDesk
from mirror.fill.landing import BUFFER_BYTES, COALESCE_BYTES, NOTE_EVERY_BYTES, Landing
from mirror.store.extents import Runs
from tests.unit.fill.keeper_world import World


class SlowPartial:
    """Writes when `gate` is open; notices a second thread."""

    path = "/partial"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.content = bytearray()
        self.pieces: list[int] = []
        self.notes: list[int] = []
        self.error: StoreError | None = None
        self._busy = threading.Lock()

    @property
    def landed(self) -> int:
        return len(self.content)

    ahead: Runs = ()

    def tap(self, take: Callable[[bytes], None]) -> None:
        raise NotImplementedError

    def absorb(self, size: int) -> bool:
        return False

    def write_at(self, offset: int, content: bytes) -> None:
        assert offset == self.landed
        self.write(content)

    def write(self, data: bytes) -> None:
        assert self._busy.acquire(blocking=False), "two threads write one partial"
        try:
            self.gate.wait(10)
            if self.error is not None:
                raise self.error
            self.content += data
            self.pieces.append(len(data))
        finally:
            self._busy.release()

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.content[offset : offset + size])

    def note(self) -> None:
        self.notes.append(len(self.content))

    def digest(self) -> bytes:
        return b""


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[StoreDesk]:
    async with World(tmp_path) as world:
        desk = StoreDesk(world.store, world.reader)
        yield desk
        await desk.aclose()


async def test_the_first_bytes_do_not_wait(desk: StoreDesk) -> None:
    partial, landed = SlowPartial(), list[int]()
    landing = Landing(desk, partial, lambda: landed.append(partial.landed))
    await landing.take(0, b"a")
    async with asyncio.timeout(5):
        while not landed:
            await asyncio.sleep(0.0005)
    assert landed == [1]
    await landing.settle()


async def test_what_comes_during_a_write_goes_out_in_one_piece(desk: StoreDesk) -> None:
    partial = SlowPartial()
    partial.gate.clear()
    landing = Landing(desk, partial, lambda: None)
    for n in range(8):
        await landing.take(1000 * n, bytes([n]) * 1000)
    partial.gate.set()
    await landing.drain()
    assert partial.pieces == [1000, 7000]
    assert bytes(partial.content) == b"".join(bytes([n]) * 1000 for n in range(8))


async def test_a_trickle_lands_after_a_short_while(desk: StoreDesk) -> None:
    partial = SlowPartial()
    landing = Landing(desk, partial, lambda: None)
    await landing.take(0, b"a")
    await landing.drain()
    await landing.take(1, b"b")
    async with asyncio.timeout(5):
        while partial.landed < 2:
            await asyncio.sleep(0.0005)
    await landing.settle()


async def test_a_slow_disk_makes_the_reader_wait(desk: StoreDesk) -> None:
    partial = SlowPartial()
    partial.gate.clear()
    landing = Landing(desk, partial, lambda: None)
    await landing.take(0, b"x")
    taking = asyncio.create_task(landing.take(1, bytes(BUFFER_BYTES + 1)))
    await asyncio.sleep(0.01)
    assert not taking.done()
    partial.gate.set()
    async with asyncio.timeout(5):
        await taking
    await landing.drain()
    assert partial.landed == BUFFER_BYTES + 2


async def test_an_error_of_the_disk_reaches_the_reader(desk: StoreDesk) -> None:
    partial = SlowPartial()
    partial.error = StoreError("x", "disk full")
    landing = Landing(desk, partial, lambda: None)
    await landing.take(0, b"x")
    with pytest.raises(StoreError, match="disk full"):
        await landing.drain()
    await landing.settle()


async def test_settling_waits_for_the_thread_and_drops_the_rest(desk: StoreDesk) -> None:
    partial = SlowPartial()
    partial.gate.clear()
    landing = Landing(desk, partial, lambda: None)
    await landing.take(0, b"a")
    await landing.take(1, bytes(COALESCE_BYTES))
    settling = asyncio.create_task(landing.settle())
    await asyncio.sleep(0.01)
    settling.cancel()
    await asyncio.sleep(0.01)
    assert not settling.done()
    partial.gate.set()
    await settling
    assert partial.landed == 1


async def test_a_long_body_is_noted_now_and_then(desk: StoreDesk) -> None:
    partial = SlowPartial()
    landing = Landing(desk, partial, lambda: None)
    piece = bytes(NOTE_EVERY_BYTES // 4)
    for number in range(10):
        await landing.take(number * len(piece), piece)
        await landing.drain()
    assert len(partial.notes) == 2
    await landing.settle()
