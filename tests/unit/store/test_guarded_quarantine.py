"""A good object of the same key clears the quarantine, and time does; each clearing is told."""

from __future__ import annotations

import os
from dataclasses import replace

from mirror.store.store import Store
from tests.unit.store.bench import Bench, absence_of, entry_of, publish, put, sha256

KEY = "crates:/crates/a/a-1.0.0.crate"


def spoil(store: Store, key: str = KEY, content: bytes = b"bad") -> None:
    """Quarantine what came for `key`."""
    reservation = store.reserve(len(content))
    assert reservation is not None
    partial = store.begin(
        key, digest=sha256(b"good"), validator="", length=-1, reservation=reservation
    )
    partial.write(content)
    store.quarantine(partial, "sha256 is another")


def cleared(bench: Bench) -> list[object]:
    return [fields["key"] for name, fields in bench.log.events if name == "quarantine-cleared"]


def test_published_object_clears_what_came_for_its_key(bench: Bench, store: Store) -> None:
    spoil(store)
    spoil(store, "another", b"also bad")
    publish(store, KEY, b"good")
    assert cleared(bench) == [KEY]
    assert store.quarantined.summary().count == 1
    assert len(os.listdir(bench.layout.quarantine)) == 2


def test_small_object_clears_what_came_for_its_key(bench: Bench, store: Store) -> None:
    spoil(store)
    put(store, KEY, b"good")
    assert (cleared(bench), os.listdir(bench.layout.quarantine)) == ([KEY], [])


def test_adopted_object_clears_what_came_for_its_key(bench: Bench, store: Store) -> None:
    put(store, "another", b"good")
    spoil(store)
    assert store.adopt(sha256(b"good"), entry_of(KEY, b"good")) is not None
    assert cleared(bench) == [KEY]


def test_adoption_of_nothing_clears_nothing(bench: Bench, store: Store) -> None:
    spoil(store)
    assert store.adopt(sha256(b"good"), entry_of(KEY, b"good")) is None
    assert cleared(bench) == []


def test_later_confirmation_clears_and_an_earlier_one_does_not(bench: Bench, store: Store) -> None:
    stored = put(store, KEY, b"good").entry
    bench.clock.advance(10)
    spoil(store)
    store.record([replace(stored, fresh_until=0.0)])  # suspected, not confirmed
    assert cleared(bench) == []
    store.record([replace(stored, confirmed_at=bench.clock.now())])
    assert cleared(bench) == [KEY]


def test_remembered_absence_clears_nothing(bench: Bench, store: Store) -> None:
    spoil(store)
    bench.clock.advance(1)
    store.record([absence_of(KEY)])
    assert (cleared(bench), store.quarantined.summary().count) == ([], 1)


def test_damaged_blob_is_cleared_when_it_comes_again(bench: Bench, store: Store) -> None:
    stored = put(store, KEY, b"good")
    with open(bench.blob(b"good"), "wb") as file:
        file.write(b"rot!")
    assert store.attest(stored) is None
    assert store.quarantined.summary().newest[0].keys == (KEY,)
    put(store, KEY, b"good")
    assert (cleared(bench), repr(store.quarantined)) == ([KEY], "<GuardedQuarantine 0 records>")


def test_sweep_removes_what_is_too_old_and_tells(bench: Bench, store: Store) -> None:
    spoil(store)
    keep_s = bench.store_config.quarantine_keep
    bench.clock.advance(keep_s - 1)
    assert store.quarantined.expire() == 0
    bench.clock.advance(1)
    assert store.quarantined.expire() == 1
    assert ("quarantine-expired", {"count": 1}) in bench.log.events


def test_what_is_too_old_goes_when_the_store_is_opened(bench: Bench) -> None:
    first = bench.open()
    spoil(first)
    first.close()
    bench.clock.advance(bench.store_config.quarantine_keep)
    bench.open().close()
    assert os.listdir(bench.layout.quarantine) == []
