"""Temps written out of order: each byte is hashed once, extents join, a crash keeps the prefix.

Whatever the order, what is read is what was written, and the digest is that of the prefix.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.config import ByteSize
from mirror.errors import StoreError
from mirror.store.budget import Budget, Reservation, footprint
from mirror.store.entry import Entry
from mirror.store.files import RealFiles
from mirror.store.partial import SPARSE_NOTE_BYTES, Partial, Terms
from mirror.store.partial_record import PartialRecord
from mirror.store.store import Store
from tests.faults.files import FaultFiles
from tests.unit.store.bench import Bench, FakeClock, end_process, entry_of, sha256

BODY = os.urandom(5000)
LENGTH = 200
SMALL = os.urandom(LENGTH)
PIECE = st.tuples(st.integers(0, LENGTH - 1), st.integers(1, 80))


def _begin(store: Store, content: bytes = BODY) -> Partial:
    reservation = store.reserve(len(content), ("releases:/a", sha256(content)))
    assert reservation is not None
    return store.begin(
        "releases:/a",
        digest=sha256(content),
        validator='"v1"',
        length=len(content),
        reservation=reservation,
    )


def _record(partial: Partial) -> PartialRecord:
    return msgspec.json.decode(Path(f"{partial.path}.json").read_bytes(), type=PartialRecord)


def _loose_partial(path: Path) -> Partial:
    files, budget = RealFiles(), Budget(1 << 30)
    terms = Terms(key="k", validator='"v"', length=LENGTH, digest=b"")
    return Partial(
        files=files,
        path=str(path),
        fd=files.create(str(path)),
        terms=terms,
        reservation=Reservation(budget, LENGTH, footprint(LENGTH), lambda _: False),
        clock=FakeClock(),
        boot="b",
    )


@settings(max_examples=60, deadline=None)
@given(pieces=st.lists(PIECE, max_size=14), step=st.integers(1, 90), data=st.data())
def test_any_order_gives_the_same_bytes_and_the_digest_of_the_prefix(
    tmp_path_factory: pytest.TempPathFactory,
    pieces: list[tuple[int, int]],
    step: int,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("partial")
    partial = _loose_partial(folder / "temp")
    tapped = bytearray()
    partial.tap(tapped.extend)
    there: set[int] = set()
    for start, size in [*pieces, (0, LENGTH)]:
        partial.write_at(start, SMALL[start : start + size])
        there.update(range(start, min(start + size, LENGTH)))
        if data.draw(st.booleans()) or size == LENGTH:
            while partial.absorb(step):
                assert len(tapped) < partial.landed
            prefix = next((at for at in range(LENGTH + 1) if at not in there), LENGTH)
            assert partial.landed == prefix
        assert partial.digest() == hashlib.sha256(SMALL[: partial.landed]).digest()
        assert bytes(tapped) == SMALL[: partial.landed]
        covered = set(range(partial.landed)).union(*(range(*run) for run in partial.ahead))
        assert covered == there
        at = data.draw(st.integers(0, LENGTH - 1))
        read = partial.read(at, LENGTH)
        assert SMALL[at:].startswith(read)
        assert bool(read) == (at in there)
    assert partial.landed == LENGTH
    partial.close()
    shutil.rmtree(folder)


def test_a_body_that_landed_in_two_orders_is_published_whole(store: Store) -> None:
    partial = _begin(store)
    partial.write_at(4000, BODY[4000:])
    partial.write_at(0, BODY[:4500])
    assert not partial.absorb(10_000)
    assert (partial.landed, partial.ahead) == (5000, ())
    [stored] = store.publish(partial, [entry_of("releases:/a", BODY)])
    assert Path(store.blob_path(stored.entry.digest)).read_bytes() == BODY


def test_the_record_says_what_counts_before_the_first_byte_ahead(
    store: Store, files: FaultFiles
) -> None:
    partial = _begin(store)
    partial.write(BODY[:1000])
    assert _record(partial).prefix == -1
    partial.write_at(3000, BODY[3000:4000])
    assert _record(partial).prefix == 1000
    store.abandon(partial, False)


def test_a_crash_keeps_the_recorded_prefix_and_drops_what_lay_ahead(bench: Bench) -> None:
    files = FaultFiles()
    store: Store | None = bench.open(files)
    assert store is not None
    partial = _begin(store)
    partial.write(BODY[:1000])
    partial.write_at(3000, BODY[3000:4000])
    partial.write(BODY[1000:1500])  # less than what is worth a record
    path = partial.path
    end_process(store, files)
    store = None
    again = bench.open()
    found = again.resumable("releases:/a", sha256(BODY))
    assert found is not None
    assert found.landed == 1000
    partial = _begin(again)
    assert (partial.landed, partial.ahead) == (1000, ())
    assert partial.read(3000, 1000) == b""
    # Uncut: a worker may still be sending what was announced of it before.
    assert os.path.getsize(path) == 4000
    partial.write(BODY[1000:])
    [stored] = again.publish(partial, [entry_of("releases:/a", BODY)])
    assert Path(again.blob_path(stored.entry.digest)).read_bytes() == BODY
    again.close()


def test_after_another_boot_a_sparse_temp_counts_as_far_as_it_was_synced(bench: Bench) -> None:
    files = FaultFiles()
    store: Store | None = bench.open(files)
    assert store is not None
    partial = _begin(store)
    partial.write(BODY[:700])
    partial.flush()
    partial.note()
    partial.write_at(3000, BODY[3000:4000])
    partial.write(BODY[700:1500])
    end_process(store, files)
    store = None
    later = FaultFiles()
    later.boot = "boot-2"
    again = bench.open(later)
    partial = _begin(again)
    assert (partial.landed, os.path.getsize(partial.path)) == (700, 700)
    again.abandon(partial, False)
    again.close()


def test_a_sparse_temp_is_recorded_as_its_prefix_grows(bench: Bench) -> None:
    bench.store_config = msgspec.structs.replace(bench.store_config, budget=ByteSize(1 << 30))
    store = bench.open()
    content = bytes(2 * SPARSE_NOTE_BYTES)
    partial = _begin(store, content)
    partial.write_at(len(content) - 10, content[-10:])
    for at in range(0, len(content) - 10, SPARSE_NOTE_BYTES // 4):
        partial.write_at(at, content[at : at + SPARSE_NOTE_BYTES // 4])
        assert partial.landed - _record(partial).prefix < SPARSE_NOTE_BYTES
    store.abandon(partial, False)
    store.close()


def test_a_kept_sparse_temp_resumes_at_its_exact_prefix(store: Store) -> None:
    partial = _begin(store)
    partial.write(BODY[:1000])
    partial.write_at(3000, BODY[3000:4000])
    partial.write(BODY[1000:1500])
    store.abandon(partial, True)
    assert store.used_bytes == footprint(1500 + 1000)  # its extents take room until it is resumed
    again = _begin(store)
    assert again.landed == 1500
    assert store.used_bytes == footprint(len(BODY))
    store.abandon(again, False)
    assert store.used_bytes == 0


def test_what_lay_ahead_alone_is_not_kept(store: Store, bench: Bench) -> None:
    partial = _begin(store)
    partial.write_at(3000, BODY[3000:])
    store.abandon(partial, True)
    assert (bench.temps(), store.used_bytes) == ([], 0)


def test_nothing_lies_ahead_of_what_cannot_be_tied_together(store: Store) -> None:
    reservation = store.reserve(5000)
    assert reservation is not None
    partial = store.begin(
        "releases:/a", digest=b"", validator='W/"v1"', length=5000, reservation=reservation
    )
    with pytest.raises(StoreError, match="nothing ties bytes ahead"):
        partial.write_at(10, b"x")
    store.abandon(partial, False)


def test_a_disk_that_fails_ahead_of_the_prefix_takes_the_temp(
    store: Store, bench: Bench, files: FaultFiles
) -> None:
    partial = _begin(store)
    partial.write(BODY[:1000])
    files.fail_at(1, errno.ENOSPC)
    with pytest.raises(StoreError):
        partial.write_at(3000, b"x")
    assert partial.read(0, 1000) == BODY[:1000]
    store.abandon(partial, True)
    assert (bench.temps(), store.used_bytes) == ([], 0)


def test_what_is_kept_counts_once_when_it_is_resumed_in_a_tight_budget(bench: Bench) -> None:
    content = os.urandom(1_000_000)
    budget = ByteSize(footprint(len(content)))
    bench.store_config = msgspec.structs.replace(bench.store_config, budget=budget)
    store = bench.open()
    partial = _begin(store, content)
    partial.write(content[:900_000])
    store.abandon(partial, True)
    again = _begin(store, content)
    assert again.landed == 900_000
    assert store.used_bytes == footprint(len(content))
    again.write(content[900_000:])
    entries: list[Entry] = [entry_of("releases:/a", content)]
    assert store.publish(again, entries)
    assert store.used_bytes == footprint(len(content))
    store.close()


def test_room_that_went_meanwhile_is_made_up_for(store: Store) -> None:
    partial = _begin(store)
    partial.write(BODY[:3000])
    store.abandon(partial, True)
    reservation = store.reserve(len(BODY), ("releases:/a", sha256(BODY)))
    assert reservation is not None
    store._partials.drop_kept(1 << 30)  # for somebody else, who was quicker
    again = store.begin(
        "releases:/a",
        digest=sha256(BODY),
        validator='"v1"',
        length=len(BODY),
        reservation=reservation,
    )
    assert (again.landed, store.used_bytes) == (0, footprint(len(BODY)))
    store.abandon(again, False)
    assert store.used_bytes == 0


def test_what_lies_ahead_is_counted_also_when_the_next_flight_ends_early(tmp_path: Path) -> None:
    """It stays on the disk: the file is resumed uncut."""
    body = os.urandom(40_000)
    store = Bench(str(tmp_path)).open()
    partial = _begin(store, body)
    partial.write(body[:100])
    partial.write_at(8000, body[8000:])
    store.abandon(partial, True)
    counted = store.used_bytes
    partial = _begin(store, body)
    partial.write(body[100:200])
    store.abandon(partial, True)
    assert store.used_bytes == counted == footprint(100 + 32_000)
