"""Reservations and eviction: never above the budget, never the wrong victim."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mirror.errors import StoreError
from mirror.store.budget import footprint
from mirror.store.store import Store
from tests.faults.files import FaultFiles
from tests.unit.store.bench import Bench, entry_of, publish, put, sha256

KIB = 1024
# What content of this length takes; the budget of these tests is ten of it.
UNIT = footprint(KIB)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(str(tmp_path), budget_bytes=10 * UNIT)


def _length(units: int) -> int:
    """The length of content that takes `units`."""
    return units * UNIT - footprint(0)


def _fill(store: Store, bench: Bench, names: str, size: int = KIB) -> None:
    for name in names:
        put(store, name, name.encode() * size)
        bench.clock.advance(10)


def _known(store: Store) -> str:
    return "".join(entry.key for entry in store.entries_of_prefix(""))


def test_a_reservation_counts_before_a_byte_is_written(store: Store) -> None:
    with store.reserve(_length(6)) or pytest.fail("no room"):
        assert store.used_bytes == 6 * UNIT
        assert store.reserve(_length(5)) is None
    assert store.used_bytes == 0


def test_more_than_the_whole_budget_is_refused_without_evicting(store: Store, bench: Bench) -> None:
    _fill(store, bench, "abc")
    assert store.reserve(_length(11)) is None
    assert _known(store) == "abc"


def test_the_coldest_blobs_go_first_and_no_more_than_needed(store: Store, bench: Bench) -> None:
    _fill(store, bench, "abcdefghij")
    store.touch(["a", "unknown"])
    assert store.reserve(_length(2)) is not None
    assert _known(store) == "adefghij"
    assert len(bench.blob_files()) == 8
    assert store.used_bytes == 10 * UNIT


def test_eviction_of_a_blob_drops_every_key_naming_it(store: Store, bench: Bench) -> None:
    put(store, "one", b"x" * _length(6), proof="parsed")
    put(store, "two", b"x" * _length(6), proof="parsed")
    assert store.reserve(_length(5)) is not None
    assert _known(store) == ""
    assert bench.blob_files() == {}


def test_nothing_is_evicted_for_what_still_would_not_fit(store: Store, bench: Bench) -> None:
    _fill(store, bench, "abc")
    reservation = store.reserve(_length(6))
    assert store.reserve(_length(5)) is None
    assert _known(store) == "abc"
    assert reservation is not None


def test_a_blob_that_its_key_let_go_of_is_the_first_victim(store: Store, bench: Bench) -> None:
    _fill(store, bench, "abcdefghi")
    put(store, "i", b"changed" + bytes(KIB - 7))
    assert store.reserve(_length(1)) is not None
    assert _known(store) == "abcdefghi"


def test_a_blob_that_a_flight_just_adopted_is_not_a_victim(store: Store, bench: Bench) -> None:
    _fill(store, bench, "ab", _length(4))
    assert store.adopt(sha256(b"a" * _length(4)), entry_of("adopted", b"a" * _length(4)))
    with store.index.changing() as changes:  # as if the clock had gone back since
        changes._run("UPDATE blob SET rank_ms = 1 WHERE digest = ?", sha256(b"a" * _length(4)))
    reservation = store.reserve(_length(4))
    assert reservation is not None
    assert _known(store) == "aadopted"
    reservation.release()
    bench.clock.advance(60)
    assert store.reserve(_length(8)) is not None
    assert _known(store) == ""


def test_a_pinned_blob_is_not_a_victim(store: Store, bench: Bench) -> None:
    _fill(store, bench, "ab", _length(4))
    with store.index.changing() as changes:
        changes._run("UPDATE blob SET pinned = 1 WHERE digest = ?", sha256(b"a" * _length(4)))
    assert store.reserve(_length(6)) is not None
    assert _known(store) == "a"


def test_kept_temps_count_and_go_when_blobs_do_not_suffice(store: Store, bench: Bench) -> None:
    reservation = store.reserve(_length(4))
    assert reservation is not None
    partial = store.begin(
        "k",
        digest=sha256(b"k" * _length(4)),
        validator='"v"',
        length=_length(4),
        reservation=reservation,
    )
    partial.write(b"k" * _length(3))
    store.abandon(partial, True)
    assert store.used_bytes == 3 * UNIT
    assert store.reserve(_length(8)) is not None
    assert (bench.temps(), store.used_bytes) == ([], 8 * UNIT)


def test_an_unknown_length_reserves_as_it_grows_and_stops_at_the_budget(
    store: Store, bench: Bench
) -> None:
    reservation = store.reserve(0)
    assert reservation is not None
    partial = store.begin("k", digest=b"", validator="", length=-1, reservation=reservation)
    with pytest.raises(StoreError, match="no room"):
        partial.write(b"x" * _length(11))
    assert (bench.temps(), store.used_bytes) == ([], 0)
    store.abandon(partial, False)


def test_a_nearly_full_disk_evicts_although_the_budget_has_room(
    store: Store, bench: Bench, files: FaultFiles
) -> None:
    _fill(store, bench, "abc")
    files.free = (1 << 20) + UNIT
    assert store.reserve(_length(2)) is not None
    assert _known(store) == "bc"


def test_promised_bytes_that_have_landed_are_not_asked_of_the_disk_again(
    store: Store, bench: Bench, files: FaultFiles
) -> None:
    """The disk has lost them already: what is free must hold only what is still to come."""
    _fill(store, bench, "abc")
    reservation = store.reserve(_length(3))
    assert reservation is not None
    partial = store.begin(
        "k", digest=b"", validator='"v"', length=_length(3), reservation=reservation
    )
    partial.write(bytes(_length(3)))
    files.free = (1 << 20) + 3 * UNIT
    assert store.reserve(_length(2)) is not None
    assert _known(store) == "abc"
    store.abandon(partial, False)


def test_the_budget_counts_what_the_disk_gives_away(tmp_path: Path) -> None:
    wide = Bench(str(tmp_path / "wide"), budget_bytes=1 << 26)
    store = wide.open()
    bodies = [b"%d" % i * 100 for i in range(200)]
    store.put_small([(entry_of(f"i{i}", b, proof="parsed"), b) for i, b in enumerate(bodies)])
    taken = 0
    for root in (wide.layout.blobs, wide.layout.heads):
        for where, _, names in os.walk(root):
            paths = [where, *(os.path.join(where, name) for name in names)]
            taken += sum(os.stat(path).st_blocks * 512 for path in paths)
    # The outer directories, at most 512 of them, are not any blob's.
    assert taken - 512 * 4096 <= store.used_bytes
    assert store.used_bytes == 200 * footprint(100)
    store.close()
    wide.page.close()


def test_a_full_disk_with_nothing_to_evict_lets_the_body_pass(
    store: Store, files: FaultFiles
) -> None:
    files.free = 0
    assert store.reserve(_length(1)) is None


def test_a_reservation_that_was_released_cannot_grow(store: Store) -> None:
    reservation = store.reserve(_length(1))
    assert reservation is not None
    assert reservation.extend(KIB)
    reservation.release()
    reservation.release()
    assert not reservation.extend(KIB)
    assert (store.used_bytes, repr(reservation)) == (
        0,
        f"<Reservation {_length(1) + KIB} bytes, released>",
    )


def test_put_small_without_room_publishes_nothing(store: Store) -> None:
    held = store.reserve(_length(10))
    assert held is not None
    with pytest.raises(StoreError, match="no room"):
        put(store, "k", b"body")
    assert (store.lookup("k"), store.used_bytes) == (None, 10 * UNIT)


def test_many_candidates_are_looked_at_in_steps(bench: Bench) -> None:
    contents = [i.to_bytes(2, "big") * 10 for i in range(500)]
    wide = Bench(bench.root + "/wide", budget_bytes=500 * UNIT)
    store = wide.open()
    store.put_small([(entry_of(f"{i:03}", c), c) for i, c in enumerate(contents)])
    assert store.reserve(_length(500)) is not None
    assert wide.blob_files() == {}
    store.close()
    wide.page.close()


def test_thirty_cold_objects_at_once_never_pass_the_budget(store: Store) -> None:
    """Each is 30 % of the budget; what does not fit passes through (nginx #868)."""
    held = [store.reserve(_length(3)) for _ in range(30)]
    assert sum(one is not None for one in held) == 3
    assert store.used_bytes == 9 * UNIT


def test_publishing_gives_the_reservation_back(store: Store) -> None:
    publish(store, "k", b"k" * _length(4))
    assert store.used_bytes == 4 * UNIT
