"""Purge and gc in the store: what goes, what stays, and that the sums agree with the disk."""

from __future__ import annotations

import os

import pytest

from mirror.store import points
from mirror.store.budget import footprint
from mirror.store.partials import KEEP_S
from mirror.store.points import Point
from mirror.store.purging import STEP_KEYS
from mirror.store.store import Store
from mirror.store.unneeded import _LET_GO_PAGE
from tests.faults.files import DeadProcessError, FaultFiles
from tests.unit.store.bench import (
    Bench,
    absence_of,
    contents_of,
    end_process,
    entry_of,
    publish,
    put,
    sha256,
)
from tests.unit.store.steps import check_accounts

PURGE_POINTS = (
    Point.PURGE_BEHEADED,
    Point.PURGE_COMMITTED,
    Point.PURGE_TOLD,
    Point.EVICT_COMMITTED,
    Point.EVICT_UNLINKED,
    Point.EVICT_FORGOTTEN,
)


def test_purged_keys_and_their_files_go_and_the_epoch_moves(bench: Bench, store: Store) -> None:
    put(store, "a", b"content")
    put(store, "b", b"other")
    epoch = bench.page.epoch
    named = store.purger.named(["a", "nobody"])
    assert (named.keys, named.blobs, named.freed_bytes) == (("a",), 1, footprint(7))
    gone = store.purger.purge(["a", "nobody"])
    assert gone == named
    assert bench.page.epoch > epoch
    assert contents_of(bench.reader(), ["a", "b"]) == {"b": b"other"}
    assert set(bench.blob_files()) == {sha256(b"other").hex()}
    assert store.used_bytes == footprint(5)


def test_file_that_another_key_names_stays(bench: Bench, store: Store) -> None:
    put(store, "a", b"content")
    put(store, "b", b"content")
    assert store.purger.purge(["a"]).blobs == 0
    assert contents_of(bench.reader(), ["a", "b"]) == {"b": b"content"}
    assert store.purger.purge(["b"]).blobs == 1
    assert bench.blob_files() == {}


def test_keys_of_one_file_purged_together_count_it_once(bench: Bench, store: Store) -> None:
    put(store, "a", b"content")
    put(store, "b", b"content")
    gone = store.purger.purge(["a", "b", "a"])
    assert (len(gone.keys), gone.blobs, gone.freed_bytes) == (2, 1, footprint(7))
    assert store.used_bytes == 0


def test_coded_forms_go_with_their_content(bench: Bench, store: Store) -> None:
    put(store, "a", b"content")
    store.variants.put({sha256(b"content"): b"form"})
    assert store.purger.purge(["a"]).blobs == 2
    assert bench.blob_files() == {}
    assert store.used_bytes == 0


