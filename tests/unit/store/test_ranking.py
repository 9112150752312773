"""Ranks in the index: what arrives, is used and goes; and that a restart loses nothing of it."""

from __future__ import annotations

from typing import cast

import pytest

from mirror.store import ranking
from mirror.store.budget import footprint
from mirror.store.eviction import ONE_USE_MS, LeastRecentlyUsed
from mirror.store.store import Store
from tests.unit.store.bench import Bench, put, sha256

KIB = 1024
UNIT = footprint(KIB)
ONE_USE_S = ONE_USE_MS / 1000
YEAR_S = 365 * 86400


@pytest.fixture
def bench(tmp_path: object) -> Bench:
    return Bench(str(tmp_path), budget_bytes=10 * UNIT)


def _put(store: Store, name: str) -> None:
    put(store, name, name.encode() * KIB)


def _row(store: Store, name: str) -> tuple[int, int]:
    """Return rank and uses."""
    rows = store.index._read(
        "SELECT rank_ms, uses FROM blob WHERE digest = ?", sha256(name.encode() * KIB)
    )
    return cast("tuple[int, int]", rows[0])


def _ghosts(store: Store) -> set[bytes]:
    return {cast("bytes", row[0]) for row in store.index._read("SELECT digest FROM ghost")}


def _known(store: Store) -> str:
    return "".join(entry.key for entry in store.entries_of_prefix(""))


def _live(store: Store, bench: Bench, names: str) -> None:
    """Have each of `names` be stored, and used by others for a while."""
    for name in names:
        _put(store, name)
        bench.clock.advance(60)
    for _ in range(3):
        bench.clock.advance(3600)
        store.touch(names)


def _scan(store: Store, bench: Bench, names: str) -> None:
    for name in names:
        _put(store, name)
        bench.clock.advance(ONE_USE_S)
        store.touch([name])  # the request that brought it


def test_what_others_use_stays_through_a_scan(store: Store, bench: Bench) -> None:
    _live(store, bench, "abcdefgh")
    _scan(store, bench, "0123456789ijklmnopqrst")
    assert _known(store) == "abcdefghst"


def test_by_recency_the_same_scan_takes_everything(bench: Bench) -> None:
    store = bench.open(policy=LeastRecentlyUsed())
    _live(store, bench, "abcdefgh")
    _scan(store, bench, "0123456789ijklmnopqrst")
    assert _known(store) == "klmnopqrst"
    store.close()


def test_the_request_that_brought_a_blob_is_no_use_by_others(store: Store, bench: Bench) -> None:
    _put(store, "a")
    bench.clock.advance(1)
    store.touch(["a"])
    assert _row(store, "a")[1] == 1
    bench.clock.advance(ONE_USE_S)
    before = _row(store, "a")[0]
    store.touch(["a"])
    assert _row(store, "a")[1] == 2
    assert _row(store, "a")[0] > before


def test_uses_at_nearly_the_same_time_are_one(store: Store, bench: Bench) -> None:
    _put(store, "a")
    store.touch(["a"])
    bench.clock.advance(ONE_USE_S - 1)
    before = _row(store, "a")
    store.touch(["a"])
    assert _row(store, "a") == before


def test_a_victim_is_remembered_until_it_comes_back(store: Store, bench: Bench) -> None:
    _scan(store, bench, "abcdefghijk")
    assert _ghosts(store) == {sha256(b"a" * KIB)}
    _put(store, "a")
    assert _row(store, "a")[1] == 2  # off probation
    assert _ghosts(store) == {sha256(b"b" * KIB)}


def test_ghosts_are_bounded(store: Store, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "GHOSTS_MAX", 3)
    _scan(store, bench, "abcdefghijklmnopqrst")
    assert _ghosts(store) == {sha256(name * KIB) for name in (b"h", b"i", b"j")}


def test_a_restart_changes_nothing_of_what_goes_next(bench: Bench) -> None:
    store = bench.open()
    _live(store, bench, "abcd")
    _scan(store, bench, "0123456789")
    tables = ("blob", "ghost", "fact WHERE name = 'eviction'")
    before = [store.index._read(f"SELECT * FROM {table}") for table in tables]
    store.close()
    store = bench.open()
    assert [store.index._read(f"SELECT * FROM {table}") for table in tables] == before
    assert before[1]
    assert before[2]
    _scan(store, bench, "uvwxyz")
    assert _known(store) == "abcduvwxyz"
    store.close()


def test_what_no_key_names_any_more_goes_first_and_is_not_remembered(
    store: Store, bench: Bench
) -> None:
    _live(store, bench, "abcdefghi")
    put(store, "i", b"changed" + bytes(KIB - 7))
    _put(store, "j")
    assert _known(store) == "abcdefghij"
    assert _ghosts(store) == set()


def test_a_form_is_used_and_ranked_with_what_it_is_a_form_of(store: Store, bench: Bench) -> None:
    _put(store, "a")
    _put(store, "b")
    with store.index.changing() as changes:
        assert changes.put_variant(sha256(b"a" * KIB), sha256(b"b" * KIB))
    bench.clock.advance(60)
    store.touch(["a"])
    assert _row(store, "b") == _row(store, "a")


def test_what_is_named_again_does_not_go_first(store: Store, bench: Bench) -> None:
    """A channel that goes back to the former version names a blob that was let go."""
    _live(store, bench, "abcdefghi")
    store.withdraw(["i"])
    assert _row(store, "i")[0] == 0
    _put(store, "i")
    assert _row(store, "i")[0] > 0
    _scan(store, bench, "0123")
    assert set("abcdefghi") <= set(_known(store))


def test_ranks_of_a_clock_that_was_ahead_do_not_last(store: Store, bench: Bench) -> None:
    _live(store, bench, "ab")
    bench.clock.advance(YEAR_S)
    _live(store, bench, "cdefgh")  # seen once and again, by a clock that is a year ahead
    _scan(store, bench, "0123")  # which evicts: the floor is in the future too
    bench.clock.advance(-YEAR_S)
    now_ms = int(bench.clock.now() * 1000)
    assert _row(store, "h")[0] > now_ms + YEAR_S * 900
    _scan(store, bench, "ijklmnopqrst")
    for name in _known(store):
        assert _row(store, name)[0] < now_ms + YEAR_S * 100
    bench.clock.advance(86400)
    _scan(store, bench, "0123456789")
    assert not set("cdefgh") & set(_known(store))


def test_bounding_ranks_changes_nothing_while_no_clock_was_wrong(
    store: Store, bench: Bench
) -> None:
    _live(store, bench, "abcdefgh")
    _scan(store, bench, "0123456")
    before = store.index._read("SELECT digest, rank_ms, used_at_ms FROM blob")
    with store.index.changing() as changes:
        changes.bound_ranks(int(bench.clock.now() * 1000))
    assert store.index._read("SELECT digest, rank_ms, used_at_ms FROM blob") == before
