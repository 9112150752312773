"""Bytes on their way to the disk: coalesced, in order, one thread at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.errors import StoreError
from mirror.fill.desk import StoreDesk
from mirror.fill.landing import (
    BUFFER_BYTES,
    COALESCE_BYTES,
    FLUSH_EVERY_BYTES,
    JOIN_BELOW_BYTES,
    Landing,
    _joined,
)
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
        self.flushes: list[int] = []
        self.flush_gate = threading.Event()
        self.flush_gate.set()
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

    def flush(self) -> None:
        self.flushes.append(len(self.content))
        self.flush_gate.wait(10)

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


async def _until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not claim():
            await asyncio.sleep(0.0005)


async def test_a_long_body_is_flushed_and_noted_as_it_comes(desk: StoreDesk) -> None:
    partial = SlowPartial()
    landing = Landing(desk, partial, lambda: None)
    piece = bytes(FLUSH_EVERY_BYTES // 4)
    for number in range(5):
        await landing.take(number * len(piece), piece)
        await landing.drain()
    assert partial.flushes == [FLUSH_EVERY_BYTES]
    await _until(lambda: landing.is_note_due)
    await landing.take(5 * len(piece), piece)
    await landing.drain()
    assert partial.notes == [6 * len(piece)]
    await landing.settle()


async def test_bytes_land_while_the_disk_takes_in_earlier_ones(desk: StoreDesk) -> None:
    partial = SlowPartial()
    partial.flush_gate.clear()
    landing = Landing(desk, partial, lambda: None)
    piece = bytes(FLUSH_EVERY_BYTES)
    for number in range(3):
        await landing.take(number * len(piece), piece)
        await landing.drain()
    assert (partial.landed, partial.notes) == (3 * len(piece), [])
    assert partial.flushes == [len(piece)], "two flushes of one partial at once"
    partial.flush_gate.set()
    await _until(lambda: len(partial.flushes) == 2)
    await landing.settle()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from((1, 70, 65535, 65536, 70000)))))
def test_joined_pieces_are_the_same_bytes(arrivals: list[tuple[int, int]]) -> None:
    """Chunks of up to three transfers, each in its own place, arrive in any order."""
    ends = [0, 1 << 30, 1 << 40]
    pieces: list[tuple[int, bytes]] = []
    for number, (transfer, size) in enumerate(arrivals):
        pieces.append((ends[transfer], bytes([number % 251]) * size))
        ends[transfer] += size
    joined = _joined(pieces)
    assert _by_place(joined) == _by_place(pieces)
    assert len(joined) <= len(pieces)
    kept = {id(chunk) for _, chunk in joined}
    assert all(id(chunk) in kept for _, chunk in pieces if len(chunk) >= JOIN_BELOW_BYTES)


def _by_place(pieces: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Return what lies together as one."""
    runs: list[tuple[int, bytearray]] = []
    for at, chunk in sorted(pieces):
        if runs and runs[-1][0] + len(runs[-1][1]) == at:
            runs[-1][1].extend(chunk)
        else:
            runs.append((at, bytearray(chunk)))
    return [(at, bytes(run)) for at, run in runs]