@pytest.mark.parametrize("point", PURGE_POINTS, ids=lambda point: point.value)
def test_purge_that_dies_leaves_all_of_it_or_a_key_that_is_fetched_anew(
    point: Point, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = FaultFiles()
    dying: Store | None = bench.open(files)
    assert dying is not None
    put(dying, "a", b"content")
    dying.variants.put({sha256(b"content"): b"form"})
    fired: list[Point] = []

    def die(at: Point) -> None:
        if at is point and not fired:
            fired.append(at)
            files.bury()
            raise DeadProcessError

    monkeypatch.setattr(points, "on_passed", die)
    with pytest.raises(DeadProcessError):
        dying.purger.purge(["a"])
    dying = None
    end_process(None, files)
    assert fired == [point]
    store = bench.open()
    is_gone = point is not Point.PURGE_BEHEADED
    assert (store.lookup("a") is None) == is_gone
    assert len(bench.blob_files()) == (0 if is_gone else 2)
    adopted = store.adopt(sha256(b"content"), entry_of("a", b"content"))
    assert (adopted is None) == is_gone  # None: upstream is asked
    check_accounts(bench, store)
    store.close()


def test_absence_is_purged(bench: Bench, store: Store) -> None:
    store.record([absence_of("a")])
    gone = store.purger.purge(["a"])
    assert (gone.keys, gone.absences, gone.blobs) == (("a",), 1, 0)
    assert store.lookup("a") is None


def test_what_was_kept_to_be_resumed_of_a_key_goes(bench: Bench, store: Store) -> None:
    content = bytes(5000)
    reservation = store.reserve(len(content))
    assert reservation is not None
    partial = store.begin(
        "a", digest=sha256(content), validator='"v"', length=len(content), reservation=reservation
    )
    partial.write(content[:3000])
    store.abandon(partial, True)
    assert store.resumable("a", sha256(content)) is not None
    store.purger.purge(["a"])
    assert store.resumable("a", sha256(content)) is None
    assert bench.temps() == []
    assert store.used_bytes == 0


def test_purge_is_not_undone_by_a_lost_index(bench: Bench) -> None:
    store = bench.open()
    store.put_small([(entry_of("a", b"content", proof="parsed"), b"content")])
    store.purger.purge(["a"])
    store.close()
    os.unlink(bench.layout.index)
    store = bench.open()
    try:
        assert store.lookup("a") is None
    finally:
        store.close()


def test_keys_of_a_prefix_come_in_pages_with_absences(store: Store) -> None:
    for number in range(7):
        put(store, f"crates:/crates/a/{number}", b"%d" % number)
    put(store, "crates:/crates/b/1", b"b")
    store.record([absence_of("crates:/crates/a/none")])
    found: list[str] = []
    while page := store.purger.keys_of_prefix("crates:/crates/a/", found[-1] if found else "", 3):
        found += page
    assert len(found) == 8
    assert all(key.startswith("crates:/crates/a/") for key in found)
    assert STEP_KEYS > 8


def test_unnamed_blobs_are_found_and_removed_and_needed_forms_are_not(
    bench: Bench, store: Store
) -> None:
    put(store, "a", b"content")
    store.variants.put({sha256(b"content"): b"form"})
    put(store, "b", b"orphan")
    store.withdraw(["b"])
    assert [blob.digest for blob in store.purger.unnamed(b"", 10)] == [sha256(b"orphan")]
    put(store, "c", b"orphan2")
    store.withdraw(["c"])
    put(store, "c", b"orphan2")  # named again meanwhile
    freed = store.purger.remove_unnamed([sha256(b"orphan"), sha256(b"orphan2")])
    assert freed == footprint(6)
    assert set(bench.blob_files()) == {
        sha256(each).hex() for each in (b"content", b"form", b"orphan2")
    }


def test_blobs_that_a_lost_index_left_without_names_are_not_collected(bench: Bench) -> None:
    store = bench.open()
    publish(store, "crates:/a", b"content")  # its index file states the digest: no record
    store.close()
    os.unlink(bench.layout.index)
    store = bench.open()
    assert store.lookup("crates:/a") is None
    assert store.purger.unnamed(b"", 10) == []
    assert store.purger.remove_unnamed([sha256(b"content")]) == 0
    assert store.adopt(sha256(b"content"), entry_of("crates:/a", b"content")) is not None
    bench.clock.advance(60)  # it lingers
    store.withdraw(["crates:/a"])
    assert [blob.digest for blob in store.purger.unnamed(b"", 10)] == [sha256(b"content")]
    assert store.purger.remove_unnamed([sha256(b"content")]) == footprint(7)
    assert bench.blob_files() == {}
    store.close()


def test_what_is_let_go_of_any_class_comes_in_pages(store: Store) -> None:
    keys = [f"{site}/{n}" for site in ("x", "releases:", "crates:", "index:") for n in range(3)]
    for key in keys:
        put(store, key, key.encode())
    store.withdraw(keys)
    found: list[bytes] = []
    while page := store.purger.unnamed(found[-1] if found else b"", 5):
        found += [blob.digest for blob in page]
    assert found == sorted(sha256(key.encode()) for key in keys)


def test_pages_of_what_was_let_go_are_found_by_an_index(store: Store) -> None:
    """Reading all rows would keep look-ups waiting for seconds in a store of a million files."""
    rows = store.index._read("EXPLAIN QUERY PLAN " + _LET_GO_PAGE, b"", 5)
    plan = [str(row[3]) for row in rows]
    assert sum("blob_by_rank (class=? AND rank_ms=? AND digest>?)" in line for line in plan) == 5
    assert not any(line.startswith("SCAN b") for line in plan)


def test_held_blob_is_left_alone(bench: Bench, store: Store) -> None:
    put(store, "b", b"orphan")
    store.withdraw(["b"])
    assert store.adopt(sha256(b"orphan"), entry_of("n", b"orphan")) is not None  # and it lingers
    store.withdraw(["n"])
    assert store.purger.remove_unnamed([sha256(b"orphan")]) == 0
    assert sha256(b"orphan").hex() in bench.blob_files()


def test_ended_absences_and_old_parts_are_collected(bench: Bench, store: Store) -> None:
    store.record([absence_of("gone")])
    store.record([absence_of("fresh", fresh_until=bench.clock.now() + 1e9)])
    content = bytes(5000)
    reservation = store.reserve(len(content))
    assert reservation is not None
    partial = store.begin(
        "a", digest=sha256(content), validator='"v"', length=len(content), reservation=reservation
    )
    partial.write(content[:3000])
    store.abandon(partial, True)
    assert (store.purger.count_expired_temps(), store.purger.expire_temps()) == (0, 0)
    bench.clock.advance(KEEP_S + 1)
    assert (store.purger.count_expired_temps(), store.purger.expire_temps()) == (1, 1)
    now = bench.clock.now()
    assert store.purger.count_ended_absences(now) == 1
    assert store.purger.forget_absences(now, 100) == 1
    assert store.lookup("gone") is None
    assert store.lookup("fresh") is not None
    assert (bench.temps(), store.used_bytes) == ([], 0)


def test_shrinking_evicts_down_to_the_size_and_stops(bench: Bench, store: Store) -> None:
    for number in range(10):
        put(store, f"k{number}", b"%d" % number)
    each = footprint(1)
    steps = 0
    while store.purger.shrink(4 * each, 2 * each):
        steps += 1
    assert store.purger.used_bytes == 4 * each
    assert len(bench.blob_files()) == 4
    assert steps == 3
    assert not store.purger.shrink(4 * each, each)
