"""The worker's view: absence, damage and replacement of the index are misses, never errors."""

from __future__ import annotations

import os
import sqlite3

import pytest

from mirror.store.reader import BlobChanged, BlobFile, BlobMissing, StoreReader
from mirror.store.store import Store
from tests.faults.files import FaultFiles
from tests.unit.store.bench import Bench, absence_of, entry_of, put, sha256


def test_without_an_index_everything_is_a_miss(bench: Bench) -> None:
    reader = bench.reader()
    assert reader.lookup("k") is None
    assert not reader.refresh()
    assert repr(reader) == "<StoreReader without index>"
    reader.close()


def test_an_index_that_appears_is_found_without_a_refresh(bench: Bench) -> None:
    reader = bench.reader()
    assert reader.lookup("k") is None
    store = bench.open()
    put(store, "k", b"body")
    assert reader.lookup("k") is not None  # the page says that the index is another file
    store.close()
    reader.close()


def test_without_the_page_an_absent_index_is_looked_for_ten_times_a_second(bench: Bench) -> None:
    files = FaultFiles()
    reader = StoreReader(bench.store_config.path, files, clock=bench.clock)
    for _ in range(5):
        assert reader.lookup("k") is None
    assert len(files.calls) == 1
    bench.clock.advance(1)
    assert reader.lookup("k") is None
    assert len(files.calls) == 2


def test_an_evicted_blob_is_missing(store: Store, bench: Bench) -> None:
    stored = put(store, "k", b"body")
    os.unlink(bench.blob(b"body"))
    reader = bench.reader()
    assert isinstance(reader.open_blob(stored), BlobMissing)
    assert isinstance(reader.load_small(stored), BlobMissing)


@pytest.mark.parametrize("place", ["symlink", "fifo", "directory", "copy", "longer"])
def test_a_tampered_name_is_changed_and_never_opened(
    store: Store, bench: Bench, place: str
) -> None:
    stored = put(store, "k", b"body")
    path = bench.blob(b"body")
    if place == "longer":
        with open(path, "ab") as file:
            file.write(b"x")
    else:
        os.rename(path, path + ".moved")
    if place == "symlink":
        os.symlink(path + ".moved", path)
    elif place == "fifo":
        os.mkfifo(path)
    elif place == "directory":
        os.mkdir(path)
    elif place == "copy":
        with open(path, "wb") as file:
            file.write(b"body")
    assert isinstance(bench.reader().open_blob(stored), BlobChanged)


def test_rot_beneath_an_unchanged_inode_is_found_when_content_is_loaded(
    store: Store, bench: Bench
) -> None:
    stored = put(store, "k", b"body")
    assert stored.attestation is not None

    class RottenFiles(FaultFiles):
        def pread(self, fd: int, size: int, offset: int) -> bytes:
            return super().pread(fd, size, offset).replace(b"o", b"0")

    assert isinstance(bench.reader(RottenFiles()).load_small(stored), BlobChanged)


def test_a_disk_that_cannot_read_is_a_miss_and_leaks_no_descriptor(
    store: Store, bench: Bench
) -> None:
    stored = put(store, "k", b"body")
    files = FaultFiles()
    reader = bench.reader(files)
    files.damaged.add(bench.blob(b"body"))
    assert isinstance(reader.load_small(stored), BlobMissing)
    assert files.open_files == set()


def test_out_of_descriptors_is_a_miss(store: Store, bench: Bench) -> None:
    stored = put(store, "k", b"body")
    files = FaultFiles()
    files.fail_at(1, 24)
    assert isinstance(bench.reader(files).open_blob(stored), BlobMissing)


def test_an_opened_blob_survives_its_eviction(store: Store, bench: Bench) -> None:
    opened = bench.reader().open_blob(put(store, "k", b"body"))
    assert isinstance(opened, BlobFile)
    os.unlink(bench.blob(b"body"))
    with os.fdopen(opened.fd, "rb") as file:
        assert file.read() == b"body"


def test_a_rebuilt_index_is_followed_at_once_so_that_no_withdrawal_is_missed(
    store: Store, bench: Bench
) -> None:
    put(store, "k", b"body", proof="parsed")
    put(store, "withdrawn", b"gone", proof="parsed")
    reader = bench.reader()
    assert reader.lookup("withdrawn") is not None
    store._catalog.rebuild()
    store.withdraw(["withdrawn"])
    assert reader.lookup("withdrawn") is None
    assert reader.lookup("k") is not None
    reader.close()


def test_refresh_follows_a_replaced_index_without_the_page(store: Store, bench: Bench) -> None:
    put(store, "k", b"body")
    reader = StoreReader(bench.store_config.path, clock=bench.clock)
    assert reader.refresh()
    store._catalog.rebuild()
    assert reader.refresh()
    assert reader.lookup("k") is None  # a crate's digest comes from its index file
    reader.close()


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_damaged_index_is_a_miss(bench: Bench, size: int) -> None:
    store = bench.open()
    put(store, "k", b"body")
    store.close()
    with open(bench.layout.index, "r+b") as file:
        file.truncate(size)
        file.write(b"x" * min(size, 100))
    reader = bench.reader()
    assert reader.lookup("k") is None
    assert not reader.refresh()


def test_an_index_of_another_version_is_a_miss(bench: Bench) -> None:
    store = bench.open()
    put(store, "k", b"body")
    store.close()
    with sqlite3.connect(bench.layout.index) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    assert bench.reader().lookup("k") is None


def test_a_reader_never_writes_and_never_checkpoints(store: Store, bench: Bench) -> None:
    put(store, "k", b"body")
    log = bench.layout.index + "-wal"
    before = (os.path.getsize(log), os.stat(bench.layout.index).st_mtime_ns)
    for _ in range(3):
        reader = bench.reader()
        assert reader.lookup("k") is not None
        reader.close()
    assert (os.path.getsize(log), os.stat(bench.layout.index).st_mtime_ns) == before


def test_a_readers_close_leaves_the_log_of_a_dead_keeper(bench: Bench) -> None:
    files = FaultFiles()
    store: Store | None = bench.open(files)
    assert store is not None
    put(store, "k", b"body")
    reader = bench.reader()
    assert reader.lookup("k") is not None
    store.index._writer.close(True)
    store.index._reader.close(True)
    files.bury()
    store = None
    reader.close()
    assert bench.reader().lookup("k") is not None


def test_open_readers_do_not_keep_the_log_from_being_reset(store: Store, bench: Bench) -> None:
    reader = bench.reader()
    largest = 0
    for round_ in range(60):
        store.vouch(
            entry_of("m", b"m"), ((f"/dist/{round_}/{i}", sha256(b"x")) for i in range(400))
        )
        assert reader.lookup("k") is None
        largest = max(largest, os.path.getsize(bench.layout.index + "-wal"))
    assert largest < 12 << 20
    reader.close()


def test_a_404_needs_no_blob(store: Store, bench: Bench) -> None:
    store.record([absence_of("k")])
    found = bench.reader().lookup("k")
    assert found is not None
    assert found.entry == absence_of("k")


def test_an_entry_without_its_blob_row_is_a_miss(store: Store, bench: Bench) -> None:
    put(store, "k", b"body")
    with store.index.changing() as changes:
        changes._run("DELETE FROM blob")
    assert bench.reader().lookup("k") is None
    assert store.record([entry_of("k", b"body")]) == []
