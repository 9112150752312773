"""`mirror.store.tally`: what was published minus what was evicted is what the store holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.store.budget import footprint
from mirror.store.store import Store
from tests.faults.files import FaultFiles
from tests.unit.store.bench import Bench, publish, put

KIB = 1024
UNIT = footprint(KIB)


class RecordingTally:
    def __init__(self) -> None:
        self.published_blobs = self.published_bytes = 0
        self.evicted_blobs = self.evicted_bytes = 0
        self.quarantined_total = 0

    def published(self, blobs: int, footprint_bytes: int) -> None:
        self.published_blobs += blobs
        self.published_bytes += footprint_bytes

    def evicted(self, blobs: int, footprint_bytes: int) -> None:
        self.evicted_blobs += blobs
        self.evicted_bytes += footprint_bytes

    def quarantined(self) -> None:
        self.quarantined_total += 1


@pytest.fixture
def tally() -> RecordingTally:
    return RecordingTally()


@pytest.fixture
def counted(tmp_path: Path, tally: RecordingTally) -> Iterator[Store]:
    bench = Bench(str(tmp_path), budget_bytes=10 * UNIT)
    store = Store.open(
        bench.store_config, bench.state_config, FaultFiles(), bench.clock, bench.page, tally=tally
    )
    yield store
    store.close()
    bench.page.close()


def test_what_came_minus_what_went_is_what_is_used(counted: Store, tally: RecordingTally) -> None:
    publish(counted, "body", b"b" * KIB)
    for number in range(14):
        put(counted, f"k{number}", bytes([number]) * KIB)
    assert (tally.published_blobs, tally.evicted_blobs) == (15, 5)
    assert tally.published_bytes - tally.evicted_bytes == counted.used_bytes == 10 * UNIT


def test_content_that_is_here_already_is_not_published_again(
    counted: Store, tally: RecordingTally
) -> None:
    put(counted, "one", b"x" * KIB)
    put(counted, "two", b"x" * KIB)
    publish(counted, "three", b"x" * KIB)
    assert tally.published_blobs == 1


def test_each_quarantined_body_is_counted(counted: Store, tally: RecordingTally) -> None:
    for _ in range(2):
        reservation = counted.reserve(4)
        assert reservation is not None
        partial = counted.begin("k", digest=b"", validator="", length=4, reservation=reservation)
        partial.write(b"evil")
        counted.quarantine(partial, "digest-mismatch")
    assert tally.quarantined_total == 2
    assert tally.published_blobs == 0
