"""Looking the whole index through: in pages, without a trace, beside a mirror that starts."""

from __future__ import annotations

import os
from pathlib import Path

import apsw
import pytest

from mirror.errors import StoreError
from mirror.store.inspection import Inspection
from mirror.store.store import Store
from tests.unit.store.bench import Bench, absence_of, put, sha256

KEYS = [f"k{number:02}" for number in range(7)]


def filled(bench: Bench) -> None:
    store = bench.open()
    for key in KEYS:
        put(store, key, key.encode())
    put(store, "twin", b"k00")
    store.record([absence_of("none")])
    store.close()


def all_keys(inspection: Inspection, limit: int) -> list[str]:
    found: list[str] = []
    while page := inspection.entries_after(found[-1] if found else "", limit):
        found += [row.entry.key for row in page]
    return found


@pytest.mark.parametrize("limit", [1, 2, 500])
def test_pages_give_every_entry_once_in_order(bench: Bench, limit: int) -> None:
    filled(bench)
    inspection = Inspection(bench.store_config.path)
    assert all_keys(inspection, limit) == [*KEYS, "none", "twin"]
    blobs, last = [], b""
    while page := inspection.blobs_after(last, limit):
        blobs += [row.digest for row in page]
        last = page[-1].digest
    assert blobs == sorted(sha256(key.encode()) for key in KEYS)
    extent = inspection.extent()
    assert (extent.entries, extent.blobs, extent.blob_bytes) == (9, 7, 21)
    inspection.close()


def test_lookups_by_key_range_and_digest(bench: Bench) -> None:
    filled(bench)
    inspection = Inspection(bench.store_config.path)
    stored = inspection.lookup("k03")
    assert stored is not None
    assert stored.entry.digest == sha256(b"k03")
    assert inspection.lookup("absent") is None
    assert [s.entry.key for s in inspection.stored_between("k02", "k05")] == ["k02", "k03", "k04"]
    assert inspection.stored_between("none", "nonf") == []
    assert inspection.keys_of(sha256(b"k00")) == ["k00", "twin"]
    row = inspection.blob(sha256(b"k00"))
    assert row is not None
    assert row.attestation.size == 3
    assert inspection.blob(sha256(b"no")) is None
    inspection.close()


def test_closed_store_is_read_without_making_a_file(bench: Bench) -> None:
    filled(bench)
    before = sorted(os.listdir(bench.store_config.path))
    inspection = Inspection(bench.store_config.path)
    assert "immutable" in repr(inspection)
    all_keys(inspection, 2)
    assert sorted(os.listdir(bench.store_config.path)) == before
    inspection.close()


def test_mirror_that_starts_meanwhile_is_noticed(bench: Bench) -> None:
    filled(bench)
    inspection = Inspection(bench.store_config.path)
    assert inspection.lookup("late") is None
    store = bench.open()
    put(store, "late", b"late")
    assert inspection.lookup("late") is not None
    assert "immutable" not in repr(inspection)
    store.close()
    inspection.close()


def test_index_that_was_rebuilt_meanwhile_is_opened_again(bench: Bench, store: Store) -> None:
    put(store, "k", b"k")
    inspection = Inspection(bench.store_config.path)
    assert inspection.lookup("k") is not None
    inspection.close()
    inspection._connection = apsw.Connection(":memory:")  # what a replaced file is like: no table
    assert inspection.lookup("k") is not None
    inspection.close()


def test_absent_store_says_how_to_name_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store here") as caught:
        Inspection(str(tmp_path))
    assert "--set store.path" in caught.value.hint


def test_index_of_another_version_is_refused(bench: Bench) -> None:
    filled(bench)
    index = apsw.Connection(bench.layout.index)
    index.execute("PRAGMA user_version = 1").fetchall()
    index.close()
    with pytest.raises(StoreError, match="its index has version 1"):
        Inspection(bench.store_config.path)
