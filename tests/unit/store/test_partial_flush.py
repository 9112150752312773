"""Bringing a temp to the disk beside the thread that writes it."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mirror.errors import StoreError
from mirror.store.files import RealFiles
from mirror.store.partial import Partial, PartialState
from mirror.store.partial_record import load_record
from mirror.store.store import Store
from tests.faults.files import FaultFiles
from tests.unit.store.bench import Bench, entry_of, sha256

BODY = bytes(range(256)) * 20
KEY = "releases:/a"


def _begin(store: Store) -> Partial:
    reservation = store.reserve(len(BODY))
    assert reservation is not None
    return store.begin(
        KEY, digest=sha256(BODY), validator='"v"', length=len(BODY), reservation=reservation
    )


class HeldFiles(RealFiles):
    """A disk whose syncs take until they are let go."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.gate = threading.Event()
        self.synced = 0

    def sync(self, fd: int) -> None:
        self.began.set()
        assert self.gate.wait(10)
        super().sync(fd)
        self.synced += 1


@pytest.fixture
def files() -> FaultFiles:
    return FaultFiles()


@pytest.fixture
def store(bench: Bench, files: FaultFiles) -> Store:
    return bench.open(files)


def test_a_record_says_what_was_flushed_and_no_more(store: Store) -> None:
    partial = _begin(store)
    partial.write(BODY[:1000])
    partial.flush()
    partial.write(BODY[1000:3000])
    partial.note()
    record = load_record(RealFiles(), partial.path)
    assert record is not None
    assert record.extents == ((0, 1000),)
    store.abandon(partial, False)


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda partial: partial.write(BODY[1000:]), id="write"),
        pytest.param(lambda partial: partial.note(), id="note"),
        pytest.param(lambda partial: partial.sync(), id="sync"),
    ],
)
def test_a_failed_flush_fails_what_comes_next(
    store: Store, files: FaultFiles, use: Callable[[Partial], None]
) -> None:
    """The system tells of a failed write-back once; a second fsync would call it good."""
    partial = _begin(store)
    partial.write(BODY[:1000])
    files.fail_at(1, errno.EIO)
    partial.flush()
    assert (files.fired, partial.state) == (1, PartialState.LANDING)
    with pytest.raises(StoreError) as caught:
        use(partial)
    assert caught.value.trouble is not None
    assert (partial.state, Path(partial.path).exists()) == (PartialState.FAILED, False)
    store.abandon(partial, False)
    assert store.used_bytes == 0


def test_what_a_failed_flush_held_is_never_published(store: Store, files: FaultFiles) -> None:
    partial = _begin(store)
    partial.write(BODY)
    files.fail_at(1, errno.EIO)
    partial.flush()
    with pytest.raises(StoreError):
        store.publish(partial, [entry_of(KEY, BODY)])
    assert store.lookup(KEY) is None


def test_bytes_land_while_a_flush_runs_and_closing_waits_for_it(bench: Bench) -> None:
    files = HeldFiles()
    files.gate.set()
    store = bench.open(files)
    partial = _begin(store)
    files.began.clear()
    files.gate.clear()
    before = files.synced
    partial.write(BODY[:1000])
    flushing = threading.Thread(target=partial.flush)
    flushing.start()
    assert files.began.wait(10)
    partial.write(BODY[1000:])
    assert partial.landed == len(BODY)
    closing = threading.Thread(target=store.abandon, args=(partial, False))
    closing.start()
    assert closing.is_alive()
    assert files.synced == before
    files.gate.set()
    flushing.join(10)
    closing.join(10)
    assert (partial.state, files.synced > before) == (PartialState.CLOSED, True)


def test_who_lets_go_during_a_slow_flush_holds_up_no_other_flight(bench: Bench) -> None:
    files = HeldFiles()
    files.gate.set()
    store = bench.open(files)
    partial = _begin(store)
    partial.write(BODY[:1000])
    files.began.clear()
    files.gate.clear()
    before = files.synced
    flushing = threading.Thread(target=partial.flush)
    flushing.start()
    assert files.began.wait(10)
    closing = threading.Thread(target=store.abandon, args=(partial, False))
    closing.start()
    closing.join(0.05)
    assert store.resumable("releases:/b", sha256(b"")) is None
    assert (closing.is_alive(), files.synced) == (True, before), "it waited for the flush"
    files.gate.set()
    flushing.join(10)
    closing.join(10)
    assert store.used_bytes == 0


def test_what_the_disk_did_not_take_in_is_not_kept(store: Store, files: FaultFiles) -> None:
    partial = _begin(store)
    partial.write(BODY[:1000])
    files.fail_at(1, errno.EIO)
    partial.flush()
    store.abandon(partial, True)
    assert store.resumable(KEY, sha256(BODY)) is None
    assert (Path(partial.path).exists(), store.used_bytes) == (False, 0)


def test_a_closed_temp_is_not_flushed(store: Store, files: FaultFiles) -> None:
    partial = _begin(store)
    store.abandon(partial, False)
    files.calls.clear()
    partial.flush()
    assert files.calls == []
