"""The scrub goes through everything, at its rate, and knows when it is through."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mirror import config
from mirror.clock import SystemClock
from mirror.config import ByteSize, Duration
from mirror.errors import StoreError
from mirror.jobs.scrub import PAGE_ROWS, UNTOLD_SHOWN, Scrub
from mirror.store.attesting import Verdict
from mirror.store.entry import Attestation
from mirror.store.scrubbing import Due
from tests.scenario.edge import wait_until
from tests.unit.store.bench import RecordingLog


class ScriptedStore:
    """Blobs as numbers; `verdicts` says what becomes of some of them."""

    def __init__(self, blobs: int, size_bytes: int = 100) -> None:
        self.size_bytes = size_bytes
        self.checked_ms = dict.fromkeys((b"%04d" % number for number in range(blobs)), 0)
        self.verdicts: dict[bytes, Verdict | StoreError] = {}
        self.looked: list[bytes] = []
        self.passes = ""
        self.trouble: StoreError | None = None

    def due(self, until_ms: int, after: Due | None, limit: int) -> list[Due]:
        if self.trouble is not None:
            raise self.trouble
        behind = (-1, b"") if after is None else (after.checked_at_ms, after.digest)
        rows = sorted((at, digest) for digest, at in self.checked_ms.items() if at <= until_ms)
        file = Attestation(inode=1, size=self.size_bytes, ctime_ns=1)
        return [
            Due(digest=digest, checked_at_ms=at, attestation=file)
            for at, digest in rows
            if (at, digest) > behind
        ][:limit]

    def look(self, due: Due, progress: Callable[[int], None]) -> Verdict | None:
        self.looked.append(due.digest)
        progress(due.attestation.size)
        verdict = self.verdicts.get(due.digest)
        if isinstance(verdict, StoreError):
            raise verdict
        if verdict in (Verdict.CONDEMNED, Verdict.LOST, Verdict.GONE):
            del self.checked_ms[due.digest]
        return verdict

    def note(self, good: list[Due]) -> None:
        for due in good:
            self.checked_ms[due.digest] = self.now_ms()

    def distrust_after(self, at_ms: int) -> None: ...

    def oldest_check_ms(self) -> int | None:
        return min(self.checked_ms.values(), default=None)

    def now_ms(self) -> int:
        return int(time.time() * 1000)

    def pass_note(self) -> str:
        return self.passes

    def note_pass(self, note: str) -> None:
        self.passes = note


class Counted:
    def __init__(self) -> None:
        self.blobs = self.size_bytes = self.found = 0

    def scrubbed(self, blobs: int, size_bytes: int) -> None:
        self.blobs += blobs
        self.size_bytes += size_bytes

    def scrub_found(self, blobs: int) -> None:
        self.found += blobs


class World:
    def __init__(self, store: ScriptedStore, rate: int = 1 << 40, every: float = 3600) -> None:
        self.store, self.log, self.tally = store, RecordingLog(), Counted()
        self.is_busy = False
        self.scrub = Scrub(
            store,
            config.Scrub(rate=ByteSize(rate), every=Duration(every)),
            SystemClock(),
            self.log,
            self.tally,
            is_busy=lambda: self.is_busy,
            trouble_s=0.01,
        )

    def __enter__(self) -> World:
        self.scrub.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.scrub.close()


@pytest.fixture
def many() -> ScriptedStore:
    return ScriptedStore(2 * PAGE_ROWS + 7)


def test_everything_is_looked_at_once_and_the_pass_ends(many: ScriptedStore) -> None:
    with World(many) as world:
        wait_until(lambda: "scrub-pass-ended" in world.log.names(), "the pass ended")
    assert sorted(many.looked) == sorted(many.checked_ms)
    assert world.tally.blobs == len(many.checked_ms)
    assert world.tally.size_bytes == 100 * len(many.checked_ms)
    figures = world.scrub.figures()
    assert (figures.blobs, figures.found, figures.undecided) == (len(many.checked_ms), 0, 0)
    assert figures.pass_began_at is None
    assert figures.pass_ended_at is not None
    assert figures.pass_duration_s is not None


def test_damaged_and_lost_ones_are_counted_as_found_and_evicted_ones_are_not() -> None:
    store = ScriptedStore(10)
    store.verdicts = {
        b"0001": Verdict.CONDEMNED,
        b"0002": Verdict.LOST,
        b"0003": Verdict.GONE,
        b"0004": Verdict.VOUCHED,
    }
    with World(store) as world:
        wait_until(lambda: world.tally.blobs == 10, "all were looked at")
    assert world.tally.found == world.scrub.figures().found == 2
    assert b"0004" in store.checked_ms


def test_what_cannot_be_told_is_left_and_told(many: ScriptedStore) -> None:
    many.verdicts = {b"0001": StoreError("0001", "it keeps changing")}
    with World(many) as world:
        wait_until(lambda: world.tally.blobs == len(many.checked_ms) - 1, "the others were")
        wait_until(lambda: world.scrub.figures().undecided > 0, "it was told")
    assert many.checked_ms[b"0001"] == 0
    assert world.scrub.figures().pass_ended_at is None
    assert "not-scrubbed" in world.log.names()


def test_what_cannot_be_told_is_not_tried_again_and_again() -> None:
    """Such a file stays the oldest, and the scrub looks every second for what is due."""
    store = ScriptedStore(2 * UNTOLD_SHOWN)
    store.verdicts = {digest: StoreError("x", "may not be read") for digest in store.checked_ms}
    world = World(store)
    for _ in range(3):
        world.scrub._round()
    assert len(store.looked) == 2 * UNTOLD_SHOWN
    assert world.log.names().count("not-scrubbed") == UNTOLD_SHOWN


def test_nothing_is_read_sooner_than_every() -> None:
    store = ScriptedStore(3)
    store.checked_ms = dict.fromkeys(store.checked_ms, store.now_ms())
    store.checked_ms[b"0002"] = store.now_ms() - 3_700_000
    with World(store) as world:
        wait_until(lambda: world.tally.blobs == 1, "the old one was looked at")
    assert store.looked == [b"0002"]


def test_a_restart_goes_on_where_it_was_and_keeps_the_pass(many: ScriptedStore) -> None:
    many.size_bytes = 1 << 20
    with World(many, rate=1 << 26) as first:  # 64 a second: it is ended in the middle
        wait_until(lambda: first.tally.blobs > 3, "it is under way")
    seen = set(many.looked[:-1])
    began = many.passes.split()[0]
    assert 0 < len(seen) < len(many.checked_ms) - 1
    many.looked.clear()
    with World(many) as second:
        wait_until(lambda: "scrub-pass-ended" in second.log.names(), "the pass ended")
    assert not seen & set(many.looked)
    assert seen | set(many.looked) == set(many.checked_ms)
    ended_ms, took_ms = map(int, many.passes.split()[1:])
    assert ended_ms - took_ms == int(began)


def test_closing_does_not_wait_for_a_large_file(many: ScriptedStore) -> None:
    many.size_bytes = 1 << 30
    world = World(many, rate=1 << 20)  # a quarter of an hour for the first one
    with world:
        wait_until(lambda: bool(many.looked), "it is under way")
    assert len(many.looked) == 1


def test_busy_fills_slow_it_down(many: ScriptedStore) -> None:
    many.size_bytes = 1 << 20

    def seconds_for(world: World, blobs: int) -> float:
        with world:
            wait_until(lambda: world.tally.blobs >= 1, "it is under way")
            began_at, began = time.monotonic(), world.tally.blobs
            wait_until(lambda: world.tally.blobs >= began + blobs, "it went on")
            return time.monotonic() - began_at

    world = World(many, rate=40 << 20)
    world.is_busy = True
    # Four files take 0.1 s at the rate, 0.4 s at a quarter of it. Time can only be added.
    assert seconds_for(world, 4) >= 0.25


def test_index_that_cannot_be_read_is_told_once_and_waited_for(many: ScriptedStore) -> None:
    many.trouble = StoreError("index.db", "disk I/O error")
    with World(many) as world:
        wait_until(lambda: "scrub-waits" in world.log.names(), "it was told")
        many.trouble = None
        wait_until(lambda: world.tally.blobs == len(many.checked_ms), "it went on")
    assert world.log.names().count("scrub-waits") == 1


def test_nonsense_in_the_place_of_passes_is_none(tmp_path: Path) -> None:
    store = ScriptedStore(1)
    store.passes = "what is this"
    with World(store) as world:
        wait_until(lambda: world.scrub.figures().pass_ended_at is not None, "the pass ended")
